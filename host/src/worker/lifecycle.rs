//! The phases of a worker: working, draining, stopped.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Wait before asking a broker again that answered with an error.
pub(super) const BROKER_PAUSE: Duration = Duration::from_millis(500);

/// A phase of a worker's life. Each is followed only by a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Pulls and runs.
    Working,
    /// Runs what it has and pulls no more.
    Draining,
    /// Neither pulls nor runs.
    Stopped,
}

/// The phase that a worker is in, for all its parts to see.
#[derive(Debug)]
pub(super) struct Lifecycle(watch::Sender<Phase>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Working))
    }
}

impl Lifecycle {
    pub(super) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Go on to this phase, unless the worker is in it or past it.
    pub(super) fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Wait until no more work is taken. Cancel safe.
    pub(super) async fn drains(&self) {
        let mut phase = self.0.subscribe();
        // The sender lives as long as this.
        let _ = phase
            .wait_for(|phase| *phase > Phase::Working)
            .await
            .map(drop);
    }

    /// Wait before asking the broker again, but not while the worker drains. Cancel safe.
    pub(super) async fn pause(&self) {
        let _ = timeout(BROKER_PAUSE, self.drains()).await;
    }
}
