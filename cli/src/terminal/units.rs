//! Numbers with units, as people read them.

use std::time::Duration;

use sortie::ByteSize;

/// Seconds with one decimal, or milliseconds if that would be 0.0.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// Megabytes with one decimal.
pub(crate) fn megabytes(size: ByteSize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let megabytes = size.as_u64() as f64 / 1e6;
    format!("{megabytes:.1} MB")
}

/// Rate per second; zero if no time has elapsed.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let rate = count as f64 / elapsed.as_secs_f64().max(1e-6);
    rate
}
