//! The one place in this crate that reads the clock.

use std::time::Instant;

/// A point to measure from, for progress and the summary. No task sees it.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
