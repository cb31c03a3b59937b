//! End-to-end tests: see `tests`. Here is what they share: a fleet, the two places where a client's
//! tasks can run, and readers of result tables.

mod fleet;
pub mod tables;

pub use fleet::{Fleet, Place, Served};
