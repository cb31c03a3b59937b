//! The labels and the priority by which a bundle is queued.

use sortie_protocol::{Bundle, Job, Labels, Priority};

/// Decides which workers may take a bundle, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) labels: Labels,
    pub(crate) priority: Priority,
    /// How deep the bundle's tasks are below what a client submitted.
    pub(crate) depth: u32,
}

impl Lane {
    /// The lane of a bundle: that of its first task, since all of its tasks have the same.
    ///
    /// A task that names none of its job's functions is for any worker: each can report that.
    pub(crate) fn of(job: &Job, bundle: &Bundle) -> Self {
        let depth = job.parent.map_or(0, |parent| parent.depth);
        let first = bundle.tasks.first();
        match first.and_then(|task| job.function(task.function)) {
            Some(called) => Self {
                labels: called.options.labels.clone(),
                priority: called.options.priority,
                depth,
            },
            None => Self {
                labels: Labels::default(),
                priority: Priority::Normal,
                depth,
            },
        }
    }
}
