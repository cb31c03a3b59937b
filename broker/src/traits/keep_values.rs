//! What workers and clients need of a broker for values that are too large for a message, where
//! they have no store.

use async_trait::async_trait;
use bytes::Bytes;
use sortie_protocol::{BrokerRef, JobKey, TaskIndex, TenantId};

use super::values::Error;

/// The most bytes of one kept value: as many as a task's memory limit is by default.
pub const VALUE_BYTES_MAX: usize = 256 << 20;

/// Keeps large values beside their job, until it is forgotten, or for as long as outcomes are kept.
///
/// What may be kept of a tenant is bounded. Whoever knows that a value is not needed any more drops
/// it ([`drop_values`](Self::drop_values)).
#[async_trait]
pub trait KeepValues: std::fmt::Debug + Send + Sync + 'static {
    /// Keep a value of a job: the result of `task`, or an argument. Waits for room for a while.
    /// Cancel safe: a dropped call leaves at most parts that nothing names.
    async fn put_value(
        &self,
        job: JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error>;

    /// A kept value of a job of this tenant, or `None` if it is not kept any more. What has another
    /// digest than it should is [`Error::Unsuitable`]. Cancel safe.
    async fn value(&self, tenant: TenantId, kept: BrokerRef) -> Result<Option<Bytes>, Error>;

    /// Drop the results of these tasks.
    async fn drop_values(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error>;
}
