//! Settings: what a user sets, and where nothing is set what the environment says.

mod aws;
mod broker;
mod clouds;
mod environment;
mod host;
pub mod parse;

pub use self::broker::BrokerSettings;
pub use self::clouds::{Clouds, Troubles};
pub use self::environment::Environment;
pub use self::host::{Cache, HostSettings, InputSettings, cache, networks, store};
