//! Administration: lists and changes jobs, dead letters and workers.

pub(crate) mod dead_letters;
pub(crate) mod graph;
pub(crate) mod jobs;
pub(crate) mod replay;
pub(crate) mod status;
pub(crate) mod workers;
