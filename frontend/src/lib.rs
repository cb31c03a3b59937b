//! The code that all front ends of Sortie share: the command line, a Python package, a web page.
//!
//! - [`settings`]: settings of the user and of the environment, cloud credentials among them;
//! - [`session`]: a client configured from them;
//! - [`binding`]: turns texts (JSON, paths, patterns, URLs) into arguments by a function's
//!   signature, and whole lists of them into a stream of tasks;
//! - [`pipeline`]: functions that take each other's results, over a stream of inputs;
//! - [`json`]: CBOR values as JSON;
//! - [`log`]: what functions logged, as it is shown;
//! - [`results`]: outcomes as JSON lines, CSV or Parquet, written to a stream, a file or a store;
//! - [`graph_svg`]: draws how the tasks of a job depend on each other;
//! - [`advice`]: words the advice of errors for the command line.
//!
//! This crate never prints, never uses a terminal, and does not parse command lines. It is the only
//! library that reads the environment, and does so in [`settings::Environment::read`] only. Errors
//! name a [`Setting`], not an option or a keyword: each front end has its own name for it.

pub mod advice;
pub mod binding;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod graph_svg;
pub mod json;
pub mod log;
pub mod pipeline;
pub mod results;
pub mod session;
pub mod settings;
mod stop;
mod worker_watch;

pub use self::error::{Error, Kind, Setting, chain};
pub use self::stop::{Raise, Stop, Stopped};
pub use self::worker_watch::WorkerWatch;
