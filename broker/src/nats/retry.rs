//! Repeats a request while the broker is away, with growing pauses, up to a limit.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::traits::Error;

/// The wait before something is asked again; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest wait before something is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The repetitions of one request.
pub(super) struct Retry {
    time_max: Duration,
    until: Instant,
    pause: Duration,
}

impl Retry {
    pub(super) fn new(time_max: Duration) -> Self {
        Self {
            time_max,
            until: Instant::now() + time_max,
            pause: PAUSE_MIN,
        }
    }

    /// The broker is there, so this is no outage.
    pub(super) fn forgive(&mut self) {
        self.until = Instant::now() + self.time_max;
    }

    /// Wait before asking again; `error` when it has been too long.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        if Instant::now() + self.pause > self.until {
            return Err(error);
        }
        tracing::debug!(%error, "retrying a request to the broker");
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
