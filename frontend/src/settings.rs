//! Settings: what a user sets, and where nothing is set what the environment says.

mod aws;
mod broker;
mod clouds;
mod environment;
mod host;
pub mod parse;
mod worker;

pub use self::broker::BrokerSettings;
pub use self::clouds::{Clouds, Troubles};
pub use self::environment::Environment;
pub use self::host::{Cache, HostSettings, InputSettings, cache, store};
pub use self::worker::WorkerSettings;
