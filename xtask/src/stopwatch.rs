//! Measures how long something takes.

use std::time::{Duration, Instant};

/// A stopwatch: the only reader of the clock in this program.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub(crate) fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a task runner measures real time; nothing here is replayed"
        )]
        Self(Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
