//! Why a task has no result.

use sortie_protocol::Failure;

/// Why a task has no result. Of a task that failed, [`Failure::backtrace`] tells where in its
/// function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It failed permanently.
    #[error("{code}: {0}", code = .0.code())]
    Failed(Failure),
    /// Its job was cancelled.
    #[error("the task was cancelled")]
    Cancelled,
    /// The function's result cannot be decoded as the requested type.
    #[error("the result is not a `{expected}`: {reason}")]
    Decode {
        /// The type that was asked for.
        expected: &'static str,
        /// Why it cannot be decoded.
        reason: String,
    },
    /// The broker did not deliver the task's outcome.
    #[error("the task's outcome is not known: {reason}")]
    BrokerGone {
        /// Why it did not.
        reason: String,
        /// Whether the task stays at the broker, which was unreachable: a client that attaches to
        /// its job later gets the outcome. Otherwise the job is cancelled and forgotten.
        stays: bool,
    },
}
