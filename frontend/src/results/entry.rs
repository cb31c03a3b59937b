//! What a line or a row is made of.

use std::sync::Arc;

use sortie::{Ending, Outcome};

/// An outcome, and what results say beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// How the task ended, or the last of those that one input went through.
    pub outcome: Outcome,
    /// Of a failure among several functions: the one that failed.
    pub function: Option<Arc<str>>,
}

impl From<Outcome> for Entry {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            function: None,
        }
    }
}

impl Entry {
    /// The bytes of its result and log.
    pub(crate) fn weight(&self) -> usize {
        let result = match &self.outcome.ending {
            Ending::Completed(output) => output.weight(),
            Ending::Failed(_) | Ending::Cancelled => 0,
        };
        result + self.outcome.log.as_ref().map_or(0, |log| log.text.len())
    }
}
