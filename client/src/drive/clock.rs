//! The client's clock: a monotonic time that prints as a wall-clock time.

use std::time::Duration;

use sortie_protocol::Timestamp;
use tokio::time::Instant;

/// Counts from the time of day at which it was made, by the monotonic clock: a time of day that is
/// set back or forward moves no deadline. In tests the runtime's paused time is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    time_of_day: Timestamp,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            time_of_day: time_of_day(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.time_of_day + self.started.elapsed()
    }

    /// How long ago it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The duration until this time.
    pub(crate) fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

/// The wall-clock time, for the creation times of jobs and bundles, from which waiting times are
/// measured.
#[expect(clippy::disallowed_methods, reason = "this is the client's clock")]
pub(crate) fn time_of_day() -> Timestamp {
    Timestamp::default()
        + std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
}
