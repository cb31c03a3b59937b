//! The Sortie host: runs functions in sandboxes and feeds them objects.
//!
//! - [`engine`] compiles components and interrupts functions; [`artifacts`] keeps machine code on
//!   disk.
//! - [`sandbox`] runs one call of a function, within limits, with access to its arguments and
//!   nothing else.
//! - [`component`] loads components: compiles, links and describes them.
//! - [`memo`] caches results of deterministic tasks, on this machine and for others; [`cache`]
//!   inspects and clears what is kept on this machine.
//! - [`attempt`] runs one task once; [`worker`] pulls leases and runs their tasks; [`compute_pool`]
//!   has the threads on which functions compute.
//! - [`budget`] has a worker's memory, which everything that tasks hold is charged to.
//! - [`metrics`] counts what happens, [`observer`] tells it to a program that embeds a worker.
//! - [`setup`] puts them together.
//!
//! Nothing a guest does may panic, block or exhaust the host: that is a security bug. Only
//! [`engine`] and [`sandbox`] use wasmtime. Objects are read and written by `sortie_objects`. The
//! host never reads the environment.

pub mod attempt;
pub mod budget;
pub mod cache;
pub mod component;
pub mod compute_pool;
pub mod engine;
pub mod memo;
pub mod metrics;
pub mod observer;
pub mod sandbox;
pub mod setup;
pub mod subtasks;
pub mod worker;

mod clock;
#[doc(hidden)]
pub mod fuzzing;
mod kept;
mod panics;
pub mod shortage;

pub use attempt::Host;
pub use budget::Budget;
pub use component::{Component, LoadError};
pub use engine::{Engine, artifacts};
pub use setup::Setup;
pub use worker::Worker;
