//! Restarts parts of a worker that panicked, and remembers which did.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::panics::caught;

/// Wait before a part of the worker that panicked begins anew: a part that panics each time then
/// costs two attempts a second.
const PANIC_PAUSE: Duration = Duration::from_millis(500);

/// The parts of a worker that panicked.
#[derive(Debug, Default)]
pub(super) struct Restarts(Mutex<BTreeSet<&'static str>>);

impl Restarts {
    /// Run `part`, which `begin` begins, until it returns. After a panic, log it and begin anew,
    /// because other parts depend on it.
    pub(super) async fn keep_running<F: Future<Output = ()>>(
        &self,
        part: &'static str,
        begin: impl Fn() -> F,
    ) {
        while let Err(panicked) = caught(begin()).await {
            if self.0.lock().insert(part) {
                tracing::error!(
                    part,
                    %panicked,
                    "a part of this worker panicked, which is a bug; it is restarted, but replace \
                     the worker"
                );
            } else {
                tracing::debug!(part, %panicked, "a part of this worker panicked again");
            }
            sleep(PANIC_PAUSE).await;
        }
    }

    /// The parts that panicked, if any, separated by commas.
    pub(super) fn panicked(&self) -> Option<String> {
        let parts = self.0.lock().iter().copied().collect::<Vec<_>>();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
