//! The trait, and the values that pass through it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use sortie_protocol::{
    Advice, Bundle, DeadLetter, Digest, Job, JobId, JobRecord, Labels, LeaseId, Outcome, Presence,
    TaskIndex, Timestamp, WorkerId,
};

/// A place in a job's outcomes, from 0, in the order in which they were stored.
pub type Position = u64;

/// Names a dead letter within its broker; later ones have greater names.
pub type LetterId = u64;

/// How long a worker counts as present after it said so: three times it may miss its turn.
pub const PRESENCE: Duration = Duration::from_secs(12);

/// Who pulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puller {
    /// The worker.
    pub worker: WorkerId,
    /// Which jobs it takes.
    pub serves: Serves,
}

/// Which jobs a worker takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serves {
    /// All, whatever labels they ask for: the only worker there is.
    Everything,
    /// Those that ask for nothing but these labels.
    Labels(Labels),
}

impl Serves {
    /// Whether a job that asks for these labels is among them.
    #[must_use]
    pub fn takes(&self, asked: &Labels) -> bool {
        match self {
            Self::Everything => true,
            Self::Labels(labels) => labels.include(asked),
        }
    }
}

/// A worker's promise to run a bundle until a deadline, or longer if it extends the lease.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Names this lease; every grant has a new name.
    pub id: LeaseId,
    /// The job of the bundle.
    pub job: Arc<Job>,
    /// The tasks to run.
    pub bundle: Arc<Bundle>,
    /// Which attempt this is, from 1: attempts before this bundle, plus deliveries of it.
    pub attempt: u32,
    /// When the lease ends if it is not extended.
    pub deadline: Timestamp,
    /// Whose job it is, at a broker that several tenants share.
    pub tenant: Option<Arc<str>>,
}

/// What became of a leased bundle's tasks.
///
/// A task that is in neither list is not lost: it comes back as if the lease had run out. One that
/// is in both has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Tasks that ended.
    pub outcomes: Vec<Outcome>,
    /// Tasks that are to be tried again.
    pub retrials: Vec<Retrial>,
}

impl Report {
    /// Whether it says nothing: what was leased comes back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.retrials.is_empty()
    }
}

/// One task that is to be tried again, in a bundle of its own. It counts as the next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrial {
    /// The task.
    pub index: TaskIndex,
    /// Not before this long.
    pub after: Duration,
}

/// Whether a lease could be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// It holds until then.
    Until(Timestamp),
    /// It is over: it expired, or its job was cancelled. Stop the work; a report would still be
    /// taken.
    Lost,
}

/// What a job's follower is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// Outcomes were stored. The position is that of the first.
    Outcomes(Position, Arc<[Outcome]>),
    /// The job was cancelled: tasks without an outcome will get none. The last event.
    Cancelled,
    /// The broker will not tell, for this reason: asking again will not help, or was done for as
    /// long as an outage may last. The last event.
    Refused(Error),
}

/// Why a broker could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The job was never put, or is forgotten.
    #[error("job `{0}` is not known to the broker")]
    NoSuchJob(JobId),
    /// The job was cancelled.
    #[error("job `{0}` was cancelled")]
    JobCancelled(JobId),
    /// A bundle that no broker could carry.
    #[error("a bundle of {weight} bytes exceeds the broker's limit of {limit}")]
    TooLarge {
        /// The bundle's weight.
        weight: usize,
        /// The most this broker takes.
        limit: usize,
    },
    /// The bundle has no tasks.
    #[error("the bundle has no tasks")]
    Empty,
    /// The broker does not answer. What was asked may have happened or not; asking again is safe.
    #[error("the broker at {place} does not answer: {reason}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// What was tried and what came of it.
        reason: String,
    },
    /// The broker knows who asks, or does not, and refuses.
    #[error("the broker at {place} refuses: {reason}")]
    Denied {
        /// Where it is.
        place: String,
        /// What was refused, and what to do.
        reason: String,
    },
    /// What is there cannot serve as a broker as it is.
    #[error("the broker at {place} cannot be used: {reason}")]
    Unsuitable {
        /// Where it is.
        place: String,
        /// What is missing.
        reason: String,
        /// What could be done about it, if that is known.
        advice: Option<Advice>,
    },
}

impl Error {
    /// What could be done, if that is known.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Unsuitable { advice, .. } => advice.clone(),
            Self::NoSuchJob(_) => Some(Advice::ListJobs),
            Self::JobCancelled(_)
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::Unreachable { .. }
            | Self::Denied { .. } => None,
        }
    }

    /// Whether asking again, later, can help.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::NoSuchJob(_)
            | Self::JobCancelled(_)
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::Denied { .. }
            | Self::Unsuitable { .. } => false,
        }
    }
}

/// What clients and workers need of a broker. See the crate's documentation for what every
/// implementation promises, and [`conformance`](crate::conformance) for how each promise is
/// checked.
///
/// Publishing to a job that is not there, and following it, are errors. Ending what is not there, a
/// lease or a job, is none: whoever ends something cannot know whether somebody else did so first.
#[async_trait]
pub trait Broker: std::fmt::Debug + Send + Sync + 'static {
    /// Keep a component's bytes under its digest. Putting it again changes nothing.
    async fn put_component(&self, digest: Digest, bytes: Bytes) -> Result<(), Error>;

    /// A component's bytes, if they were put.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, Error>;

    /// Write a job's record, before its first bundle. Putting it again changes nothing, even if the
    /// job was cancelled. `created` is the submitter's time.
    async fn put_job(&self, job: Job, created: Timestamp) -> Result<(), Error>;

    /// Say that a job has this many tasks and gets no more, so that whoever comes later knows when
    /// all is there. Sealing again, or a job that is not there or cancelled, changes nothing.
    async fn seal(&self, job: JobId, tasks: TaskIndex) -> Result<(), Error>;

    /// A job's record, if it was put and not forgotten.
    async fn job(&self, job: JobId) -> Result<Option<JobRecord>, Error>;

    /// The records of the jobs put last, newest first.
    async fn jobs(&self, count_max: usize) -> Result<Vec<JobRecord>, Error>;

    /// How many bundles of a job wait or are leased. Zero: everything that was published has ended,
    /// or the job is over.
    async fn unfinished(&self, job: JobId) -> Result<u64, Error>;

    /// Publish a bundle of a job. Waits while the broker is full. Cancel safe: a call that was
    /// dropped published the bundle or nothing.
    async fn publish(&self, bundle: Bundle) -> Result<(), Error>;

    /// Take up to `credits` leases, waiting until there is at least one. Cancel safe: no lease is
    /// lost in a dropped call.
    ///
    /// A job that asks for labels goes only to whoever serves it. Bundles of jobs with a higher
    /// priority go first. Among equals there is no promised order. Tasks that ended while their
    /// bundle waited, because a late report came, are no longer in it.
    async fn pull(&self, puller: &Puller, credits: NonZeroUsize) -> Result<Vec<Lease>, Error>;

    /// Keep a lease for another term, counted from now.
    async fn extend(&self, lease: LeaseId) -> Result<Extended, Error>;

    /// Report on a leased bundle and end the lease.
    ///
    /// Outcomes count even when the lease is over, if they are the first of their tasks; retrials
    /// only while it holds, because the bundle is with somebody else otherwise. Nothing counts
    /// once the job is cancelled or forgotten; that is no error.
    async fn complete(&self, lease: LeaseId, job: JobId, report: Report) -> Result<(), Error>;

    /// Give a lease back unworked, for anyone to take at once. It does not count as an attempt, nor
    /// towards the deliveries after which a bundle is given up.
    async fn release(&self, lease: LeaseId) -> Result<(), Error>;

    /// Follow a job's outcomes from a position on, or from the first that is kept after it. The
    /// stream waits for more, and ends after [`Event::Cancelled`] and [`Event::Refused`], or
    /// when the job is forgotten; then what was not received yet may be missing. It may end
    /// before that without a word: then it can be opened again.
    async fn outcomes(
        &self,
        job: JobId,
        from: Position,
    ) -> Result<BoxStream<'static, Event>, Error>;

    /// A number that changes whenever a stream of [`Broker::outcomes`] here has read all of a job's
    /// outcomes that were stored by then, and has passed them on. For whoever misses an outcome
    /// and wants to know whether it is not there or was not read yet. `None` where a stream never
    /// has to catch up, because it reads what is stored whenever it is polled.
    fn caught_up(&self, job: JobId) -> Option<u64> {
        let _ = job;
        None
    }

    /// Tell the broker that outcomes before `before` were received and need not be kept. Some may
    /// be kept longer; positions do not change.
    async fn trim(&self, job: JobId, before: Position) -> Result<(), Error>;

    /// Stop a job: its waiting bundles are dropped, its leases are lost, its followers are told.
    /// Outcomes stored before stay readable; none are stored after. Cancelling again changes
    /// nothing.
    async fn cancel(&self, job: JobId) -> Result<(), Error>;

    /// The jobs that are cancelled from now on, for workers to stop what they run of them. A worker
    /// that falls far behind may miss some; its next extension tells it.
    async fn cancellations(&self) -> Result<BoxStream<'static, JobId>, Error>;

    /// Drop all there is of a job, except its dead letters. For whoever put it, once its outcomes
    /// are received.
    async fn forget(&self, job: JobId) -> Result<(), Error>;

    /// The newest dead letters of a job, or of all, newest first.
    async fn dead_letters(
        &self,
        job: Option<JobId>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error>;

    /// Remove a dead letter: it was dealt with. One that is not there is no error.
    async fn remove_dead_letter(&self, letter: LetterId) -> Result<(), Error>;

    /// Say that a worker is there, and how busy. Holds for [`PRESENCE`].
    async fn announce(&self, presence: Presence) -> Result<(), Error>;

    /// The workers that are there, in the order of their names.
    async fn workers(&self) -> Result<Vec<Presence>, Error>;
}
