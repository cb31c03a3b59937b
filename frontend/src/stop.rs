//! A stop signal for waiting code, raised once: for example by an interrupt at a terminal.
//!
//! The front end holds the [`Raise`], and waiting code holds clones of the [`Stop`]. A stop cannot
//! be taken back.

use std::future::Future;

use tokio::sync::watch;

/// Raises the stop.
#[derive(Debug)]
pub struct Raise(watch::Sender<bool>);

/// The receiving side. Clones share the same stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// The stop was raised before the result was available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl Raise {
    /// Raise the stop. Idempotent.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// A stop that is not raised yet.
    #[must_use]
    pub fn new() -> (Raise, Self) {
        let (sender, receiver) = watch::channel(false);
        (Raise(sender), Self(receiver))
    }

    /// Whether it was raised.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Wait until it is raised; for ever, if the [`Raise`] is dropped before. Cancel safe.
    pub async fn raised(&self) {
        let mut raised = self.0.clone();
        if raised.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Wait for `future`, but not past a stop. Cancel safe if `future` is.
    ///
    /// # Errors
    /// When the stop comes first.
    pub async fn or<T>(&self, future: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.raised() => Err(Stopped),
            value = future => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_ends_every_wait_and_comes_before_a_result_that_is_there() {
        let (raise, stop) = Stop::new();
        assert_eq!(stop.or(async { 1 }).await, Ok(1));
        raise.raise();
        assert_eq!(stop.or(std::future::pending::<()>()).await, Err(Stopped));
        assert_eq!(stop.clone().or(async { 1 }).await, Err(Stopped));
        assert!(stop.is_raised());
    }
}
