//! Logs a lasting failure only twice: a warning when it begins, and a line when it is over.
//!
//! Failures in between are logged at debug level.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

/// An operation that may keep failing for a while.
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

    /// Record a failure.
    pub fn fails(&self, error: &dyn Display) {
        if self.failing.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "{} still fails", self.what);
        } else {
            tracing::warn!(%error, "{} fails; trying again", self.what);
        }
    }

    /// Record a success.
    pub fn works(&self) {
        // Load before swap: this runs for every bundle, and almost always there is nothing to
        // change.
        if self.failing.load(Ordering::Relaxed) && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("{} works again", self.what);
        }
    }
}
