//! Calls several functions for each input, one with the result of the other, and reduces what comes
//! out to one result.
//!
//! `Plan` checks that the functions fit each other before anything runs. `Pipeline` submits them as
//! tasks that take each other's results, so that each is released when what it takes is there:
//! nothing waits for all inputs to be through the first function. The tree of a reduction is made
//! of results, and grows while they come: futures would keep everything that they were made of.
//!
//! Bounds: tasks of `window::TASKS_MAX` are on their way at once, fewer where their results are
//! large, and of each level of the tree fewer results are held than one call takes. Inputs are
//! taken only as results are read, so that this process has to stay until the last one is taken.

mod bill;
mod fan_in;
mod feeder;
mod fit;
mod fixed;
mod levels;
mod plan;
mod refused;
mod run;
mod tree;
mod way;
mod window;

pub use self::fan_in::FanIn;
pub use self::plan::{Functions, Plan};
pub use self::run::{Pipeline, Step};

#[cfg(test)]
#[cfg(feature = "embedded")]
mod tests;
