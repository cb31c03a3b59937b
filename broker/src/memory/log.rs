//! The outcomes of one job, in the order in which they were stored.

use std::collections::VecDeque;
use std::sync::Arc;

use sortie_protocol::Outcome;
use tokio::sync::Notify;

use crate::broker::Position;

/// Batches of outcomes from a position on. What lies before it was trimmed.
#[derive(Debug, Default)]
pub(super) struct Log {
    first: Position,
    batches: VecDeque<Arc<[Outcome]>>,
    cancelled: bool,
    changed: Arc<Notify>,
}

/// What a follower finds.
pub(super) enum Read {
    /// Outcomes, the first at this position.
    Outcomes(Position, Arc<[Outcome]>),
    /// The end.
    Cancelled,
    /// Nothing yet.
    Nothing,
}

impl Log {
    /// Signalled whenever there is something new to read.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    pub(super) fn append(&mut self, outcomes: Vec<Outcome>) {
        if !outcomes.is_empty() {
            self.batches.push_back(outcomes.into());
            self.changed.notify_waiters();
        }
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
        self.changed.notify_waiters();
    }

    /// The first batch that reaches past `from`, without what lies before `from`.
    pub(super) fn read(&self, from: Position) -> Read {
        let mut position = self.first;
        for batch in &self.batches {
            let end = position + batch.len() as Position;
            if from < end {
                let skip = usize::try_from(from.saturating_sub(position)).unwrap_or(usize::MAX);
                return match batch.get(skip..) {
                    Some(rest) if skip > 0 => Read::Outcomes(from, rest.into()),
                    _ => Read::Outcomes(position, batch.clone()),
                };
            }
            position = end;
        }
        if self.cancelled { Read::Cancelled } else { Read::Nothing }
    }

    /// Drop the batches that lie wholly before `before`.
    pub(super) fn trim(&mut self, before: Position) {
        while let Some(batch) = self.batches.front() {
            let end = self.first + batch.len() as Position;
            if end > before {
                return;
            }
            self.first = end;
            self.batches.pop_front();
        }
    }
}
