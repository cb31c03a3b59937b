//! Runs one attempt of a task: opens its inputs, computes in a sandbox, keeps the result.
//!
//! `open` opens the inputs, pins their versions, looks the task up in the memo and fetches what
//! the function reads first; `compute` runs the function on a computing thread; `keep` stores
//! the result. The three are apart so that inputs arrive, and large results leave, while other
//! tasks compute. No attempt is repeated here, and whether it should be is not decided here: each
//! failure is returned as it is.

mod attempted;
mod compute;
mod context;
mod keep;
mod open;
mod place;
mod subtasks;

pub(crate) use self::attempted::Attempted;
pub(crate) use self::compute::{Computed, compute};
pub use self::context::Host;
pub(crate) use self::context::{Attempt, JobContext};
pub(crate) use self::keep::{keep, stored_bytes};
pub(crate) use self::open::{Prepared, Ready, Sizes, prepare, ripen, sizes, waits_for};
pub(crate) use self::subtasks::{Nest, makes_subtasks};
