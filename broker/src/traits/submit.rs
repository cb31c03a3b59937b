//! The client's trait: puts jobs, publishes tasks, follows outcomes, cancels.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sortie_protocol::{
    Bundle, Digest, FunctionIndex, Job, JobFunction, JobKey, JobRecord, Outcome, Reading,
    TaskIndex, TenantId, Timestamp,
};

use super::values::{Error, Event, Position, Unfinished};

/// Submits jobs and follows their outcomes.
#[async_trait]
pub trait Submit: std::fmt::Debug + Send + Sync + 'static {
    /// The tenant whose jobs are submitted here.
    fn tenant(&self) -> TenantId;

    /// Why something that this process asked to be stored waits for room at the broker, if anything
    /// does.
    fn full(&self) -> Option<String> {
        None
    }

    /// How long a worker has a bundle without extending its lease, if that is known.
    fn lease(&self) -> Option<Duration> {
        None
    }

    /// How long outcomes are kept that nobody trims. `None`: as long as their job.
    fn retention(&self) -> Option<Duration>;

    /// Store a component's bytes under its digest. Idempotent.
    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error>;

    /// Write a job's record, before its first bundle. Idempotent, even if the job was cancelled.
    /// `created` is the submitter's time.
    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error>;

    /// Append functions to the table of an open job, the first of them at this place: for the job's
    /// submitter, before it publishes a task that calls one. Places that the table has by then stay
    /// as they are, so asking again is safe. A sealed or cancelled job stays as it is.
    async fn add_functions(
        &self,
        job: JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error>;

    /// A job's record, if it was put and not forgotten.
    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error>;

    /// Publish a bundle of a job. Waits while the broker is full. Cancel safe: a dropped call has
    /// published either the whole bundle or nothing.
    async fn publish(&self, bundle: Bundle) -> Result<(), Error>;

    /// Store outcomes of tasks that no worker runs. They count if they are the first of their tasks
    /// and the job exists and is not cancelled; otherwise they change nothing.
    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error>;

    /// Send a heartbeat of an open job's submitter to its followers. Not stored.
    async fn submitting(&self, job: JobKey) -> Result<(), Error>;

    /// Seal a job: record its final number of tasks, so that followers know when all outcomes have
    /// arrived. Sealing again, or sealing a missing or cancelled job, changes nothing.
    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error>;

    /// Follow a job's outcomes from a position on, or from the first one still stored after it. The
    /// stream waits for more, and ends after [`Event::Cancelled`] and [`Event::Refused`], or when
    /// the job is forgotten; then outcomes not yet received may be missing. It may also end early
    /// without an event; then call this again.
    async fn follow(&self, job: JobKey, from: Position)
    -> Result<BoxStream<'static, Event>, Error>;

    /// Count a job's bundles that wait or are leased.
    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error>;

    /// Note what a reader of a job's outcomes says. When the last one ends and all were gathered,
    /// the outcomes are taken away, and the job's record stays for a while. The record as it is
    /// then, if the job is there. Waits for no room: without it, that is the error.
    async fn note(&self, job: JobKey, reading: Reading) -> Result<Option<JobRecord>, Error>;

    /// Tell the broker that outcomes before `before` were received and need not be kept. Some may
    /// be kept longer; positions do not change.
    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error>;

    /// Cancel a job: its waiting bundles are dropped, its leases are lost, its followers get an
    /// event. Outcomes stored before stay readable; none are stored afterwards. Idempotent. If the
    /// error is [`Error::Full`], the bundles are dropped, and it is to be said again.
    async fn cancel(&self, job: JobKey) -> Result<(), Error>;

    /// Cancel tasks of a job: those that did not end by now end as cancelled, at once. Workers that
    /// run them are told to stop them, and one that gets their bundle later leaves them out, if it
    /// heard of it; a worker that did not hear runs them in vain.
    async fn cancel_tasks(&self, job: JobKey, tasks: Vec<TaskIndex>) -> Result<(), Error>;

    /// Remove everything stored of a job, except its dead letters. What waits of it is dropped and
    /// what runs is stopped, as for [`Self::cancel`]; its followers are not told of a cancellation,
    /// and end.
    async fn forget(&self, job: JobKey) -> Result<(), Error>;
}
