//! What a client still owes its broker: jobs to be cancelled and forgotten after whoever had them
//! let go.
//!
//! Such work runs in the background, because `drop` cannot wait. A process that is about to end
//! waits for it here.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts work in the background. Clones are the same count.
#[derive(Debug, Clone)]
pub(crate) struct Courtesies(Arc<watch::Sender<usize>>);

/// One piece of work; it is done when this is dropped.
#[derive(Debug)]
pub(crate) struct Courtesy(Courtesies);

impl Default for Courtesies {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Courtesies {
    /// Begin a piece of work.
    pub(crate) fn begin(&self) -> Courtesy {
        self.0.send_modify(|count| *count += 1);
        Courtesy(self.clone())
    }

    /// Wait until there is none. Cancel safe.
    pub(crate) async fn settled(&self) {
        // The sender is held here, so the wait ends with the condition alone.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Courtesy {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}
