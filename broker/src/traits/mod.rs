//! The broker's traits: one each for clients, workers, operators and coordinators.
//!
//! See the crate's documentation for what every implementation promises, and
//! [`conformance`](crate::conformance) for how each promise is checked.
//!
//! Publishing to or following a job that does not exist is an error. Ending a lease or a job that
//! does not exist is not: a caller cannot know whether another process ended it first.

mod coordinate;
mod directory;
mod keep_values;
mod operate;
mod submit;
mod values;
mod work;

pub use self::coordinate::{Coordinate, GRAPH_BYTES_MAX};
pub use self::directory::Directory;
pub use self::keep_values::{KeepValues, VALUE_BYTES_MAX};
pub use self::operate::Operate;
pub use self::submit::Submit;
pub use self::values::{
    Cancellation, Claimed, Error, Event, Extended, Lease, LetterId, Mark, PRESENCE, Part, Position,
    Puller, Report, Retrial, Serves, Unfinished, Waiting,
};
pub use self::work::Work;

/// A complete broker, for clients, workers, operators and coordinators.
pub trait Broker: Submit + Work + Operate + Coordinate + Directory + KeepValues {}

impl<T: Submit + Work + Operate + Coordinate + Directory + KeepValues> Broker for T {}
