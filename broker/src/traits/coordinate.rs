//! What coordinators need of a broker: the graphs of open jobs, and who coordinates which job.

use async_trait::async_trait;
use sortie_protocol::{GraphEntry, JobKey, TaskIndex, Term};

use super::values::{Claimed, Error};

/// The most bytes of one job's graph. A submitter opens another job long before.
pub const GRAPH_BYTES_MAX: usize = 64 << 20;

/// Keeps the graphs of open jobs, and the terms of those who coordinate them.
///
/// Two processes may coordinate a job at the same time, for a while: what they do is harmless when
/// it is done twice, because the first outcome of a task counts. A term only sees to it that this
/// is rare.
#[async_trait]
pub trait Coordinate: std::fmt::Debug + Send + Sync + 'static {
    /// Whether what is stored here outlives this process, so that others can go on with it.
    fn outlives_process(&self) -> bool;

    /// Append entries to a job's graph. Waits while the broker is full. Cancel safe: a dropped call
    /// has stored either all of them or none.
    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error>;

    /// All entries of a job's graph, in their order. One that has more than [`GRAPH_BYTES_MAX`] is
    /// [`Error::TooLarge`].
    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error>;

    /// The tasks in a job's bundles that wait or are leased. Bundles that were published within the
    /// last seconds may be missing.
    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error>;

    /// Claim to coordinate a job, or repeat that, if the last claim is still the one of this
    /// version, or there is none. `None`: somebody else has claimed it meanwhile.
    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error>;

    /// Who coordinates a job, if anybody ever did.
    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error>;

    /// Who coordinates which job, of all tenants that this user may ask about.
    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error>;

    /// Drop a job's graph and its term: it is over.
    async fn drop_graph(&self, job: JobKey) -> Result<(), Error>;
}
