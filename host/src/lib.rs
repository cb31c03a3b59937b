//! The Sortie host: runs functions in sandboxes and feeds them objects.
//!
//! - [`engine`] makes the one wasmtime engine of a process and keeps its clock.
//! - [`component`] turns bytes into a function library, or says in one line why it cannot;
//!   [`artifacts`] keeps what was compiled.
//! - [`sandbox`] is the wall: everything a function can see or use, with its limits.
//! - [`objects`] reads inputs and writes outputs, wherever they are; [`store`] keeps objects under
//!   the name of their content.
//! - [`memo`] keeps results of deterministic tasks, here and for others; [`cache`] looks at what is
//!   kept on this machine.
//! - [`attempt`] runs one task once; [`worker`] pulls leases and runs their tasks; [`cores`] are
//!   the threads on which functions compute.
//! - [`setup`] puts them together.
//!
//! Nothing a guest does may panic, block or exhaust the host: that is a security bug. Only
//! [`engine`], [`component`], [`artifacts`] and [`sandbox`] know wasmtime, only [`objects`] knows
//! `object_store`. The host never reads the environment.

pub mod artifacts;
pub mod attempt;
pub mod cache;
pub mod component;
pub mod cores;
pub mod engine;
pub mod memo;
pub mod objects;
pub mod outputs;
pub mod sandbox;
pub mod setup;
pub mod store;
pub mod worker;

mod clock;
mod episode;
mod folder;
mod panics;

pub use attempt::Host;
pub use component::{Component, LoadError};
pub use engine::Engine;
pub use setup::Setup;
pub use store::Store;
pub use worker::Worker;
