//! What a run is to be like.

use std::path::PathBuf;
use std::time::Duration;

use crate::schedule::Scenario;
use crate::work::Work;

/// What a run is to be like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which servers.
    pub scenario: Scenario,
    /// What is computed.
    pub work: Work,
    /// Decides the schedule.
    pub seed: u64,
    /// From one fault to the next, about.
    pub interval: Duration,
    /// Tasks in a bundle.
    pub bundle: u64,
    /// Between the publishing of two bundles.
    pub pace: Duration,
    /// How long a lease holds.
    pub lease: Duration,
    /// Bundles that each worker takes at a time.
    pub concurrency: usize,
    /// The `sortie` program, for workers.
    pub worker: PathBuf,
    /// This package's own program, for submitters and readers.
    pub program: PathBuf,
    /// Where records and logs go: an empty folder.
    pub folder: PathBuf,
}
