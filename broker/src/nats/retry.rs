//! Retries a request while the broker is unreachable, with exponential back-off, up to a limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::metrics::Metrics;
use crate::traits::Error;

/// The first back-off; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Maximum back-off.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The retries of one request.
pub(super) struct Retry {
    time_max: Duration,
    until: Instant,
    pause: Duration,
    metrics: Arc<Metrics>,
}

impl Retry {
    pub(super) fn new(time_max: Duration, metrics: Arc<Metrics>) -> Self {
        Self {
            time_max,
            until: Instant::now() + time_max,
            pause: PAUSE_MIN,
            metrics,
        }
    }

    /// The broker answered, so the outage is over: reset the limit.
    pub(super) fn forgive(&mut self) {
        self.until = Instant::now() + self.time_max;
    }

    /// Wait before the next retry; returns `error` when the limit is reached.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        if Instant::now() + self.pause > self.until {
            return Err(error);
        }
        tracing::debug!(%error, "retrying a request to the broker");
        self.metrics.repeated.add(1);
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
