//! Counts a client's work in the background, so that a process that is about to end can wait for
//! it.
//!
//! Jobs and futures that are dropped are cancelled and forgotten at the broker in the background,
//! because `drop` cannot wait.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts pieces of work. Clones are the same count.
#[derive(Debug, Clone)]
pub(crate) struct TaskTracker(Arc<watch::Sender<usize>>);

/// One piece of work; it is done when this is dropped.
#[derive(Debug)]
pub(crate) struct Tracked(TaskTracker);

impl Default for TaskTracker {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl TaskTracker {
    /// Begin a piece of work.
    pub(crate) fn begin(&self) -> Tracked {
        self.0.send_modify(|count| *count += 1);
        Tracked(self.clone())
    }

    /// Whether this is the same count: that of the same client.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there is none.
    pub(crate) fn is_idle(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Wait until there is none. Cancel safe.
    pub(crate) async fn flush(&self) {
        // The sender is held here, so the wait ends with the condition alone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Tracked {
    /// The count that it is of.
    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.0
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}
