//! Estimates the server's clock, to say how long a bundle waited.
//!
//! A bill that compares the submitter's clock with the worker's shows hours where the two differ by
//! hours. The server notes when it stored a bundle, and tells what its clock says now and then; in
//! between this process counts with a clock that never goes back. Nothing is decided with it.

use std::time::{Duration, Instant, UNIX_EPOCH};

use parking_lot::Mutex;

use super::clock;

/// What the server's clock said at a moment of this process.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    told: Mutex<Option<(Instant, Duration)>>,
}

impl ServerClock {
    /// The server was asked at this moment, and answered with its time of day.
    pub(super) fn told(&self, asked: Instant, time: &str) {
        // One that cannot be read is worth no error: only bills lack it.
        let since_epoch = humantime::parse_rfc3339(time)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(since_epoch) = since_epoch {
            *self.told.lock() = Some((asked, since_epoch));
        }
    }

    /// How long ago something was that the server noted, in nanoseconds of its time of day.
    pub(super) fn since(&self, noted: i128) -> Option<Duration> {
        let (asked, then) = (*self.told.lock())?;
        let now = then + clock::instant().saturating_duration_since(asked);
        let noted = Duration::from_nanos(u64::try_from(noted).ok()?);
        Some(now.saturating_sub(noted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_noted_is_compared_with_its_own_clock() {
        let clock = ServerClock::default();
        assert_eq!(clock.since(0), None);
        clock.told(clock::instant(), "no time");
        assert_eq!(clock.since(0), None);
        clock.told(clock::instant(), "1970-01-01T00:01:40.5Z");
        let since = clock.since(90_500_000_000).unwrap();
        assert!((10..100).contains(&since.as_secs()), "{since:?}");
        assert_eq!(clock.since(i128::from(u64::MAX)), Some(Duration::ZERO));
    }
}
