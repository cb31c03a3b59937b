//! Remembers that this machine was short of something (descriptors, memory, disk, instances).
//!
//! A shortage says nothing about the task: it is a failure of the platform, which is tried again,
//! best on another worker. So a worker that was short of something takes no work for
//! [`PAUSE`] and says for [`HOLD`] that it is not ready.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;

/// How long a worker takes no work after it was short of something: other workers get what it could
/// not run, and what it holds itself may end meanwhile.
pub const PAUSE: Duration = Duration::from_secs(2);
/// How long a worker says that it is not ready after it was short of something.
pub const HOLD: Duration = Duration::from_secs(30);

/// The last shortage of a host.
#[derive(Debug, Default)]
pub struct Shortages(Mutex<Option<(Instant, String)>>);

impl Shortages {
    /// There is one, of this.
    pub(crate) fn note(&self, what: &str) {
        let mut last = self.0.lock();
        let is_new = last.as_ref().is_none_or(|(at, _)| since(*at) > HOLD);
        if is_new {
            tracing::warn!("this machine is short of something: {what}; tasks go to other workers");
        }
        *last = Some((clock::instant(), what.to_owned()));
    }

    /// What there was too little of lately.
    #[must_use]
    pub fn lately(&self) -> Option<String> {
        self.within(HOLD).map(|(_, what)| what)
    }

    /// How long no work is to be taken.
    pub(crate) fn pause(&self) -> Option<Duration> {
        self.within(PAUSE).map(|(ago, _)| PAUSE.saturating_sub(ago))
    }

    fn within(&self, time: Duration) -> Option<(Duration, String)> {
        let last = self.0.lock();
        let (at, what) = last.as_ref()?;
        let ago = since(*at);
        (ago < time).then(|| (ago, what.clone()))
    }
}

fn since(at: Instant) -> Duration {
    clock::instant().saturating_duration_since(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_was_short_pauses_and_says_so() {
        let shortages = Shortages::default();
        assert!(shortages.lately().is_none() && shortages.pause().is_none());
        shortages.note("too many open files");
        assert_eq!(shortages.lately().as_deref(), Some("too many open files"));
        assert!(shortages.pause().is_some_and(|pause| pause <= PAUSE));
    }
}
