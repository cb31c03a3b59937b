//! The worker's trait: pulls leases, extends them, reports.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sortie_protocol::{Digest, JobKey, LeaseId, Presence};

use super::values::{Cancellation, Error, Extended, Lease, Puller, Report};

/// Grants leases, and takes reports on them.
#[async_trait]
pub trait Work: std::fmt::Debug + Send + Sync + 'static {
    /// A component's bytes, if it is stored.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error>;

    /// Take up to `credits` leases, waiting until there is at least one. Cancel safe: no lease is
    /// lost in a dropped call.
    ///
    /// A job that requires labels goes only to workers that serve it. Bundles of a higher priority
    /// go first; the order among equals is not specified. Tasks that ended while their bundle
    /// waited, because a late report came, are removed from it.
    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error>;

    /// Extend a lease for its full duration, counted from now.
    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error>;

    /// Report on a leased bundle and end the lease.
    ///
    /// Outcomes count even after the lease expired, if they are the first of their tasks; retrials
    /// count only while it holds, because otherwise another worker has the bundle. Nothing counts
    /// once the job is cancelled or forgotten; that is not an error.
    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error>;

    /// Return a bundle unprocessed, so that another worker can take it at once. Counts neither as
    /// an attempt nor as a lost lease.
    async fn release(&self, lease: LeaseId) -> Result<(), Error>;

    /// A stream of what is cancelled from now on, for workers to stop it. A worker that falls far
    /// behind may miss some: of a cancelled job, its next extension returns [`Extended::Lost`].
    async fn cancellations(&self) -> Result<BoxStream<'static, Cancellation>, Error>;

    /// What of a lease is cancelled, as far as this process knows. To be asked when
    /// [`Self::cancellations`] can find the lease at work: a notice that came while it was pulled
    /// found nothing to stop.
    fn cancelled(&self, lease: &Lease) -> Option<Cancellation>;

    /// Announce a worker and its load. Valid for [`PRESENCE`](super::PRESENCE).
    async fn announce(&self, presence: Presence) -> Result<(), Error>;
}
