//! Tasks and the bundles they travel in.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::argument::Argument;
use crate::codec;
use crate::function::FunctionIndex;
use crate::graph_entry::WaitingTask;
use crate::id::TaskIndex;
use crate::input_name::InputName;
use crate::tenant::JobKey;
use crate::time::Timestamp;

/// A function call that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Task {
    /// Its position in the job.
    #[n(0)]
    pub index: TaskIndex,
    /// What the function is called with.
    #[n(1)]
    pub arguments: Vec<Argument>,
    /// Which function of its job it calls. Default the first.
    #[cbor(n(2), skip_if = "codec::is_default")]
    pub function: FunctionIndex,
    /// What its submitter calls the input that it is of; its outcome says so again.
    #[n(3)]
    pub input: Option<InputName>,
    /// Tasks that may be run where this one was, one after the other: each takes the result of the
    /// one before it, and no other. At most [`Task::THEN_MAX`]. Its submitter has them as well, and
    /// publishes those whose outcomes did not come with that of this task.
    #[serde(skip)]
    #[cbor(n(4), skip_if = "codec::is_default")]
    pub then: Vec<WaitingTask>,
}

impl Task {
    /// The most tasks that follow one.
    pub const THEN_MAX: usize = 512;
    /// The most bytes that those take in a message.
    pub const THEN_BYTES_MAX: usize = 32 << 10;

    /// About how many bytes this task takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        let arguments: usize = self.arguments.iter().map(Argument::weight).sum();
        let input = self.input.as_ref().map_or(0, InputName::weight);
        let then: usize = self.then.iter().map(WaitingTask::weight).sum();
        arguments + input + then + 16 + 8 * self.arguments.len()
    }
}

/// The tasks of one job that travel in one broker message. Their functions ask for the same labels
/// and have the same priority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Bundle {
    /// The job they belong to.
    #[n(0)]
    pub job: JobKey,
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
    /// The last function of its job's table that it names.
    #[must_use]
    pub fn last_function(&self) -> FunctionIndex {
        let functions = self.tasks.iter().flat_map(|task| {
            let then = task.then.iter().map(|next| next.function);
            then.chain([task.function])
        });
        functions.max().unwrap_or(0)
    }

    /// About how many bytes this bundle takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.tasks.iter().map(Task::weight).sum::<usize>()
    }
}
