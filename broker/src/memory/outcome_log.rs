//! The outcomes of one job, in the order in which they were stored.

use std::collections::VecDeque;
use std::sync::Arc;

use sortie_protocol::Outcome;
use tokio::sync::Notify;

use crate::broker::Position;

/// Batches of outcomes from a position on. What lies before it was trimmed.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Each with the position of its first outcome.
    batches: VecDeque<(Position, Arc<[Outcome]>)>,
    /// The position of the next outcome.
    end: Position,
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
            let first = self.end;
            self.end += outcomes.len() as Position;
            self.batches.push_back((first, outcomes.into()));
            self.changed.notify_waiters();
        }
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
        self.changed.notify_waiters();
    }

    /// The first batch that reaches past `from`, without what lies before `from`.
    pub(super) fn read(&self, from: Position) -> Read {
        // By bisection: a follower reads at the end of what may be a long log.
        let passed = self.batches.partition_point(|batch| end(batch) <= from);
        match self.batches.get(passed) {
            Some((first, batch)) => {
                let skip = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
                match batch.get(skip..) {
                    Some(rest) if skip > 0 => Read::Outcomes(from, rest.into()),
                    _ => Read::Outcomes(*first, batch.clone()),
                }
            }
            None if self.cancelled => Read::Cancelled,
            None => Read::Nothing,
        }
    }

    /// Drop the batches that lie wholly before `before`.
    pub(super) fn trim(&mut self, before: Position) {
        while self
            .batches
            .front()
            .is_some_and(|batch| end(batch) <= before)
        {
            self.batches.pop_front();
        }
    }
}

fn end((first, batch): &(Position, Arc<[Outcome]>)) -> Position {
    first + batch.len() as Position
}
