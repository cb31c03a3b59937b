//! The clocks of the NATS broker: a monotonic clock for leases, and the wall clock for display.

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
