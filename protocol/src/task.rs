//! Tasks and the bundles they travel in.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, JobId, TaskIndex};
use crate::time::Timestamp;

/// A function: an export of one exact component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionRef {
    /// The component.
    pub component: Digest,
    /// The function's name there.
    pub name: Arc<str>,
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.component.short())
    }
}

/// One argument of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// One complete CBOR item (RFC 8949).
    Value(Bytes),
    /// An object, by URL or local path; the worker opens it and hands the function a handle.
    Object(Arc<str>),
}

/// A function call that was submitted: what differs between the tasks of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its position in the job.
    pub index: TaskIndex,
    /// What the function is called with.
    pub arguments: Vec<Argument>,
}

impl Task {
    /// About how many bytes this task takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        let arguments: usize = self
            .arguments
            .iter()
            .map(|argument| match argument {
                Argument::Value(bytes) => bytes.len(),
                Argument::Object(url) => url.len(),
            })
            .sum();
        arguments + 16 + 8 * self.arguments.len()
    }
}

/// The tasks of one job that travel in one broker message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The job they belong to.
    pub job: JobId,
    /// Attempts that these tasks have behind them.
    pub attempts_before: u32,
    /// When the client, or the worker that asks for another attempt, made this bundle.
    pub published: Timestamp,
    /// At least one task.
    pub tasks: Vec<Task>,
}

impl Bundle {
    /// About how many bytes this bundle takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.tasks.iter().map(Task::weight).sum::<usize>()
    }
}
