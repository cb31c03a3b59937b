//! Logs a lasting failure twice: one warning when it begins, one line when it is over.
//!
//! Failures in between are logged at debug level.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that may fail for a while.
#[derive(Debug)]
pub struct FailureEpisode {
    what: &'static str,
    failing: AtomicBool,
}

impl FailureEpisode {
    /// `what` completes "… fails".
    pub const fn new(what: &'static str) -> Self {
        Self {
            what,
            failing: AtomicBool::new(false),
        }
    }

    /// It failed.
    pub fn fails(&self, error: &dyn Display) {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "{} still fails", self.what);
        } else {
            tracing::warn!(%error, "{} fails; trying again", self.what);
        }
    }

    /// It succeeded.
    pub fn works(&self) {
        // Read first: this is on the way of every bundle, and almost always there is nothing to
        // change.
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("{} works again", self.what);
        }
    }
}
