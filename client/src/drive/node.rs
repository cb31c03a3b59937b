//! What a program knows of one of its tasks.

use std::sync::Arc;

use sortie_protocol::{Ending, Outcome, Output, TaskIndex};
use tokio::sync::OwnedSemaphorePermit;

use super::call::Call;
use super::call_key::CallKey;
use super::slot::Slot;

/// A task of an open job that did not end, or whose ending somebody may ask for.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) slot: Arc<Slot>,
    pub(super) phase: Phase,
    /// What it calls, while that is kept.
    pub(super) call: Option<Arc<Call>>,
    /// The index of its latest run at the broker; that of the first is its own.
    pub(super) run: TaskIndex,
    /// What its call is, if an equal one is the same task.
    pub(super) key: Option<CallKey>,
    /// How many hold its future, each with its clones.
    pub(super) holders: u32,
    /// It runs to its end, whether or not somebody holds its future.
    pub(super) is_left: bool,
    /// How it ended, while its result is needed.
    pub(super) outcome: Option<Arc<Outcome>>,
    /// Whether the broker keeps large values for it.
    pub(super) is_kept: bool,
    /// Whether others were sent along with it.
    pub(super) is_followed: bool,
}

impl Node {
    pub(super) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Whether it was never released, nor ended.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.phase, Phase::Waiting(Wait::First(_)))
    }

    /// Its result, while that is needed.
    pub(super) fn output(&self) -> Option<&Output> {
        match &self.outcome.as_ref()?.ending {
            Ending::Completed(output) => Some(output),
            Ending::Failed(_) | Ending::Cancelled => None,
        }
    }

    /// Whether it has a result, or may have one yet.
    pub(super) fn may_complete(&self) -> bool {
        match self.slot.ended() {
            None => true,
            Some(Ok(outcome)) => matches!(outcome.ending, Ending::Completed(_)),
            Some(Err(_)) => false,
        }
    }

    pub(super) fn has_result(&self) -> bool {
        self.output().is_some()
    }

    /// What its call takes, if it is kept for another run.
    pub(super) fn kept_bytes(&self) -> usize {
        match (&self.phase, &self.call) {
            (Phase::Sent | Phase::Waiting(Wait::Again), Some(call)) => call.weight(),
            (Phase::Waiting(Wait::First(_) | Wait::Begun), _) | (_, None) => 0,
        }
    }

    /// One of a job that another process left.
    pub(super) fn left(task: TaskIndex, phase: Phase, call: Option<Call>) -> Self {
        Self {
            slot: Arc::default(),
            phase,
            call: call.map(Arc::new),
            run: task,
            key: None,
            holders: 0,
            is_left: true,
            outcome: None,
            is_kept: false,
            is_followed: false,
        }
    }
}

#[derive(Debug)]
pub(super) enum Phase {
    /// For results of others.
    Waiting(Wait),
    Sent,
}

/// What a task waits for results for.
#[derive(Debug)]
pub(super) enum Wait {
    /// For its first run; with the room that it takes.
    First(Option<OwnedSemaphorePermit>),
    /// To be tried again.
    Again,
    /// Another process sent it: for nothing.
    Begun,
}
