//! The events and commands of the task graph.

use std::fmt;

use crate::id::TaskIndex;

/// The most tasks that a [`Path`] names. A failure at the start of a long chain is told to the
/// holder of every future below it, so a path that grew with the chain would cost its square.
pub const PATH_TASKS_MAX: usize = 16;
/// How often the result of one task may vanish and be computed again. A result that is held by one
/// machine vanishes with it, so more losses than this mean that the result itself takes machines
/// down or cannot be kept. At the limit the task is unrecoverable.
pub const LOSSES_MAX: u8 = 3;

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A task was submitted. It is wanted from now on. An index that was submitted before, whether
    /// forgotten or not, changes nothing.
    Submitted {
        /// The task.
        task: TaskIndex,
        /// The tasks whose results it takes, each below `task`. Their order does not matter, and
        /// one that is named twice counts once.
        inputs: Vec<TaskIndex>,
        /// Whether a second run gives the same result: the task is deterministic.
        repeatable: bool,
    },
    /// A run of a task ended. The first ending counts, until the task is started again.
    Ended {
        /// The task.
        task: TaskIndex,
        /// How it ended.
        how: Ended,
    },
    /// Nobody holds the task's future any more.
    Unwanted(TaskIndex),
    /// Somebody holds the task's future again. If it has ended, how it ended is told once more; if
    /// its result was let go, the task is run again.
    Wanted(TaskIndex),
    /// The task's caller cancels it. A task that has ended stays as it ended.
    Cancel(TaskIndex),
    /// A task that failed, was cancelled or is unrecoverable is to be tried again, with everything
    /// below it that failed because of it. A task that failed because of another one is tried again
    /// with that one, which its [`End`] names as the cause.
    Retry(TaskIndex),
    /// A result has vanished.
    Lost {
        /// The task whose result it was.
        result: TaskIndex,
        /// The task that was released and could not be run because of that, if there is one. It
        /// waits again.
        dependent: Option<TaskIndex>,
    },
}

/// How a run of a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// It has a result, which is held until [`Command::LetGo`].
    Completed,
    /// It failed, and no further attempt is made.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// An output of the state machine. Each is harmless when it is repeated, and when another owner of
/// the same graph gives it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the task: the results of all its inputs are held.
    Release(TaskIndex),
    /// Stop the task: it was released and nothing needs it. What it still makes can be dropped.
    Stop(TaskIndex),
    /// Tell the holder of the task's future how it ended. It is told once each time that the task
    /// ends, and again after [`Event::Wanted`]; what is told last holds.
    Resolve(TaskIndex, End),
    /// The task has not ended after all: it is tried again, as [`Event::Retry`] asked for, or its
    /// result has vanished. How it ends then is told as before.
    Reopen(TaskIndex),
    /// Drop the task's result: nothing needs it.
    LetGo(TaskIndex),
    /// Drop the task's definition: nothing needs to be known of it.
    Forget(TaskIndex),
    /// Tell the submitter that the task was not accepted. The graph is as before.
    Refuse(TaskIndex, Refusal),
}

/// How a task ended, for the holder of its future.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its result is held.
    Completed,
    /// It failed itself.
    Failed,
    /// It was cancelled itself.
    Cancelled,
    /// It was not run, because the first task of the path failed.
    UpstreamFailed(Path),
    /// It was not run, because the first task of the path was cancelled.
    UpstreamCancelled(Path),
    /// The result of the first task of the path has vanished and is not computed again: the task is
    /// not repeatable, or its result has vanished more than [`LOSSES_MAX`] times. The path
    /// may consist of that task alone.
    Unrecoverable(Path),
}

/// How a failure reached a task: from the task that failed to the one that is told, each an input
/// of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The task that failed.
    pub cause: TaskIndex,
    /// The tasks from the cause to the one that is told, both included: at most
    /// [`PATH_TASKS_MAX`]. If the path is longer, these are its first half and its last half.
    pub tasks: Vec<TaskIndex>,
    /// How many tasks are left out in the middle of `tasks`.
    pub omitted: u64,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, task) in self.tasks.iter().enumerate() {
            if position > 0 {
                f.write_str(" -> ")?;
            }
            if position == PATH_TASKS_MAX / 2 && self.omitted > 0 {
                write!(f, "({} more) -> ", self.omitted)?;
            }
            write!(f, "{task}")?;
        }
        Ok(())
    }
}

/// Why a task was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// An input is not below the task. Only smaller indices are taken, so a graph has no cycle.
    #[error("input `{0}` does not precede the task")]
    NotBefore(TaskIndex),
    /// An input was not submitted yet.
    #[error("input `{0}` is unknown")]
    Unknown(TaskIndex),
    /// Nothing wanted an input any more, and it was forgotten.
    #[error("input `{0}` was forgotten because nothing needed it")]
    Forgotten(TaskIndex),
    /// The graph holds as many tasks or inputs as it can, or the index is `u64::MAX`, which no task
    /// has.
    #[error("the graph has no room for the task")]
    Full,
}

/// How many tasks are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// An input is missing.
    pub waiting: usize,
    /// Released, and not ended.
    pub released: usize,
    /// Completed, and the result is held.
    pub held: usize,
    /// Not needed now: there is no result, and the definition is kept for what depends on it.
    pub idle: usize,
    /// Failed themselves.
    pub failed: usize,
    /// Cancelled themselves.
    pub cancelled: usize,
    /// The result has vanished for good.
    pub unrecoverable: usize,
    /// Not run because of another task that failed, was cancelled or is unrecoverable.
    pub blocked: usize,
}

impl Counts {
    /// All tasks that the graph knows.
    #[must_use]
    pub fn total(&self) -> usize {
        self.waiting
            + self.released
            + self.held
            + self.idle
            + self.failed
            + self.cancelled
            + self.unrecoverable
            + self.blocked
    }
}
