//! The memory broker's clock: tokio's time since the start, added to the time of day.

use sortie_protocol::Timestamp;

/// Real time at the start, plus what tokio says has passed: so it follows paused time in tests.
#[derive(Debug)]
pub(super) struct Clock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where this broker looks at the real time"
    )]
    pub(super) fn new() -> Self {
        let start = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Timestamp::default() + start,
            origin: tokio::time::Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }

    pub(super) fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        self.origin + at.since(self.start)
    }
}
