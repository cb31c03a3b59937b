//! When to look which tenants and pools there are: every [`INTERVAL`], and soon after a bell of one
//! that is not known.

use std::time::{Duration, Instant};

/// How often it is looked without a reason.
const INTERVAL: Duration = Duration::from_secs(15);
/// Minimum time between two looks, whatever bells ring: anybody may ring.
const PAUSE: Duration = Duration::from_millis(200);

/// The last look, and the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looks {
    last: Instant,
    next: Instant,
}

impl Looks {
    /// It is looked now.
    pub(super) fn at(now: Instant) -> Self {
        Self {
            last: now,
            next: now + INTERVAL,
        }
    }

    /// A bell rang of what is not known. Where it was looked just now, what rang may have come
    /// after that: it is looked again when the pause is over.
    pub(super) fn rang(&mut self) {
        self.next = self.next.min(self.last + PAUSE);
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::clock;

    #[test]
    fn what_rings_right_after_a_look_is_looked_for_when_the_pause_is_over() {
        let began = clock::instant();
        let mut looks = Looks::at(began);
        assert!(!looks.is_due(began + INTERVAL - PAUSE) && looks.is_due(began + INTERVAL));
        looks.rang();
        assert!(!looks.is_due(began + PAUSE / 2));
        assert!(looks.is_due(began + PAUSE));
        // However often it rings, there is one look in each pause.
        let mut looks = Looks::at(began + PAUSE);
        (0..100).for_each(|_| looks.rang());
        assert!(!looks.is_due(began + PAUSE * 3 / 2) && looks.is_due(began + 2 * PAUSE));
    }
}
