//! What the queue knows of a job.

use std::sync::Arc;

use sortie_protocol::seen::Seen;
use sortie_protocol::{Gathered, Job, JobRecord, JobState, Readers, Timestamp};

/// A job.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Arc<Job>,
    pub(super) created: Timestamp,
    pub(super) state: JobState,
    pub(super) readers: Readers,
    pub(super) gathered: Option<Gathered>,
    /// Its place in the order in which jobs were put.
    pub(super) number: u64,
    pub(super) seen: Seen,
    /// Whether tasks were cancelled: then some may have ended that no worker ever had.
    pub(super) has_cancelled_tasks: bool,
    /// How many bundles of this job there are, wherever they are: without any, nothing need be
    /// searched for them.
    pub(super) bundles: usize,
}

impl Entry {
    pub(super) fn is_cancelled(&self) -> bool {
        self.state == JobState::Cancelled
    }

    pub(super) fn record(&self) -> JobRecord {
        JobRecord {
            job: Job::clone(&self.job),
            created: self.created,
            state: self.state,
            readers: self.readers.clone(),
            gathered: self.gathered,
        }
    }
}
