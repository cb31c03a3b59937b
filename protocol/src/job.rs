//! Jobs: the tasks submitted together, and what holds for all of them.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{JobId, TaskIndex};
use crate::labels::Labels;
use crate::size::ByteSize;
use crate::task::FunctionRef;
use crate::time::Timestamp;

/// What the tasks of a job share. Written once, before the first bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Job {
    /// The job's name.
    #[n(0)]
    pub id: JobId,
    /// What is called.
    #[n(1)]
    pub function: FunctionRef,
    /// How it is called.
    #[n(2)]
    pub options: JobOptions,
}

/// A job as the broker keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct JobRecord {
    /// The job.
    #[n(0)]
    pub job: Job,
    /// When it was submitted, by the submitter's clock.
    #[n(1)]
    pub created: Timestamp,
    /// How far its submission is.
    #[n(2)]
    pub state: JobState,
}

/// How far a job's submission is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub enum JobState {
    /// Tasks may still be added.
    #[n(0)]
    Open,
    /// There are this many tasks, and no more will be added.
    #[n(1)]
    Sealed {
        /// How many.
        #[n(0)]
        tasks: TaskIndex,
    },
    /// It was cancelled.
    #[n(2)]
    Cancelled,
}

/// How the tasks of a job are run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct JobOptions {
    /// What one attempt may use.
    #[n(0)]
    pub limits: Limits,
    /// What one attempt may see beyond its arguments.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub grants: Grants,
    /// How often and when a failed attempt is repeated.
    #[n(2)]
    pub retry: RetryPolicy,
    /// Which jobs go first.
    #[cbor(n(3), default)]
    pub priority: Priority,
    /// Whether results may come from, and go to, the memo.
    #[cbor(n(4), default)]
    pub memo: Memo,
    /// What a worker must have to run them. Default nothing: any worker will do.
    #[cbor(n(5), skip_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Whether results are looked up in, and kept for, later runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(index_only)]
pub enum Memo {
    /// Wherever it is sound and a memo is configured.
    #[default]
    #[n(0)]
    Use,
    /// Never.
    #[n(1)]
    Off,
}

/// What one attempt may use. Reaching a limit ends the attempt, never the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Limits {
    /// All linear memories together. The default, 256 MiB, is four times what the text of a large
    /// PDF takes; at most 4 GiB.
    #[n(0)]
    pub memory: ByteSize,
    /// From the start of the attempt to its end, waiting for inputs included. Default 5 minutes.
    #[cbor(n(1), with = "codec::nanos")]
    pub wall_time: Duration,
    /// Time on a core. Default 1 minute.
    #[cbor(n(2), with = "codec::nanos")]
    pub cpu_time: Duration,
    /// The encoded result. Default 64 MiB: larger results belong in objects.
    #[n(3)]
    pub result: ByteSize,
    /// What is kept of the log, standard output and standard error together. Default 64 KiB; more
    /// is counted and dropped.
    #[n(4)]
    pub log: ByteSize,
    /// The bytes of all objects that the task makes. Default 4 GiB.
    #[cbor(n(5), with = "codec::written", has_nil)]
    pub written: ByteSize,
}

impl Limits {
    /// The most memory a limit may allow: a 32-bit guest cannot address more.
    pub const MEMORY_MAX: ByteSize = ByteSize::mib(4096);
    /// The least memory a limit may allow: below it no component starts.
    pub const MEMORY_MIN: ByteSize = ByteSize::kib(64);
    /// What a task may write where its job does not say: what it writes by mistake should not fill
    /// a store.
    pub const WRITTEN_DEFAULT: ByteSize = ByteSize::mib(4096);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(256),
            wall_time: Duration::from_secs(300),
            cpu_time: Duration::from_secs(60),
            result: ByteSize::mib(64),
            log: ByteSize::kib(64),
            written: Self::WRITTEN_DEFAULT,
        }
    }
}

/// Powers given to a task that it does not have by itself. Each one makes results depend on more
/// than the arguments, so none is memoised.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(map)]
pub struct Grants {
    /// The real time, instead of one that starts at a fixed date and moves only when looked at.
    #[cbor(n(0), skip_if = "codec::is_default")]
    pub clock: bool,
    /// Randomness from the operating system, instead of a stream that follows from the task's
    /// content.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub random: bool,
}

impl Grants {
    /// Whether a task with these grants depends on nothing but its content.
    #[must_use]
    pub const fn deterministic(self) -> bool {
        !self.clock && !self.random
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.clock, self.random) {
            (false, false) => "none",
            (true, false) => "clock",
            (false, true) => "random",
            (true, true) => "clock, random",
        })
    }
}

/// How often and when a failed attempt is repeated, where repeating can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. Default 4.
    #[n(0)]
    pub attempts_max: NonZeroU32,
    /// Wait before the second attempt; doubled for each further one. Default 100 ms.
    #[cbor(n(1), with = "codec::nanos")]
    pub backoff_min: Duration,
    /// The wait never exceeds this. Default 30 s.
    #[cbor(n(2), with = "codec::nanos")]
    pub backoff_max: Duration,
}

impl RetryPolicy {
    /// A policy of `retries` repetitions after the first attempt, with the default waits.
    #[must_use]
    pub fn retries(retries: u32) -> Self {
        Self {
            attempts_max: NonZeroU32::MIN.saturating_add(retries),
            ..Self::default()
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: NonZeroU32::MIN.saturating_add(3),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// Which tasks go first: every waiting task of a higher priority before any of a lower one.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    Encode,
    Decode,
)]
#[cbor(index_only)]
pub enum Priority {
    /// After everything else.
    #[n(0)]
    Low,
    /// The default.
    #[default]
    #[n(1)]
    Normal,
    /// Before everything else.
    #[n(2)]
    High,
}
