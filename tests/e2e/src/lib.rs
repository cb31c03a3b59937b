//! End-to-end tests: see `tests`. Here is what they share: a fleet, and the two places where a client's tasks can run.

mod fleet;

pub use fleet::{Fleet, Place, Served};
