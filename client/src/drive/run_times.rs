//! How long the functions of a job take.

use std::collections::HashMap;
use std::time::Duration;

use sortie_protocol::{FunctionIndex, Outcome};

/// The mean run of each function, of which the last run is a quarter.
#[derive(Debug, Default)]
pub(super) struct RunTimes(HashMap<FunctionIndex, Duration>);

impl RunTimes {
    /// A task ended; nothing is learned from one that did not run.
    pub(super) fn observe(&mut self, outcome: &Outcome) {
        if let Some(function) = outcome.function
            && outcome.attempts > 0
            && !outcome.bill.cached
        {
            let took = outcome.bill.run + outcome.bill.fetch;
            let mean = self.0.entry(function).or_insert(took);
            *mean = (*mean * 3 + took) / 4;
        }
    }

    /// The mean; none if the function has not run.
    pub(super) fn of(&self, function: FunctionIndex) -> Option<Duration> {
        self.0.get(&function).copied()
    }
}
