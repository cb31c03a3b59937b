//! What clients, workers and operators need of a broker: one trait for each of them.
//!
//! See the crate's documentation for what every implementation promises, and
//! [`conformance`](crate::conformance) for how each promise is checked.
//!
//! Publishing to a job that is not there, and following it, are errors. Ending what is not there, a
//! lease or a job, is none: nobody who ends something can know whether somebody else did so first.

mod operate;
mod submit;
mod values;
mod work;

pub use self::operate::Operate;
pub use self::submit::Submit;
pub use self::values::{
    Error, Event, Extended, Lease, LetterId, Mark, PRESENCE, Position, Puller, Report, Retrial,
    Serves, Unfinished, Waiting,
};
pub use self::work::Work;

/// A whole broker: what clients, workers and operators need.
pub trait Broker: Submit + Work + Operate {}

impl<T: Submit + Work + Operate> Broker for T {}
