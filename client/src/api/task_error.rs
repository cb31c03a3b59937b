//! Why a task has no result.

use sortie_protocol::Failure;

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
    #[error("the task's outcome is not known: {reason}")]
    BrokerGone {
        /// Why it does not.
        reason: String,
        /// Whether the task stays at the broker, which was away: a client that attaches to its job
        /// when the broker is back finds the outcome. Else the job is cancelled and forgotten.
        stays: bool,
    },
}
