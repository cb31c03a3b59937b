//! The sandbox: runs one call of a function in an instance of its own, within limits, with access
//! to its arguments and nothing else.
//!
//! - `link` gives a component the host functions that it imports; `imports` has the table of
//!   interfaces, with what each needs.
//! - `describe` asks a component for its functions.
//! - `run` runs one call. `limits` bounds it, `failure` says what an error that ended it means.
//!
//! A call gets a fresh store and a fresh instance, and both are dropped after it: nothing that one
//! task wrote is there for the next. After a trap, a timeout or a cancellation the instance is
//! never entered again.

mod bindings;
mod describe;
mod failure;
mod imports;
mod limits;
mod link;
mod run;
mod state;

pub(crate) use self::describe::describe;
pub use self::describe::{DescribeError, FUNCTIONS_MAX};
pub(crate) use self::failure::Why;
pub use self::imports::Needs;
pub use self::imports::wasi::clocks::{VIRTUAL_EPOCH, VIRTUAL_STEP};
pub(crate) use self::imports::{Makes, Returned};
pub(crate) use self::limits::Watch;
pub use self::limits::{Cancel, TaskCancel};
pub use self::link::LinkError;
pub(crate) use self::link::{Linked, check, link};
pub(crate) use self::run::{Argument, Call, Ended, run};
