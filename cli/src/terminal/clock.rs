//! The one place in this crate that reads the clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sortie::protocol::Timestamp;

/// A point to measure from, for progress and the summary. No task sees it.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time of day, to compare with what others say of themselves.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn time_of_day() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::default() + since.unwrap_or_default()
}
