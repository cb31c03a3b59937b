//! Why a task was not submitted.

use sortie::protocol::outcome::InputFault;
use sortie::{Failure, SubmitError};

use crate::error::Error;

/// Why a task was not submitted.
pub(super) enum Refused {
    /// Because of its arguments.
    Task(Failure),
    /// No further one can be.
    All(Error),
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(failure) | SubmitError::Upstream(failure) => Self::Task(failure),
            SubmitError::Call(wrong) => Self::Task(malformed(wrong.to_string())),
            SubmitError::Foreign
            | SubmitError::Broker(_)
            | SubmitError::Forgotten(_)
            | SubmitError::Lost { .. }
            | SubmitError::Ungranted(_)
            | SubmitError::ShuttingDown
            | SubmitError::Random(_) => Self::All(error.into()),
        }
    }
}

/// The failure of a task whose argument cannot be what it is.
pub(super) fn malformed(message: String) -> Failure {
    Failure::Input {
        fault: InputFault::Malformed,
        message,
    }
}
