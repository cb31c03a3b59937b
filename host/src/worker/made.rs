//! Subtasks that the tasks of a bundle made.

use sortie_protocol::{JobKey, TaskIndex};

/// Subtasks that a task of a bundle made.
#[derive(Debug)]
pub(super) struct Made {
    /// The task.
    pub(super) task: TaskIndex,
    /// Their job.
    pub(super) job: JobKey,
    /// Whether another attempt of the task makes the same.
    pub(super) is_settled: bool,
}
