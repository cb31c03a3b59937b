//! What a run is to be like.

use std::path::PathBuf;
use std::time::Duration;

use crate::schedule::{Form, Scenario};
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
    /// Which faults have to come.
    pub form: Form,
    /// From one fault to the next, about.
    pub interval: Duration,
    /// Tasks in a bundle.
    pub bundle: u64,
    /// Between the publishing of two bundles.
    pub pace: Duration,
    /// Tasks that take each other's results, beside these.
    pub graph_tasks: usize,
    /// Between two submissions of those.
    pub graph_pace: Duration,
    /// Between two attacks.
    pub attack_pace: Duration,
    /// How long a lease holds.
    pub lease: Duration,
    /// Bundles that each worker takes at a time.
    pub concurrency: usize,
    /// The `sortie` program, for workers.
    pub worker: PathBuf,
    /// This package's own program, for submitters, readers and the attacker.
    pub program: PathBuf,
    /// The library that steps the workers' clocks.
    pub clock: PathBuf,
    /// Where records and logs go: an empty folder.
    pub folder: PathBuf,
}
