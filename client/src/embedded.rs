//! A host in the client's own process: it loads components, and an embedded client's tasks run in
//! it.

pub(crate) mod load;
pub(crate) mod loader;
pub(crate) mod start;
