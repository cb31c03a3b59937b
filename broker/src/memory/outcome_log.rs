//! Stores one job's outcomes, in the order in which they were reported.

use std::collections::VecDeque;
use std::sync::Arc;

use sortie_protocol::{Outcome, TaskIndex};
use tokio::sync::Notify;

use crate::traits::{Event, Mark, Position};

/// Batches of outcomes from a position on. What lies before it was trimmed.
#[derive(Debug, Default)]
pub(super) struct OutcomeLog {
    /// Each with the position of its first outcome.
    batches: VecDeque<(Position, Arc<[Outcome]>)>,
    /// The position of the next outcome.
    end: Position,
    sealed: Option<TaskIndex>,
    cancelled: bool,
    /// Counts what was stored: batches, the seal, the cancellation.
    stored: u64,
    /// Counts how often the submitter said that it is there.
    beats: u64,
    changed: Arc<Notify>,
}

/// How far a follower has read.
#[derive(Debug)]
pub(super) struct Cursor {
    next: Position,
    beats: u64,
    is_seal_told: bool,
    caught_up: Option<Mark>,
    is_over: bool,
}

impl OutcomeLog {
    /// Signalled whenever there is something new to read.
    pub(super) fn changed(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    /// What was stored so far.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.stored)
    }

    pub(super) fn append(&mut self, outcomes: Vec<Outcome>) {
        if !outcomes.is_empty() {
            let first = self.end;
            self.end += outcomes.len() as Position;
            self.batches.push_back((first, outcomes.into()));
            self.store();
        }
    }

    pub(super) fn seal(&mut self, tasks: TaskIndex) {
        self.sealed = Some(tasks);
        self.store();
    }

    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
        self.store();
    }

    fn store(&mut self) {
        self.stored += 1;
        self.changed.notify_waiters();
    }

    /// The submitter is there. Followers are told; nothing is stored.
    pub(super) fn beat(&mut self) {
        self.beats += 1;
        self.changed.notify_waiters();
    }

    /// A follower that starts at a position. It is told of what the submitter says from now on.
    pub(super) fn cursor(&self, from: Position) -> Cursor {
        Cursor {
            next: from,
            beats: self.beats,
            is_seal_told: false,
            caught_up: None,
            is_over: false,
        }
    }

    /// The next event for a follower, if there is one.
    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<Event> {
        if cursor.beats != self.beats {
            cursor.beats = self.beats;
            return Some(Event::Submitting);
        }
        if let (Some(tasks), false) = (self.sealed, cursor.is_seal_told) {
            cursor.is_seal_told = true;
            return Some(Event::Sealed(tasks));
        }
        if let Some((position, outcomes)) = self.outcomes(cursor.next) {
            cursor.next = position + outcomes.len() as Position;
            return Some(Event::Outcomes(position, outcomes));
        }
        if self.cancelled {
            cursor.is_over = true;
            return Some(Event::Cancelled);
        }
        if cursor.caught_up != Some(self.mark()) {
            cursor.caught_up = Some(self.mark());
            return Some(Event::CaughtUp(self.mark()));
        }
        None
    }

    /// The first batch that reaches past `from`, without what lies before `from`.
    fn outcomes(&self, from: Position) -> Option<(Position, Arc<[Outcome]>)> {
        // By bisection: a follower reads at the end of what may be a long log.
        let passed = self.batches.partition_point(|batch| end(batch) <= from);
        let (first, batch) = self.batches.get(passed)?;
        let skip = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
        Some(match batch.get(skip..) {
            Some(rest) if skip > 0 => (from, rest.into()),
            _ => (*first, batch.clone()),
        })
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

impl Cursor {
    /// Whether the last event was told.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}

fn end((first, batch): &(Position, Arc<[Outcome]>)) -> Position {
    first + batch.len() as Position
}
