//! What a worker needs of a broker: pull leases, keep them, report.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sortie_protocol::{Digest, JobKey, LeaseId, Presence};

use super::values::{Error, Extended, Lease, Puller, Report};

/// Gives leases, and takes reports on them.
#[async_trait]
pub trait Work: std::fmt::Debug + Send + Sync + 'static {
    /// A component's bytes, if they were put.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error>;

    /// Take up to `credits` leases, waiting until there is at least one. Cancel safe: no lease is
    /// lost in a dropped call.
    ///
    /// A job that asks for labels goes only to workers that serve it. Bundles of a higher priority
    /// go first. Among equals there is no promised order. Tasks that ended while their bundle
    /// waited, because a late report came, are no longer in it.
    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error>;

    /// Keep a lease for another term, counted from now.
    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error>;

    /// Report on a leased bundle and end the lease.
    ///
    /// Outcomes count even when the lease is over, if they are the first of their tasks; retrials
    /// only while it holds, because the bundle is with somebody else otherwise. Nothing counts once
    /// the job is cancelled or forgotten; that is no error.
    async fn complete(&self, lease: LeaseId, job: JobKey, report: Report) -> Result<(), Error>;

    /// Give a lease back unworked, for anyone to take at once. It does not count as an attempt, nor
    /// towards the deliveries after which a bundle is given up.
    async fn release(&self, lease: LeaseId) -> Result<(), Error>;

    /// The jobs that are cancelled from now on, for workers to stop what they run of them. A worker
    /// that falls far behind may miss some; its next extension tells it.
    async fn cancellations(&self) -> Result<BoxStream<'static, JobKey>, Error>;

    /// Say that a worker is there, and how busy. Holds for [`PRESENCE`](super::PRESENCE).
    async fn announce(&self, presence: Presence) -> Result<(), Error>;
}
