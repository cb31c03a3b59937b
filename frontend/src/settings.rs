//! Settings: the user's settings, with defaults from the environment.

mod aws;
mod broker;
mod clouds;
mod environment;
mod host;
pub mod parse;
mod worker;
mod worker_variables;

pub use self::broker::BrokerSettings;
pub use self::clouds::{Clouds, Troubles};
pub use self::environment::{Environment, Terminal};
pub use self::host::{Cache, HostSettings, InputSettings, cache, networks, store};
pub use self::worker::WorkerSettings;
