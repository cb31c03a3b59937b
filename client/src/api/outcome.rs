//! Decoded outcomes.

use sortie_protocol::{Bill, Ending, Log, Outcome, Output, TaskIndex};

use crate::api::output::Decode;
use crate::api::task_error::TaskError;

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
    /// What the submitter called the task's arguments, if it did
    /// ([`Arguments::named`](crate::Arguments::named)).
    pub input: Option<String>,
}

impl<T: Decode> TaskOutcome<T> {
    /// Decode an outcome whose value has been fetched.
    pub(crate) fn new(outcome: Outcome) -> Self {
        let Outcome {
            index,
            attempts,
            ending,
            bill,
            log,
            input,
            function: _,
        } = outcome;
        Self {
            index,
            result: decode(ending),
            attempts,
            bill,
            log,
            input: input.map(|name| name.to_string()),
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
        Ending::Completed(Output::AtBroker(_)) => Err(TaskError::Decode {
            expected: std::any::type_name::<T>(),
            reason: "it is still at the broker".into(),
        }),
        Ending::Failed(failure) => Err(TaskError::Failed(failure)),
        Ending::Cancelled => Err(TaskError::Cancelled),
    }
}
