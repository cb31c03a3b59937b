//! Jobs: the tasks submitted together, and what holds for all of them.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::function::{FunctionIndex, FunctionRef};
use crate::gathering::{Gathered, Readers, Reading};
use crate::id::TaskIndex;
use crate::labels::Labels;
use crate::size::ByteSize;
use crate::subtask::Parent;
use crate::tenant::JobKey;
use crate::time::Timestamp;

/// The most functions in a job's table.
pub const FUNCTIONS_MAX: usize = 4096;
/// The most bytes of a job's record in a message: a function takes some hundred of them. In memory
/// a record takes a few times as many.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// The tasks submitted together: their name, and the functions that they call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Job {
    /// The job's name, and whose it is.
    #[n(0)]
    pub key: JobKey,
    /// What its tasks call: 1 to [`FUNCTIONS_MAX`]. Each task names one.
    #[n(1)]
    pub functions: Vec<JobFunction>,
    /// Whose subtasks its tasks are, if they are a task's.
    #[n(2)]
    pub parent: Option<Parent>,
}

/// A function in a job's table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct JobFunction {
    /// What is called.
    #[n(0)]
    pub function: FunctionRef,
    /// How it is called.
    #[n(1)]
    pub options: FunctionOptions,
}

impl Job {
    /// A job of one function.
    #[must_use]
    pub fn of(key: JobKey, function: FunctionRef, options: FunctionOptions) -> Self {
        Self {
            key,
            functions: vec![JobFunction { function, options }],
            parent: None,
        }
    }

    /// Append functions to the table, the first of them at this place. Places that the table has
    /// stay as they are, and none is left empty: what would lie beyond a gap is not added.
    pub fn add(&mut self, first: FunctionIndex, functions: impl IntoIterator<Item = JobFunction>) {
        let Some(known) = usize::try_from(first)
            .ok()
            .and_then(|first| self.functions.len().checked_sub(first))
        else {
            return;
        };
        self.functions.extend(functions.into_iter().skip(known));
    }

    /// The same job with the one function that a task names, for that task alone; with the first
    /// one, if the table does not have that.
    #[must_use]
    pub fn only(&self, index: FunctionIndex) -> Self {
        let function = self.function(index).or(self.functions.first());
        Self {
            key: self.key,
            functions: function.cloned().into_iter().collect(),
            parent: self.parent,
        }
    }

    /// The function that a task names, if the table has it.
    #[must_use]
    pub fn function(&self, index: FunctionIndex) -> Option<&JobFunction> {
        self.functions.get(usize::try_from(index).ok()?)
    }
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
    /// Who reads its outcomes now.
    #[cbor(n(3), skip_if = "Readers::is_empty")]
    pub readers: Readers,
    /// How it had ended when somebody read all of its outcomes and had no further use for them.
    #[n(4)]
    pub gathered: Option<Gathered>,
}

impl JobRecord {
    /// Whether a worker with these labels is there for a function of the job.
    #[must_use]
    pub fn is_served_by(&self, labels: &Labels) -> bool {
        let mut functions = self.job.functions.iter();
        functions.any(|called| labels.include(&called.options.labels))
    }
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

/// How the tasks that call a function are run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct FunctionOptions {
    /// What one attempt may use.
    #[n(0)]
    pub limits: Limits,
    /// What one attempt may see beyond its arguments.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub grants: Grants,
    /// How often and when a failed attempt is repeated.
    #[n(2)]
    pub retry: RetryPolicy,
    /// Which tasks go first.
    #[cbor(n(3), default)]
    pub priority: Priority,
    /// Whether results may come from, and go to, the memo.
    #[cbor(n(4), default)]
    pub memo: Memo,
    /// Labels that a worker must have to run them. Default none: any worker can run them.
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
    #[cbor(n(5), with = "output_bytes", has_nil)]
    pub output_bytes: ByteSize,
}

impl Limits {
    /// The most memory a limit may allow: a 32-bit guest cannot address more.
    pub const MEMORY_MAX: ByteSize = ByteSize::mib(4096);
    /// The least memory a limit may allow: below it no component starts.
    pub const MEMORY_MIN: ByteSize = ByteSize::kib(64);
    /// What a task may write where its job does not say: what it writes by mistake should not fill
    /// a store.
    pub const OUTPUT_BYTES_DEFAULT: ByteSize = ByteSize::mib(4096);
    /// How many handles a task may always hold.
    pub const HANDLES_MIN: usize = 64;
    /// How many handles a task may hold at most: what one instance's table takes, less what its
    /// streams and pollables need.
    pub const HANDLES_MAX: usize = 3000;
    /// How many listings a task may hold: each may keep a connection or a folder open.
    pub const LISTINGS_MAX: usize = 64;
    /// The part of its memory limit that a task needs for a further handle.
    const HANDLE_BYTES: usize = 128 << 10;

    /// How many handles to objects, readers, prefixes, listings and outputs a task may hold at
    /// once: one for each 128 KiB of its memory, within bounds.
    #[must_use]
    pub fn handles(&self) -> usize {
        (self.memory.as_usize() / Self::HANDLE_BYTES).clamp(Self::HANDLES_MIN, Self::HANDLES_MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(256),
            wall_time: Duration::from_secs(300),
            cpu_time: Duration::from_secs(60),
            result: ByteSize::mib(64),
            log: ByteSize::kib(64),
            output_bytes: Self::OUTPUT_BYTES_DEFAULT,
        }
    }
}

/// The limit on what a task writes, which a job may leave to its default.
mod output_bytes {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    use super::{ByteSize, Limits};

    pub(crate) fn encode<C, W: Write>(
        value: &ByteSize,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.u64(value.as_u64())?.ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<ByteSize, DecodeError> {
        decoder.u64().map(ByteSize)
    }

    pub(crate) fn nil() -> Option<ByteSize> {
        Some(Limits::OUTPUT_BYTES_DEFAULT)
    }

    pub(crate) fn is_nil(value: &ByteSize) -> bool {
        *value == Limits::OUTPUT_BYTES_DEFAULT
    }
}

/// A power given to a task that it does not have by itself. It makes results depend on more than
/// the arguments, so none is memoised.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(map)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// The real time, instead of one that starts at a fixed date and moves only when looked at.
    #[n(0)]
    Clock,
    /// Randomness from the operating system, instead of a stream that follows from the task's
    /// content.
    #[n(1)]
    Random,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clock => "clock",
            Self::Random => "random",
        })
    }
}

/// The powers given to a task: a set, each grant with its policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Encode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Grants(
    /// Ascending, each once.
    Vec<Grant>,
);

impl Grants {
    /// No grants.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Add a grant. One that is there already changes nothing.
    pub fn insert(&mut self, grant: Grant) {
        if let Err(place) = self.0.binary_search(&grant) {
            self.0.insert(place, grant);
        }
    }

    /// Whether this grant is given.
    #[must_use]
    pub fn contains(&self, grant: &Grant) -> bool {
        self.0.contains(grant)
    }

    /// The grants, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a task with these grants depends on nothing but its content.
    #[must_use]
    pub fn deterministic(&self) -> bool {
        self.0.iter().all(|grant| match grant {
            Grant::Clock | Grant::Random => false,
        })
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let mut set = Self::none();
        grants.into_iter().for_each(|grant| set.insert(grant));
        set
    }
}

impl<const N: usize> From<[Grant; N]> for Grants {
    fn from(grants: [Grant; N]) -> Self {
        grants.into_iter().collect()
    }
}

impl<'de> Deserialize<'de> for Grants {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|grants: Vec<Grant>| grants.into_iter().collect())
    }
}

impl<'b, C> Decode<'b, C> for Grants {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        ctx: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        let grants: Vec<Grant> = decoder.decode_with(ctx)?;
        Ok(grants.into_iter().collect())
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grants = self.0.iter();
        match grants.next() {
            None => f.write_str("none"),
            Some(first) => {
                first.fmt(f)?;
                grants.try_for_each(|grant| write!(f, ", {grant}"))
            }
        }
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

impl Priority {
    /// That of the subtasks of a task with this one: before it, so that what was begun is ended
    /// first, where there is a higher one.
    #[must_use]
    pub fn of_subtasks(self) -> Self {
        match self {
            Self::Low => Self::Normal,
            Self::Normal | Self::High => Self::High,
        }
    }
}

impl JobRecord {
    /// Whether the outcomes were gathered and taken away.
    #[must_use]
    pub fn is_gathered(&self) -> bool {
        self.gathered.is_some() && self.readers.is_empty()
    }

    /// Note what a reader says. Whether that changes anything.
    pub fn note(&mut self, reading: Reading) -> bool {
        let before = (self.readers.clone(), self.gathered);
        match reading {
            // It comes too late.
            Reading::Reads(_) if self.is_gathered() => {}
            Reading::Reads(reader) => self.readers.add(reader),
            Reading::Ends { id, now } => self.readers.remove(id, now),
            Reading::Gathers { id, gathered } => {
                self.readers.remove(id, gathered.at);
                self.gathered = Some(gathered);
            }
        }
        before != (self.readers.clone(), self.gathered)
    }
}
