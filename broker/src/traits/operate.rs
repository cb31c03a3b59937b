//! The operator's trait: lists jobs, dead letters and workers.

use async_trait::async_trait;
use sortie_protocol::{DeadLetter, JobKey, JobRecord, Presence};

use super::values::{Error, LetterId};

/// Lists jobs, dead letters and workers, and removes dead letters.
#[async_trait]
pub trait Operate: std::fmt::Debug + Send + Sync + 'static {
    /// The records of the jobs put last, newest first.
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error>;

    /// The newest dead letters of a job, or of all, newest first.
    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error>;

    /// Remove a dead letter. A missing one is not an error.
    async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error>;

    /// The connected workers, ordered by id.
    async fn workers(&self) -> Result<Vec<Presence>, Error>;
}
