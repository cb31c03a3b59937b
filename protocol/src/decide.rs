//! Decision logic as pure functions and state machines, without a clock and without I/O.

pub mod completion;
pub mod delivery;
pub mod filling;
pub mod grants;
pub mod graph;
pub mod memo;
pub mod packing;
pub mod retry;
pub mod seen;
pub mod submission;
