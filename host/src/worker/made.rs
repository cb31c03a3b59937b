//! Subtasks that the tasks of a bundle made.

use sortie_protocol::TaskIndex;

use crate::subtasks::Over;

/// Subtasks that a task of a bundle made.
#[derive(Debug)]
pub(super) struct Made {
    /// The task.
    pub(super) task: TaskIndex,
    /// What is to be said at their end.
    pub(super) over: Over,
    /// Whether another attempt of the task makes the same.
    pub(super) is_settled: bool,
}
