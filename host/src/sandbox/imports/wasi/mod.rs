//! The WASI 0.2 interfaces: a virtual environment that is nearly empty, and the same at every run.
//!
//! Rust's `std` (and other languages' runtimes) import the interfaces for environment, streams,
//! clocks, randomness, files and sockets. They are provided so that such guests link, and answer so
//! that nothing leaks in: no arguments, no environment, no directory to open a file in, an empty
//! standard input, no network. What time and randomness give depends on the task's grants.
//!
//! HTTP is not provided: a component that imports it is refused when it is loaded.

pub(in crate::sandbox) mod cli;
pub(in crate::sandbox) mod clocks;
pub(in crate::sandbox) mod random;

use wasmtime::component::{HasData, ResourceTable};

/// Finds the table of a task's streams, pollables and handles in the data of its store.
pub(in crate::sandbox) trait TableView: Send {
    fn table(&mut self) -> &mut ResourceTable;
}

/// Tells wasmtime that the host functions of `wasi:io` work on the table alone.
pub(super) struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}
