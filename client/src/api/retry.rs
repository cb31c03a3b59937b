//! Tries tasks again that failed.

use sortie_protocol::JobId;

use crate::api::client::Client;
use crate::api::future::TaskFuture;

/// A task could not be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// The future is one of another client.
    #[error(
        "the future is one of another client: only the client that submitted a task can try it \
         again"
    )]
    Foreign,
    /// The job of the task takes no more tasks.
    #[error(
        "`{0}` takes no more tasks: it is over, its client opened another one after it, or \
         another process goes on with it; submit the task again"
    )]
    Over(JobId),
}

impl Client {
    /// Try a task again that failed or was cancelled, and before it those because of which it did.
    /// Their futures resolve anew, and so do those of all tasks that failed for the same reason. A
    /// task that did not end, or has a result, is left alone.
    ///
    /// Arguments are kept for that while somebody holds the future of their task, or of one that
    /// takes its result: 64 MiB of all released tasks of a job at most. A task whose arguments are
    /// not kept fails again, and says so. Where a task was [published](Self::publish) before,
    /// others see how its first run ended: publish it again.
    ///
    /// # Errors
    /// When the future is one of another client, or its job takes no more tasks.
    pub fn retry<T>(&self, future: &TaskFuture<T>) -> Result<(), RetryError> {
        let submitted = future.submitted();
        if !future.is_of(&self.shared) {
            return Err(RetryError::Foreign);
        }
        if submitted.program.retry(submitted.index) {
            Ok(())
        } else {
            Err(RetryError::Over(future.job()))
        }
    }
}
