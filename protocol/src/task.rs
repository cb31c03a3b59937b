//! Tasks and the bundles they travel in.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{Digest, JobId, TaskIndex};
use crate::time::Timestamp;

/// A function: an export of one exact component.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct FunctionRef {
    /// The component.
    #[n(0)]
    pub component: Digest,
    /// The function's name there.
    #[cbor(n(1), with = "codec::text")]
    pub name: Arc<str>,
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.component.short())
    }
}

/// One argument of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(flat)]
pub enum Argument {
    /// One complete CBOR item (RFC 8949).
    #[n(0)]
    Value(#[cbor(n(0), with = "codec::bytes")] Bytes),
    /// An object, by URL or local path; the worker opens it and hands the function a handle.
    #[n(1)]
    Object(#[cbor(n(0), with = "codec::text")] Arc<str>),
}

/// A function call that was submitted: what differs between the tasks of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Task {
    /// Its position in the job.
    #[n(0)]
    pub index: TaskIndex,
    /// What the function is called with.
    #[n(1)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Bundle {
    /// The job they belong to.
    #[n(0)]
    pub job: JobId,
    /// Attempts that these tasks have behind them.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub attempts_before: u32,
    /// How many of the last of those, in a row, ended with a lost lease.
    #[cbor(n(2), skip_if = "codec::is_default")]
    pub lost_before: u32,
    /// When the client, or the worker that asks for another attempt, made this bundle.
    #[n(3)]
    pub published: Timestamp,
    /// At least one task.
    #[n(4)]
    pub tasks: Vec<Task>,
}

impl Bundle {
    /// About how many bytes this bundle takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.tasks.iter().map(Task::weight).sum::<usize>()
    }
}
