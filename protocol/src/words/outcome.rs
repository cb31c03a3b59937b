//! Outcomes: how a task ended, who has to act on a failure, and the bill.
//!
//! A failure says who has to act ([`Blame`]) and whether another attempt can help ([`Retry`]); both
//! follow from the variant by exhaustive match, so that a new kind of failure does not compile
//! until both are decided. What the function answered, what stopped it and what the platform failed
//! to do are different variants and never mix.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::backtrace::Backtrace;
use crate::codec;
use crate::function::FunctionIndex;
use crate::id::TaskIndex;
use crate::input_name::InputName;
use crate::output::Output;
use crate::size::ByteSize;
pub use crate::text::cut;

/// The longest message that an outcome carries, in bytes. Text beyond it is cut: messages are for
/// people.
pub const MESSAGE_BYTES_MAX: usize = 4096;
/// About how many bytes an outcome takes in a message beside its result and its log; a guess that
/// is too low costs a reallocation.
const BYTES: usize = 64;
/// The longest code that a function may answer, in bytes.
pub const CODE_BYTES_MAX: usize = 64;

/// How a task ended. One is visible for each task, whatever the number of attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Outcome {
    /// The task's position in its job.
    #[n(0)]
    pub index: TaskIndex,
    /// Attempts that were made, at least 1, or 0 where none was needed or possible.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub attempts: u32,
    /// How it ended.
    #[n(2)]
    pub ending: Ending,
    /// What the last attempt cost.
    #[cbor(n(3), skip_if = "codec::is_default")]
    pub bill: Bill,
    /// What the last attempt logged, if anything.
    #[n(4)]
    pub log: Option<Box<Log>>,
    /// What the task's submitter calls its input, as the task said it.
    #[n(5)]
    pub input: Option<InputName>,
    /// Which function of its job it called. Absent where who reports the outcome does not know.
    #[n(6)]
    pub function: Option<FunctionIndex>,
}

impl Outcome {
    /// Whether the task ended without a result, and not because it was cancelled.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.ending, Ending::Failed(_))
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        let ending = match &self.ending {
            Ending::Completed(output) => output.weight(),
            Ending::Failed(_) | Ending::Cancelled => 0,
        };
        let input = self.input.as_ref().map_or(0, InputName::weight);
        let log = self.log.as_ref().map_or(0, |log| log.text.len());
        BYTES + ending + input + log
    }
}

/// The three ways a task ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub enum Ending {
    /// The function's result: a value or an object.
    #[n(0)]
    Completed(#[n(0)] Output),
    /// There is no result, and there will be none.
    #[n(1)]
    Failed(#[n(0)] Failure),
    /// The job was cancelled before the task ended.
    #[n(2)]
    Cancelled,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub enum Failure {
    /// The function's own answer. The text is the guest's: cut, and to be escaped where it is
    /// shown.
    #[n(0)]
    Answer {
        /// The function's own code.
        #[n(0)]
        code: String,
        /// The function's own message.
        #[n(1)]
        message: String,
        /// When to retry, if the function asked for it.
        #[cbor(n(2), with = "codec::nanos_if_any", skip_if = "Option::is_none")]
        retry: Option<Duration>,
    },
    /// The instance trapped: a panic, an `unreachable`, an access out of bounds.
    #[n(1)]
    Trapped {
        /// What happened and, where known, in which of the guest's functions.
        #[n(0)]
        message: String,
        /// Where.
        #[cbor(n(1), skip_if = "Backtrace::is_empty")]
        backtrace: Backtrace,
    },
    /// The instance was stopped at a limit.
    #[n(2)]
    Stopped {
        /// Which, with its value.
        #[n(0)]
        limit: Limit,
        /// Where, if it was in one of the guest's functions.
        #[cbor(n(1), skip_if = "Backtrace::is_empty")]
        backtrace: Backtrace,
    },
    /// An input could not be read.
    #[n(3)]
    Input {
        /// What is wrong with it.
        #[n(0)]
        fault: InputFault,
        /// Which input, and what the store said. Free of credentials.
        #[n(1)]
        message: String,
    },
    /// The worker, or the platform under it, failed.
    #[n(4)]
    Platform {
        /// What failed.
        #[n(0)]
        fault: PlatformFault,
        /// Details.
        #[n(1)]
        message: String,
    },
    /// The task is not run, because of what its submitter asked for.
    #[n(5)]
    Refused {
        /// What was wrong with that.
        #[n(0)]
        refusal: Refusal,
        /// What was asked for, and what would be granted.
        #[n(1)]
        message: String,
    },
    /// The task was not run, because another one failed whose result it takes, directly or through
    /// others.
    #[n(6)]
    Upstream {
        /// Why that one failed.
        #[n(0)]
        failure: Box<Failure>,
        /// From the task that failed to this one, each an input of the next. In the middle of a
        /// long way tasks are left out.
        #[n(1)]
        path: Vec<TaskIndex>,
        /// How many are left out.
        #[n(2)]
        omitted: u64,
    },
}

/// What a submitter can ask for that no worker gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// A component that is none, that asks for interfaces which are not provided, or that costs too
    /// much to compile.
    #[n(0)]
    Component,
    /// A component that imports what needs a grant, for a job without that grant.
    #[n(1)]
    Grant,
    /// More of a resource than the worker's operator lets a task have, or than the worker has.
    #[n(2)]
    Limit,
    /// More room in the store than the operator lets a tenant have.
    #[n(3)]
    Quota,
}

/// A limit that stopped an attempt, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub enum Limit {
    /// All linear memories together.
    #[n(0)]
    Memory(#[n(0)] ByteSize),
    /// Time since the attempt began.
    #[n(1)]
    WallTime(#[cbor(n(0), with = "codec::nanos")] Duration),
    /// Time on a core.
    #[n(2)]
    CpuTime(#[cbor(n(0), with = "codec::nanos")] Duration),
    /// The guest's call stack: fixed for all tasks, see the host's engine.
    #[n(3)]
    Stack(#[n(0)] ByteSize),
    /// The size of the result.
    #[n(4)]
    Result(#[n(0)] ByteSize),
    /// The bytes of the objects that the task makes.
    #[n(5)]
    OutputBytes(#[n(0)] ByteSize),
}

/// What can be wrong with an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum InputFault {
    /// The URL or path does not parse or names a scheme that is not served.
    #[n(0)]
    Malformed,
    /// There is nothing under that name.
    #[n(1)]
    Missing,
    /// The store denied access.
    #[n(2)]
    Denied,
    /// It was replaced since the task first saw it.
    #[n(3)]
    Changed,
    /// The store did not answer, or not properly.
    #[n(4)]
    Unavailable,
}

/// The kinds of platform failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum PlatformFault {
    /// The component is missing, or this worker cannot load it.
    #[n(0)]
    Component,
    /// The worker stopped renewing its lease, and so did its successors.
    #[n(1)]
    WorkerLost,
    /// An error in the host that the guest did not cause.
    #[n(2)]
    Host,
    /// The worker has no store, or a store that cannot be written to until an operator fixes it.
    #[n(3)]
    StoreUnusable,
    /// The store is temporarily unavailable.
    #[n(4)]
    StoreUnavailable,
    /// The result of another task, which was stored for this one, is not there any more.
    #[n(5)]
    ResultLost,
}

/// Who has to act so that the task can succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Blame {
    /// The author of the function, or the submitter who chose its limits.
    Guest,
    /// The owner of the input.
    Input,
    /// The operator of the fleet.
    Platform,
}

impl Blame {
    /// The word in results and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Input => "input",
            Self::Platform => "platform",
        }
    }
}

/// Whether another attempt can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No: it would fail again.
    Never,
    /// After the policy's back-off.
    Backoff,
    /// Not before this long.
    After(Duration),
}

impl Failure {
    /// An error of the platform that no guest caused.
    #[must_use]
    pub fn host(message: impl Into<String>) -> Self {
        Self::Platform {
            fault: PlatformFault::Host,
            message: message.into(),
        }
    }

    /// A trap with this message, wherever it was.
    #[must_use]
    pub fn trapped(message: impl Into<String>) -> Self {
        Self::Trapped {
            message: message.into(),
            backtrace: Backtrace::default(),
        }
    }

    /// Stopped at this limit, wherever it was.
    #[must_use]
    pub fn stopped(limit: Limit) -> Self {
        Self::Stopped {
            limit,
            backtrace: Backtrace::default(),
        }
    }

    /// The same where it was in the guest's code, if that is for the guest to know.
    #[must_use]
    pub fn at(mut self, place: Backtrace) -> Self {
        if let Self::Trapped { backtrace, .. } | Self::Stopped { backtrace, .. } = &mut self {
            *backtrace = place;
        }
        self
    }

    /// Where in the guest's code it failed. Empty where nothing is known of that.
    #[must_use]
    pub fn backtrace(&self) -> &Backtrace {
        match self {
            Self::Trapped { backtrace, .. } | Self::Stopped { backtrace, .. } => backtrace,
            Self::Answer { .. }
            | Self::Input { .. }
            | Self::Platform { .. }
            | Self::Refused { .. }
            | Self::Upstream { .. } => Backtrace::NONE,
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Answer { .. }
            | Self::Trapped { .. }
            | Self::Stopped { .. }
            | Self::Refused { .. } => Blame::Guest,
            Self::Input { .. } => Blame::Input,
            Self::Platform { .. } => Blame::Platform,
            Self::Upstream { failure, .. } => failure.blame(),
        }
    }

    /// Whether another attempt can help a task that ran with `deterministic` surroundings.
    ///
    /// A trap, and a limit that counts what the guest did, repeat themselves when nothing differs
    /// between two attempts. Wall time depends on the machine, but a task that used up minutes
    /// is not worth as many again.
    #[must_use]
    pub fn retry(&self, deterministic: bool) -> Retry {
        match self {
            Self::Answer { retry, .. } => retry.map_or(Retry::Never, Retry::After),
            Self::Trapped { .. } => {
                if deterministic {
                    Retry::Never
                } else {
                    Retry::Backoff
                }
            }
            Self::Stopped { limit, .. } => match limit {
                Limit::Memory(_)
                | Limit::WallTime(_)
                | Limit::CpuTime(_)
                | Limit::Stack(_)
                | Limit::Result(_)
                | Limit::OutputBytes(_) => Retry::Never,
            },
            Self::Input { fault, .. } => match fault {
                InputFault::Malformed
                | InputFault::Missing
                | InputFault::Denied
                | InputFault::Changed => Retry::Never,
                InputFault::Unavailable => Retry::Backoff,
            },
            Self::Platform { fault, .. } => match fault {
                PlatformFault::Component
                | PlatformFault::StoreUnusable
                | PlatformFault::ResultLost => Retry::Never,
                PlatformFault::WorkerLost
                | PlatformFault::Host
                | PlatformFault::StoreUnavailable => Retry::Backoff,
            },
            Self::Refused { refusal, .. } => match refusal {
                Refusal::Component | Refusal::Grant | Refusal::Limit | Refusal::Quota => {
                    Retry::Never
                }
            },
            Self::Upstream { .. } => Retry::Never,
        }
    }

    /// The machine-readable code. Codes of the platform are fixed; a function defines its own.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Answer { code, .. } => code,
            Self::Trapped { .. } => "trapped",
            Self::Stopped { limit, .. } => match limit {
                Limit::Memory(_) => "memory-limit",
                Limit::WallTime(_) => "wall-time-limit",
                Limit::CpuTime(_) => "cpu-time-limit",
                Limit::Stack(_) => "stack-overflow",
                Limit::Result(_) => "result-too-large",
                Limit::OutputBytes(_) => "written-limit",
            },
            Self::Input { fault, .. } => match fault {
                InputFault::Malformed => "input-malformed",
                InputFault::Missing => "input-missing",
                InputFault::Denied => "input-denied",
                InputFault::Changed => "input-changed",
                InputFault::Unavailable => "input-unavailable",
            },
            Self::Platform { fault, .. } => match fault {
                PlatformFault::Component => "component-unusable",
                PlatformFault::WorkerLost => "worker-lost",
                PlatformFault::Host => "host-error",
                PlatformFault::StoreUnusable => "store-unusable",
                PlatformFault::StoreUnavailable => "store-unavailable",
                PlatformFault::ResultLost => "result-lost",
            },
            Self::Refused { refusal, .. } => match refusal {
                // The code of a component that the broker does not have, too: the blame differs.
                Refusal::Component => "component-unusable",
                Refusal::Grant => "grant-missing",
                Refusal::Limit => "limit-refused",
                Refusal::Quota => "store-quota",
            },
            Self::Upstream { .. } => "upstream-failed",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { message, .. }
            | Self::Trapped { message, .. }
            | Self::Input { message, .. }
            | Self::Platform { message, .. }
            | Self::Refused { message, .. } => f.write_str(message),
            Self::Stopped { limit, .. } => limit.fmt(f),
            Self::Upstream {
                failure,
                path,
                omitted,
            } => {
                let cause = path.first().copied().unwrap_or_default();
                write!(f, "its input failed: task {cause}")?;
                let half = path.len() / 2;
                for (place, task) in path.iter().enumerate().skip(1) {
                    if place == half && *omitted > 0 {
                        write!(f, " -> ({omitted} more)")?;
                    }
                    write!(f, " -> {task}")?;
                }
                write!(f, ": {}: {failure}", failure.code())
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(allowed) => write!(
                f,
                "the function asked for more memory than the limit of {allowed}"
            ),
            Self::WallTime(allowed) => write!(f, "the task took longer than {}", humane(*allowed)),
            Self::CpuTime(allowed) => write!(
                f,
                "the function computed for longer than {}",
                humane(*allowed)
            ),
            Self::Stack(allowed) => write!(
                f,
                "the function's calls nested deeper than the stack of {allowed}"
            ),
            Self::Result(allowed) => write!(f, "the result is larger than {allowed}"),
            Self::OutputBytes(allowed) => write!(
                f,
                "the objects that the function made are larger than {allowed} together"
            ),
        }
    }
}

/// A duration in seconds, where it is a whole number of them.
fn humane(duration: Duration) -> String {
    if duration.subsec_millis() == 0 && duration.as_secs() > 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// What an attempt cost. Zero where a step did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Bill {
    /// From being published to being started.
    #[cbor(n(0), with = "codec::nanos", skip_if = "Duration::is_zero")]
    pub queue: Duration,
    /// Waiting for inputs, before and during the run.
    #[cbor(n(1), with = "codec::nanos", skip_if = "Duration::is_zero")]
    pub fetch: Duration,
    /// From the instance's making to its answer, waiting for inputs and for the store excluded.
    #[cbor(n(2), with = "codec::nanos", skip_if = "Duration::is_zero")]
    pub run: Duration,
    /// Time on a core.
    #[cbor(n(3), with = "codec::nanos", skip_if = "Duration::is_zero")]
    pub cpu: Duration,
    /// The largest sum of the instance's linear memories.
    #[cbor(n(4), skip_if = "codec::is_default")]
    pub memory_peak: ByteSize,
    /// Bytes of arguments and inputs read.
    #[cbor(n(5), skip_if = "codec::is_default")]
    pub bytes_in: ByteSize,
    /// Bytes of the result, and of the objects that the task made.
    #[cbor(n(6), skip_if = "codec::is_default")]
    pub bytes_out: ByteSize,
    /// The result was known from an earlier run; nothing ran.
    #[cbor(n(7), skip_if = "codec::is_default")]
    pub cached: bool,
    /// Waiting for the store to take what the task made, during the run and after it.
    #[cbor(n(8), with = "codec::nanos", skip_if = "Duration::is_zero")]
    pub store: Duration,
}

/// What a function logged or printed. Guest text: to be escaped where it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Log {
    /// Up to the log limit, lines ended by `\n`.
    #[n(0)]
    pub text: String,
    /// Bytes past the limit, counted and dropped.
    #[cbor(n(1), skip_if = "codec::is_default")]
    pub dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_final_only_where_nothing_can_differ() {
        let trap = Failure::trapped("unreachable");
        assert_eq!(trap.retry(true), Retry::Never);
        assert_eq!(trap.retry(false), Retry::Backoff);
    }

    #[test]
    fn a_functions_failure_follows_its_own_word() {
        let answer = |retry| Failure::Answer {
            code: "busy".into(),
            message: String::new(),
            retry,
        };
        assert_eq!(answer(None).retry(false), Retry::Never);
        assert_eq!(
            answer(Some(Duration::from_secs(2))).retry(true),
            Retry::After(Duration::from_secs(2))
        );
    }
}
