//! What an operator needs of a broker: lists of jobs, dead letters, queues and workers.

use async_trait::async_trait;
use sortie_protocol::{DeadLetter, JobKey, JobRecord, Presence, TenantId};

use super::values::{Error, LetterId, Waiting};

/// Lists what is there, removes dead letters, and empties queues.
#[async_trait]
pub trait Operate: std::fmt::Debug + Send + Sync + 'static {
    /// The records of the jobs put last, newest first.
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error>;

    /// The newest dead letters of a job, or of all of the tenant's, newest first.
    async fn dead_letters(
        &self,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error>;

    /// Remove a dead letter. Whether it was there: a missing one is not an error. Where an answer
    /// was lost and it was asked for again, it counts as removed.
    async fn remove_dead_letter(&self, letter: LetterId) -> Result<bool, Error>;

    /// What waits of each tenant, or of those that this user may ask about, in the order of their
    /// names.
    async fn queues(&self) -> Result<Vec<Waiting>, Error>;

    /// Remove the bundles of a tenant that wait, and say how many went. Bundles that are leased may
    /// go as well; what is reported of them counts. The jobs stay, and their followers find that
    /// the tasks are lost.
    async fn empty(&self, tenant: TenantId) -> Result<u64, Error>;

    /// The workers that are there, in the order of their names. Where the broker has no room they
    /// cannot say that they are there: then that may be the error.
    async fn workers(&self) -> Result<Vec<Presence>, Error>;
}
