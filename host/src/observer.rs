//! The events of a worker, for observers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use sortie_protocol::observer::Observer;
use sortie_protocol::{Bill, JobKey, LeaseId, TaskIndex};

/// An event of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A task arrived with a leased bundle.
    TaskLeased {
        /// Its job.
        job: JobKey,
        /// Its position in the job.
        task: TaskIndex,
        /// Its bundle's lease.
        lease: LeaseId,
    },
    /// An attempt began to open its inputs.
    AttemptStarted {
        /// The task's job.
        job: JobKey,
        /// The task's position in the job.
        task: TaskIndex,
    },
    /// An attempt has its inputs and a permit to compute; its function starts.
    AttemptComputing {
        /// The task's job.
        job: JobKey,
        /// The task's position in the job.
        task: TaskIndex,
    },
    /// An attempt ended. The task may be tried again.
    AttemptEnded {
        /// The task's job.
        job: JobKey,
        /// The task's position in the job.
        task: TaskIndex,
        /// `completed`, `cancelled`, the failure's code, or `answer` for a code of the function's.
        code: &'static str,
        /// `guest`, `input` or `platform` for a failure, else `none`.
        blame: &'static str,
        /// What it cost.
        bill: Bill,
    },
    /// The broker has the outcomes of a bundle.
    BundleReported {
        /// The bundle's job.
        job: JobKey,
        /// The bundle's lease.
        lease: LeaseId,
    },
    /// The broker gave a lease to another worker, or its job was cancelled.
    LeaseLost {
        /// The bundle's job.
        job: JobKey,
        /// The lease.
        lease: LeaseId,
    },
    /// The worker drains: it takes no more bundles.
    WorkerDraining {
        /// How long running tasks may take to finish.
        grace: Duration,
    },
}

/// The observer of a worker, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Observed(Option<Arc<dyn Observer<Event>>>);

impl Observed {
    pub(crate) fn by(observer: Option<Arc<dyn Observer<Event>>>) -> Self {
        Self(observer)
    }

    /// Tell it an event, which is made only if there is an observer.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.0 {
            observer.on(&event());
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.0).finish()
    }
}
