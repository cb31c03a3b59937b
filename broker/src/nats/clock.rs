//! The clocks of the NATS broker: one for leases, which is never compared with another machine's,
//! and the time of day for people.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sortie_protocol::Timestamp;

/// The time of day: only ever shown to people.
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

/// A time that only moves forward, and also while the process is stopped.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this module reads a clock"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}
