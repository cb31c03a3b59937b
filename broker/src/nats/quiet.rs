//! Since when a delivery may have been on its way, in a process that may have been stopped.

use std::time::{Duration, Instant};

/// A gap between two ticks that shows that the process was stopped.
const STOP_MIN: Duration = Duration::from_secs(1);
/// After a stop, how long messages sent meanwhile may take to arrive.
const DOUBT: Duration = Duration::from_secs(1);

/// The earliest time at which a received delivery may have been sent, from which its lease counts.
///
/// A process that was stopped finds deliveries whose leases ran meanwhile, for an unknown time. So
/// each delivery counts from the last time at which none was pending; and, for a moment after a
/// stop, from before the stop.
#[derive(Debug)]
pub(super) struct Quiet {
    since: Instant,
    looked: Instant,
    doubtful_until: Instant,
}

impl Quiet {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            looked: now,
            doubtful_until: now,
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// No delivery was pending, a tick after the last time or, after a stop, much later.
    pub(super) fn nothing_there(&mut self, now: Instant) {
        if now.saturating_duration_since(self.looked) > STOP_MIN {
            self.doubtful_until = now + DOUBT;
        }
        self.looked = now;
        if now >= self.doubtful_until {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock;
    use super::*;

    #[test]
    fn leases_that_ran_while_the_process_was_stopped_are_not_taken_for_new() {
        let start = clock::instant();
        let at = |millis| start + Duration::from_millis(millis);
        let mut quiet = Quiet::new(start);
        quiet.nothing_there(at(250));
        quiet.nothing_there(at(500));
        assert_eq!(quiet.since(), at(500));
        // Stopped for ten seconds; the tick comes first, then what was sent meanwhile.
        quiet.nothing_there(at(10_500));
        assert_eq!(quiet.since(), at(500));
        quiet.nothing_there(at(10_750));
        assert_eq!(quiet.since(), at(500));
        quiet.nothing_there(at(11_600));
        assert_eq!(quiet.since(), at(11_600));
    }
}
