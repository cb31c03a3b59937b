//! The host in the client's process: loads components, and runs an embedded client's tasks.

pub(crate) mod load;
pub(crate) mod loader;
pub(crate) mod start;
