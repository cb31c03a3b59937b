//! What every front door of Sortie shares: the command line, a Python package, a web page.
//!
//! - [`settings`]: settings of the user and of the environment, cloud credentials among them;
//! - [`session`]: a client that is set up from them;
//! - [`binding`]: turns texts (JSON, paths, patterns, URLs) into arguments by a function's
//!   signature, and whole lists of them into a stream of tasks;
//! - [`json`]: CBOR values as JSON;
//! - [`log`]: what functions logged, as it is shown;
//! - [`results`]: outcomes as JSON lines, CSV or Parquet, written to a stream, a file or a store;
//! - [`advice`]: the words for what an error advises, as the command line says it.
//!
//! This crate never prints, never looks at a terminal, and does not know how a front door parses
//! what its user wrote. It is the only library that reads the environment, and does so in
//! [`settings::Environment::read`] alone. Errors name a [`Setting`], not a flag or a keyword: each
//! front door has its own word for it.

pub mod advice;
pub mod binding;
mod error;
pub mod json;
pub mod log;
pub mod results;
pub mod session;
pub mod settings;
mod stop;
mod worker_watch;

pub use self::error::{Error, Kind, Setting, chain};
pub use self::stop::{Raise, Stop, Stopped};
pub use self::worker_watch::WorkerWatch;
