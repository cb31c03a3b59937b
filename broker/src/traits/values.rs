//! The values of the broker's traits: leases, reports, events, errors.

use std::sync::Arc;
use std::time::Duration;

pub use sortie_protocol::completion::{Mark, Unfinished};
pub use sortie_protocol::submission::Position;
use sortie_protocol::{
    Advice, Bundle, Job, JobId, JobKey, Labels, LeaseId, Outcome, TaskIndex, TenantId, Term,
    Timestamp, WorkerId,
};

/// A dead letter's id within its broker; later letters have greater ids.
pub type LetterId = u64;

/// How long a worker counts as connected after an announcement: it may miss three.
pub const PRESENCE: Duration = Duration::from_secs(12);

/// The worker that pulls.
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
    /// All jobs, whatever labels they require: for the only worker of a broker.
    Everything,
    /// Jobs that require a subset of these labels.
    Labels(Labels),
}

impl Serves {
    /// Whether a job that requires these labels is among them.
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
    /// The lease's id; every grant has a new one.
    pub id: LeaseId,
    /// The job of the bundle.
    pub job: Arc<Job>,
    /// The tasks to run.
    pub bundle: Arc<Bundle>,
    /// Which attempt this is, from 1: attempts before this bundle, plus deliveries of it.
    pub attempt: u32,
    /// When the lease ends if it is not extended.
    pub deadline: Timestamp,
}

/// The results of a leased bundle's tasks.
///
/// A task that is in neither list is not lost: it is requeued as if the lease had expired. A task
/// in both lists has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Tasks that ended.
    pub outcomes: Vec<Outcome>,
    /// Tasks to retry.
    pub retrials: Vec<Retrial>,
}

impl Report {
    /// Whether it is empty: then all tasks are requeued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty() && self.retrials.is_empty()
    }
}

/// One task that is to be tried again, without those of its bundle that ended. It counts as the
/// next attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrial {
    /// The task.
    pub index: TaskIndex,
    /// The minimum delay.
    pub after: Duration,
}

/// Whether a lease could be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// The lease holds until then.
    Until(Timestamp),
    /// The lease expired, or its job was cancelled. Stop the work; a report would still be
    /// accepted.
    Lost,
}

/// What was cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancellation {
    /// A whole job.
    Job(JobKey),
    /// Tasks of a job.
    Tasks(JobKey, Arc<[TaskIndex]>),
}

impl Cancellation {
    /// Those tasks of a lease of which this holds, if there are any.
    pub(crate) fn tasks_of(
        lease: &Lease,
        is_cancelled: impl Fn(&TaskIndex) -> bool,
    ) -> Option<Self> {
        let tasks = lease.bundle.tasks.iter().map(|task| task.index);
        let tasks: Arc<[_]> = tasks.filter(is_cancelled).collect();
        (!tasks.is_empty()).then(|| Self::Tasks(lease.job.key, tasks))
    }
}

/// Who coordinates a job, as the broker keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// The term.
    pub term: Term,
    /// Which of the claims to the job it is: each has a greater one.
    pub version: u64,
}

/// What waits of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The tenant.
    pub tenant: TenantId,
    /// Bundles that did not end.
    pub bundles: u64,
    /// Those of them that are leased or wait to be tried again, where the broker tells.
    pub leased: Option<u64>,
    /// What its queue takes.
    pub bytes: u64,
    /// What its queue may take.
    pub bytes_max: u64,
}

/// What a job's follower is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// Outcomes were stored. The position is that of the first.
    Outcomes(Position, Arc<[Outcome]>),
    /// Outcomes were stored that this program cannot read.
    Unreadable {
        /// Their tasks, as far as the message names them.
        tasks: Arc<[TaskIndex]>,
        /// Why they cannot be read.
        reason: String,
    },
    /// A heartbeat of the submitter of an unsealed job.
    Submitting,
    /// The job was sealed with this many tasks. Sent once.
    Sealed(TaskIndex),
    /// Everything stored up to this mark has been sent.
    CaughtUp(Mark),
    /// The job was cancelled: tasks without an outcome will get none. The last event.
    Cancelled,
    /// The broker refused, for this reason: a retry does not help, or was done for the whole outage
    /// time. The last event.
    Refused(Error),
}

/// A part of what is configured to connect with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The servers' addresses.
    Servers,
    /// The credentials file.
    Credentials,
    /// The certificate authorities to trust.
    TlsAuthorities,
    /// The client's certificate and key.
    TlsIdentity,
}

/// Why a request to a broker failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The job was never put, or is forgotten.
    #[error("job `{0}` is not known to the broker")]
    NoSuchJob(JobId),
    /// The job was cancelled.
    #[error("job `{0}` was cancelled")]
    JobCancelled(JobId),
    /// A bundle, or a job's record, is larger than the broker accepts.
    #[error("a message of {weight} bytes exceeds the broker's limit of {limit}")]
    TooLarge {
        /// Its weight.
        weight: usize,
        /// The broker's limit.
        limit: usize,
    },
    /// The bundle has no tasks.
    #[error("the bundle has no tasks")]
    Empty,
    /// The broker does not answer. The request may have been carried out or not; a retry is safe.
    #[error("the broker at {place} does not answer: {reason}")]
    Unreachable {
        /// The broker's address.
        place: String,
        /// What was tried, and how it failed.
        reason: String,
    },
    /// The broker has no room for what was to be stored: the tenant's queue, the disk or what the
    /// account may take is full. Asking again helps when there is room.
    #[error("the broker at {place} is full: {reason}")]
    Full {
        /// Where it is.
        place: String,
        /// What it has no room for.
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
    /// What is configured to connect with cannot be used. Nothing was asked for.
    #[error("{reason}")]
    Misconfigured {
        /// What is wrong.
        part: Part,
        /// The thing, what is wrong with it, and what it should be.
        reason: String,
    },
    /// The server cannot serve as a broker in its present state.
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
            | Self::Full { .. }
            | Self::Denied { .. }
            | Self::Misconfigured { .. } => None,
        }
    }

    /// Whether a later retry can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Full { .. } => true,
            Self::NoSuchJob(_)
            | Self::JobCancelled(_)
            | Self::TooLarge { .. }
            | Self::Empty
            | Self::Denied { .. }
            | Self::Misconfigured { .. }
            | Self::Unsuitable { .. } => false,
        }
    }
}
