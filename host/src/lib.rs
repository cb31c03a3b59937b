//! The Sortie host: runs functions in sandboxes and feeds them objects.
//!
//! - [`engine`] makes the one wasmtime engine of a process and keeps its clock.
//! - [`component`] compiles and describes components, or says in one line why it cannot;
//!   [`artifacts`] keeps compiled components on disk.
//! - [`sandbox`] is the wall: everything a function can see or use, with its limits.
//! - [`memo`] caches results of deterministic tasks, on this machine and for others; [`cache`]
//!   inspects and clears what is kept on this machine.
//! - [`attempt`] runs one task once; [`worker`] pulls leases and runs their tasks; [`compute_pool`]
//!   has the threads on which functions compute.
//! - [`metrics`] counts what happens, [`observer`] tells it to a program that embeds a worker.
//! - [`setup`] puts them together.
//!
//! Nothing a guest does may panic, block or exhaust the host: that is a security bug. Only
//! [`engine`], [`component`], [`artifacts`] and [`sandbox`] know wasmtime. Objects are read and
//! written by `sortie_objects`. The host never reads the environment.

pub mod artifacts;
pub mod attempt;
pub mod cache;
pub mod component;
pub mod compute_pool;
pub mod engine;
pub mod memo;
pub mod metrics;
pub mod observer;
pub mod sandbox;
pub mod setup;
pub mod worker;

mod clock;
mod panics;

pub use attempt::Host;
pub use component::{Component, LoadError};
pub use engine::Engine;
pub use setup::Setup;
pub use worker::Worker;
