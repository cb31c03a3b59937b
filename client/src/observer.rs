//! The events of a client's jobs, and how they reach an observer.

use std::fmt;
use std::sync::Arc;

pub use sortie_protocol::observer::Observer;
use sortie_protocol::{JobKey, Outcome};

use crate::metrics::Metrics;

/// An event of a client's jobs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The broker accepted tasks of a job.
    TasksSubmitted {
        /// Their job.
        job: JobKey,
        /// How many.
        tasks: u64,
    },
    /// Outcomes of a followed job were received: each task's once.
    TasksEnded {
        /// Their job.
        job: JobKey,
        /// The outcomes, with their bills. Large values are where their worker stored them.
        outcomes: Arc<[Outcome]>,
    },
}

/// Counts the events of a client's jobs, and passes them to the observer, if there is one. Clones
/// share the same state.
#[derive(Clone, Default)]
pub(crate) struct Observed {
    metrics: Arc<Metrics>,
    observer: Option<Arc<dyn Observer<Event>>>,
}

impl Observed {
    pub(crate) fn by(observer: Option<Arc<dyn Observer<Event>>>) -> Self {
        Self {
            metrics: Arc::default(),
            observer,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The broker accepted tasks.
    pub(crate) fn submitted(&self, job: JobKey, tasks: u64) {
        self.metrics.submitted(tasks);
        self.tell(|| Event::TasksSubmitted { job, tasks });
    }

    /// Outcomes were received.
    pub(crate) fn ended(&self, job: JobKey, outcomes: &Arc<[Outcome]>) {
        self.metrics.ended(outcomes);
        self.tell(|| Event::TasksEnded {
            job,
            outcomes: outcomes.clone(),
        });
    }

    fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(observer) = &self.observer {
            observer.on(&event());
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.observer).finish()
    }
}
