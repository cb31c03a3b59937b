//! What an operator needs of a broker: lists of jobs, dead letters and workers.

use async_trait::async_trait;
use sortie_protocol::{DeadLetter, JobKey, JobRecord, Presence};

use super::values::{Error, LetterId};

/// Lists what is there, and removes dead letters.
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

    /// Remove a dead letter: it was dealt with. One that is not there is no error.
    async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error>;

    /// The workers that are there, in the order of their names.
    async fn workers(&self) -> Result<Vec<Presence>, Error>;
}
