//! Outcomes as a caller sees them: decoded.

use sortie_protocol::{Bill, Ending, Failure, Log, Outcome, Output, TaskIndex};

use crate::output::Decode;

/// How a task ended, with its result decoded as `T`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutcome<T> {
    /// The task's position among the inputs, from 0.
    pub index: TaskIndex,
    /// The function's result, or why there is none.
    pub result: Result<T, TaskError>,
    /// Attempts that were made.
    pub attempts: u32,
    /// What the last attempt cost.
    pub bill: Bill,
    /// What the last attempt printed and logged.
    pub log: Option<Box<Log>>,
}

/// Why a task has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It failed for good.
    #[error("{code}: {0}", code = .0.code())]
    Failed(Failure),
    /// Its job was cancelled.
    #[error("the task was cancelled")]
    Cancelled,
    /// The function's result is not what the caller asked for.
    #[error("the result is not a `{expected}`: {reason}")]
    Decode {
        /// The type that was asked for.
        expected: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The broker does not tell how the task ended.
    #[error("how the task ended is not known: {reason}")]
    BrokerGone {
        /// Why it does not.
        reason: String,
        /// Whether the task stays at the broker, which was away: whoever attaches to its job when
        /// the broker is back finds the outcome. Else the job is cancelled and forgotten.
        stays: bool,
    },
}

impl<T: Decode> TaskOutcome<T> {
    /// Of an outcome whose value is at hand.
    pub(crate) fn new(outcome: Outcome) -> Self {
        let Outcome {
            index,
            attempts,
            ending,
            bill,
            log,
        } = outcome;
        Self {
            index,
            result: decode(ending),
            attempts,
            bill,
            log,
        }
    }
}

pub(crate) fn decode<T: Decode>(ending: Ending) -> Result<T, TaskError> {
    match ending {
        Ending::Completed(Output::Value(value)) => T::from_value(&value),
        Ending::Completed(Output::Object(object)) => T::from_object(object),
        Ending::Completed(Output::Stored(stored)) => Err(TaskError::Decode {
            expected: std::any::type_name::<T>(),
            reason: format!("it is still at `{}`", stored.location),
        }),
        Ending::Failed(failure) => Err(TaskError::Failed(failure)),
        Ending::Cancelled => Err(TaskError::Cancelled),
    }
}
