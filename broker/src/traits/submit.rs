//! What a client needs of a broker: put jobs, publish tasks, follow outcomes, cancel.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sortie_protocol::{
    Bundle, Digest, Job, JobKey, JobRecord, Outcome, TaskIndex, TenantId, Timestamp,
};

use super::values::{Error, Event, Position, Unfinished};

/// Submits jobs and follows their outcomes.
#[async_trait]
pub trait Submit: std::fmt::Debug + Send + Sync + 'static {
    /// Whose jobs are submitted here.
    fn tenant(&self) -> TenantId;

    /// Why something that this process asked to be stored waits for room at the broker, if anything
    /// does.
    fn full(&self) -> Option<String> {
        None
    }

    /// How long outcomes are kept that nobody trims. `None`: as long as their job.
    fn retention(&self) -> Option<Duration>;

    /// Keep a component's bytes under its digest. Putting it again changes nothing.
    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error>;

    /// Write a job's record, before its first bundle. Putting it again changes nothing, even if the
    /// job was cancelled. `created` is the submitter's time.
    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error>;

    /// A job's record, if it was put and not forgotten.
    async fn job(&self, job: JobKey) -> Result<Option<JobRecord>, Error>;

    /// Publish a bundle of a job. Waits while the broker is full. Cancel safe: a call that was
    /// dropped published the bundle or nothing.
    async fn publish(&self, bundle: Bundle) -> Result<(), Error>;

    /// Store outcomes of tasks that no worker runs. They count if they are the first of their
    /// tasks, and the job is there and not cancelled; else they change nothing.
    async fn report(&self, job: JobKey, outcomes: Vec<Outcome>) -> Result<(), Error>;

    /// Say that the submitter of an open job is there, for those who follow it. Not kept.
    async fn submitting(&self, job: JobKey) -> Result<(), Error>;

    /// Say that a job has this many tasks and gets no more, so that followers know when all is
    /// there. Sealing again, or a job that is not there or cancelled, changes nothing.
    async fn seal(&self, job: JobKey, tasks: TaskIndex) -> Result<(), Error>;

    /// Follow a job's outcomes from a position on, or from the first that is kept after it. The
    /// stream waits for more, and ends after [`Event::Cancelled`] and [`Event::Refused`], or when
    /// the job is forgotten; then what was not received yet may be missing. It may end before that
    /// without a word: then it can be opened again.
    async fn follow(&self, job: JobKey, from: Position)
    -> Result<BoxStream<'static, Event>, Error>;

    /// What of a job waits or is leased.
    async fn unfinished(&self, job: JobKey) -> Result<Unfinished, Error>;

    /// Tell the broker that outcomes before `before` were received and need not be kept. Some may
    /// be kept longer; positions do not change.
    async fn trim(&self, job: JobKey, before: Position) -> Result<(), Error>;

    /// Stop a job: its waiting bundles are dropped, its leases are lost, its followers are told.
    /// Outcomes stored before stay readable; none are stored after. Cancelling again changes
    /// nothing.
    async fn cancel(&self, job: JobKey) -> Result<(), Error>;

    /// Drop all there is of a job, except its dead letters. For its submitter, once its outcomes
    /// are received.
    async fn forget(&self, job: JobKey) -> Result<(), Error>;
}
