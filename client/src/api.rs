//! The public API: clients, functions, jobs, futures, arguments and outcomes.

pub(crate) mod arguments;
pub(crate) mod attach;
pub(crate) mod borrowed;
pub(crate) mod builder;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod detached;
pub(crate) mod function;
pub(crate) mod future;
pub(crate) mod job;
pub(crate) mod nested;
pub(crate) mod outcome;
pub(crate) mod output;
pub(crate) mod published;
pub(crate) mod reading;
pub(crate) mod reduce;
pub(crate) mod references;
pub(crate) mod retry;
pub(crate) mod scatter;
pub(crate) mod shared;
pub(crate) mod task_error;
pub(crate) mod wait;
