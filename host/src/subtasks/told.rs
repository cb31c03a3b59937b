//! What was heard of a task's subtasks: which ended, in which order, and with which results.

use std::collections::HashMap;
use std::sync::Arc;

use sortie_broker::Position;
use sortie_protocol::{Ending, Outcome, Output, TaskIndex};

use super::Shelf;

/// A result that takes no more than this is always held.
const SMALL_BYTES: usize = 64;

/// What a task waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// That all of these have ended.
    All(Vec<TaskIndex>),
    /// That one of these is among those that ended after the first so many.
    Next(Arc<HashMap<TaskIndex, u32>>, usize),
}

/// What was heard of the subtasks of one task.
#[derive(Debug)]
pub(super) struct Told {
    ended: HashMap<TaskIndex, Ended>,
    /// In the order in which they ended.
    order: Vec<TaskIndex>,
    shelf: Arc<Shelf>,
    /// What is taken of the shelf.
    bytes: usize,
    /// Everything that was stored before is known.
    pub(super) is_caught_up: bool,
    /// Why no more will be heard.
    pub(super) broken: Option<String>,
}

/// How a subtask ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Here(Ending),
    /// Its result is in the job's outcomes at this place, or soon after it.
    At(Position),
}

impl Told {
    pub(super) fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            ended: HashMap::new(),
            order: Vec::new(),
            shelf,
            bytes: 0,
            is_caught_up: false,
            broken: None,
        }
    }

    /// Hear of outcomes that were stored from this position on. Of a task the first counts.
    pub(super) fn hear(&mut self, position: Position, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if self.ended.contains_key(&outcome.index) {
                continue;
            }
            let bytes = held_bytes(&outcome.ending);
            let is_held = bytes <= SMALL_BYTES || self.shelf.take(bytes);
            if is_held && bytes > SMALL_BYTES {
                self.bytes += bytes;
            }
            let ended = match is_held {
                true => Ended::Here(outcome.ending.clone()),
                false => Ended::At(position),
            };
            self.ended.insert(outcome.index, ended);
            self.order.push(outcome.index);
        }
    }

    pub(super) fn ended(&self, task: TaskIndex) -> Option<&Ended> {
        self.ended.get(&task)
    }

    pub(super) fn has(&self, wanted: &Wanted) -> bool {
        let has_ended = |task: &TaskIndex| self.ended.contains_key(task);
        match wanted {
            // Those that were made last end last, most often.
            Wanted::All(tasks) => tasks.iter().rev().all(has_ended),
            Wanted::Next(tasks, after) => self.next_of(tasks, *after).is_some(),
        }
    }

    /// The first of these among the tasks that ended after the first so many: its number, and how
    /// many had ended with it.
    pub(super) fn next_of(
        &self,
        tasks: &HashMap<TaskIndex, u32>,
        after: usize,
    ) -> Option<(u32, usize)> {
        let later = self.order.iter().enumerate().skip(after);
        let mut of_these = later.filter_map(|(at, task)| Some((*tasks.get(task)?, at + 1)));
        of_these.next()
    }

    /// How many of these are among the first so many that ended.
    pub(super) fn told_of(&self, tasks: &HashMap<TaskIndex, u32>, first: usize) -> usize {
        let told = self.order.iter().take(first);
        told.filter(|task| tasks.contains_key(task)).count()
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.shelf.give_back(self.bytes);
    }
}

/// About how many bytes an ending holds.
fn held_bytes(ending: &Ending) -> usize {
    match ending {
        Ending::Completed(Output::Value(value)) => value.len(),
        Ending::Completed(Output::Stored(_) | Output::Object(_)) => 256,
        Ending::Completed(Output::AtBroker(_)) | Ending::Cancelled => 0,
        Ending::Failed(failure) => failure.to_string().len(),
    }
}
