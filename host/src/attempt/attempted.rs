//! How an attempt ended, and how a stop or an input's error becomes an ending.

use std::time::Duration;

use sortie_protocol::{Bill, Ending, Failure, Log};

use crate::sandbox::Why;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Attempted {
    /// The result, the failure, or the cancellation.
    pub(crate) ending: Ending,
    /// What it cost. The caller adds the time in the queue.
    pub(crate) bill: Bill,
    /// What the function printed.
    pub(crate) log: Option<Box<Log>>,
}

impl Attempted {
    /// An attempt that failed before its function ran.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self::before_run(Why::Failed(failure), Duration::ZERO)
    }

    /// An attempt that was cancelled before its function ran.
    pub(crate) fn cancelled() -> Self {
        Self::before_run(Why::Cancelled, Duration::ZERO)
    }

    /// An attempt that ended before its function ran, after `fetch` of waiting for inputs.
    pub(super) fn before_run(why: Why, fetch: Duration) -> Self {
        Self {
            ending: ending(why),
            bill: Bill {
                fetch,
                ..Bill::default()
            },
            log: None,
        }
    }
}

pub(super) fn ending(why: Why) -> Ending {
    match why {
        Why::Failed(failure) => Ending::Failed(failure),
        // Whoever could run it again did not.
        Why::Cancelled | Why::Suspended => Ending::Cancelled,
    }
}
