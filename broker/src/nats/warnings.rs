//! Warns of each kind of trouble once an episode, however many messages have it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::clock;

/// An episode is over when nothing of its kind happened for that long.
const QUIET: Duration = Duration::from_secs(60);

/// The episodes under way: one for each kind that this process knows.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    episodes: Mutex<HashMap<&'static str, Instant>>,
}

impl Warnings {
    /// Warn, unless this is more of the same.
    pub(super) fn warn(&self, kind: &'static str, reason: &str) {
        if self.begins(kind, clock::instant()) {
            tracing::warn!(reason = %reason.escape_debug(), "{kind}");
        }
    }

    /// Whether an episode begins with this. One that goes on lasts until it is quiet.
    fn begins(&self, kind: &'static str, now: Instant) -> bool {
        let before = self.episodes.lock().insert(kind, now);
        before.is_none_or(|before| now.saturating_duration_since(before) >= QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_warned_of_once_and_the_next_one_again() {
        let (warnings, start) = (Warnings::default(), clock::instant());
        let begins = |kind, seconds| warnings.begins(kind, start + Duration::from_secs(seconds));
        assert!(begins("one", 0) && begins("other", 0));
        assert!(!begins("one", 1) && !begins("one", 59) && !begins("one", 118));
        assert!(begins("one", 178));
    }
}
