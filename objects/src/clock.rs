//! The one place in this crate that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sortie_protocol::Timestamp;

/// The wall-clock time.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::default()
        + SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
}

/// The monotonic time, for measuring durations.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
