//! The clocks of the NATS broker: one for decisions, which is never compared with another machine's
//! and never goes back, and the time of day for people.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sortie_protocol::Timestamp;

/// Wall-clock time, for display only.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this module looks at the time of day"
)]
pub(super) fn now() -> Timestamp {
    Timestamp::default()
        + SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
}

/// Monotonic time that also advances while the process is stopped.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this module reads a clock"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// The clock for decisions, as a timestamp: what it says means nothing outside of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    start: Instant,
}

impl Steady {
    pub(super) fn new() -> Self {
        Self { start: instant() }
    }

    pub(super) fn now(&self) -> Timestamp {
        // Not from zero: what never happened has to look long ago.
        Timestamp::from_nanos(u64::MAX / 4) + self.start.elapsed()
    }
}
