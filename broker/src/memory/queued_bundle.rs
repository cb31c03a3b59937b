//! A bundle in the queue, with its job, its weight, and how often it was delivered.
//!
//! It knows neither other bundles nor its place in the queue.

use std::sync::Arc;

use sortie_protocol::delivery::{self, Delivery};
use sortie_protocol::seen::Seen;
use sortie_protocol::{Bundle, Job, Outcome, Task, Timestamp};

use crate::lane::Lane;

/// A bundle in the queue, and how often it was delivered.
#[derive(Debug, Clone)]
pub(super) struct QueuedBundle {
    pub(super) job: Arc<Job>,
    pub(super) lane: Lane,
    pub(super) bundle: Arc<Bundle>,
    pub(super) weight: usize,
    pub(super) deliveries: u32,
    /// Some worker had these tasks before. Until then none of them can have ended.
    pub(super) known: bool,
}

/// What is left of a bundle once its ended tasks are taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    Tasks,
}

impl QueuedBundle {
    pub(super) fn new(job: Arc<Job>, bundle: Bundle) -> Self {
        Self {
            lane: Lane::of(&job, &bundle),
            job,
            weight: bundle.weight(),
            known: bundle.attempts_before > 0,
            bundle: Arc::new(bundle),
            deliveries: 0,
        }
    }

    /// Attempts that its tasks have behind them, the last delivery included.
    pub(super) fn attempts(&self) -> u32 {
        self.bundle.attempts_before.saturating_add(self.deliveries)
    }

    /// Leases in a row that were lost, the last delivery included.
    pub(super) fn losses(&self) -> u32 {
        self.bundle.lost_before.saturating_add(self.deliveries)
    }

    /// What becomes of it after its lease was lost.
    pub(super) fn decide(&self, losses_max: u32) -> Delivery {
        delivery::decide(self.bundle.tasks.len(), self.losses(), losses_max)
    }

    /// Whether these begin with the outcomes of all tasks, in order; which is how a worker reports
    /// when nothing goes wrong. Tasks that followed these may come after them.
    pub(super) fn ends_with(&self, outcomes: &[Outcome]) -> bool {
        let tasks = &self.bundle.tasks;
        let mut both = tasks.iter().zip(outcomes);
        tasks.len() <= outcomes.len() && both.all(|(task, outcome)| task.index == outcome.index)
    }

    /// Take out what ended already, so that it is not run again.
    pub(super) fn strip(&mut self, ended: &Seen) -> Left {
        if self
            .bundle
            .tasks
            .iter()
            .any(|task| ended.contains(task.index))
        {
            // Its worker may hold the bundle still; then this copies it, the tasks that ended
            // included.
            Arc::make_mut(&mut self.bundle)
                .tasks
                .retain(|task| !ended.contains(task.index));
            self.weight = self.bundle.weight();
        }
        if self.bundle.tasks.is_empty() {
            Left::Nothing
        } else {
            Left::Tasks
        }
    }

    /// Each task in a bundle of its own, with the losses so far counted.
    pub(super) fn split(self) -> impl Iterator<Item = Self> {
        let (attempts_before, lost_before) = (self.attempts(), self.losses());
        let Self { job, bundle, .. } = self;
        let Bundle {
            job: id,
            published,
            tasks,
            ..
        } = Arc::unwrap_or_clone(bundle);
        tasks.into_iter().map(move |task| {
            let alone = Bundle {
                job: id,
                attempts_before,
                lost_before,
                published,
                tasks: vec![task],
            };
            Self::new(job.clone(), alone)
        })
    }

    /// One of its tasks, in a bundle of its own, as the next attempt. The lease of the attempt
    /// before was not lost, so the count of losses starts anew.
    pub(super) fn retrial(&self, task: Task, at: Timestamp) -> Self {
        let attempts_before = self.attempts();
        let alone = Bundle {
            job: self.bundle.job,
            attempts_before,
            lost_before: 0,
            published: at,
            tasks: vec![task],
        };
        Self::new(self.job.clone(), alone)
    }
}
