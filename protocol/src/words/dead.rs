//! Dead letters: tasks and messages that failed permanently, kept so that an operator can inspect
//! or replay them.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::job::Job;
use crate::outcome::Outcome;
use crate::task::Task;
use crate::tenant::JobKey;
use crate::time::Timestamp;

/// How many bytes are kept of a message that could not be read: enough to see what it was.
pub const UNREADABLE_BYTES_MAX: usize = 64 << 10;

/// A dead letter: what failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
#[expect(
    clippy::large_enum_variant,
    reason = "read and written one at a time, never kept in numbers"
)]
pub enum DeadLetter {
    /// A task that failed for good.
    #[n(0)]
    Task {
        /// The job, with what it takes to run the task again: of its functions the task's alone.
        #[n(0)]
        job: Job,
        /// The task, with its arguments.
        #[n(1)]
        task: Task,
        /// Its outcome.
        #[n(2)]
        outcome: Outcome,
        /// When it became a dead letter.
        #[n(3)]
        buried: Timestamp,
    },
    /// A queue message that is not a readable bundle: of an unknown version, or damaged.
    #[n(1)]
    Unreadable {
        /// Where it was found.
        #[n(0)]
        place: String,
        /// What is wrong with it.
        #[n(1)]
        reason: String,
        /// What it begins with, at most [`UNREADABLE_BYTES_MAX`].
        #[cbor(n(2), with = "codec::bytes")]
        bytes: Bytes,
        /// When it became a dead letter.
        #[n(3)]
        buried: Timestamp,
    },
}

impl DeadLetter {
    /// The letter for a task that failed. It has the one function that the task names, so that
    /// letters do not multiply a job's table.
    #[must_use]
    pub fn of_task(job: &Job, task: &Task, outcome: &Outcome, buried: Timestamp) -> Self {
        let has_function = job.function(task.function).is_some();
        Self::Task {
            job: job.only(task.function),
            task: Task {
                function: if has_function { 0 } else { task.function },
                // What follows it is its submitter's.
                then: Vec::new(),
                ..task.clone()
            },
            outcome: outcome.clone(),
            buried,
        }
    }

    /// The job, if it belongs to one.
    #[must_use]
    pub fn job(&self) -> Option<JobKey> {
        match self {
            Self::Task { job, .. } => Some(job.key),
            Self::Unreadable { .. } => None,
        }
    }

    /// When it became a dead letter.
    #[must_use]
    pub fn buried(&self) -> Timestamp {
        match self {
            Self::Task { buried, .. } | Self::Unreadable { buried, .. } => *buried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::FunctionRef;
    use crate::id::{Digest, JobId};
    use crate::job::{FunctionOptions, JobFunction};
    use crate::outcome::{Bill, Ending};
    use crate::tenant::TenantId;

    #[test]
    fn a_letter_has_the_one_function_of_its_task() {
        let function = |name: &str| JobFunction {
            function: FunctionRef {
                component: Digest::of(b"c"),
                name: name.into(),
            },
            options: FunctionOptions::default(),
        };
        let job = Job {
            key: JobKey {
                tenant: TenantId::default(),
                job: JobId::from_bytes([1; 16]),
            },
            functions: vec![function("a"), function("b")],
            parent: None,
        };
        let outcome = Outcome {
            index: 7,
            attempts: 1,
            ending: Ending::Cancelled,
            bill: Bill::default(),
            log: None,
            input: None,
            function: None,
        };
        // The last one names a function that there is not, and goes on doing so.
        for (named, kept, names) in [(0, "a", 0), (1, "b", 0), (9, "a", 9)] {
            let task = Task {
                index: 7,
                function: named,
                arguments: Vec::new(),
                input: None,
                then: Vec::new(),
            };
            let letter = DeadLetter::of_task(&job, &task, &outcome, Timestamp::default());
            let DeadLetter::Task { job, task, .. } = letter else {
                panic!("another letter")
            };
            assert_eq!(job.functions, [function(kept)]);
            assert_eq!((task.function, task.index), (names, 7));
        }
    }
}
