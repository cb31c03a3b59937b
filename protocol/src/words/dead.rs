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
        /// The job, with what it takes to run the task again.
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
