//! What was heard of a task's subtasks: which ended, in which order, and with which results.

use std::collections::{HashMap, HashSet};
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
    /// Those whose results the broker keeps.
    kept: Vec<TaskIndex>,
    /// So many were published: these have an outcome some day.
    pub(super) published: TaskIndex,
    /// Those that were neither ended nor at the broker when it was looked last.
    missing: HashSet<TaskIndex>,
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
            kept: Vec::new(),
            published: 0,
            missing: HashSet::new(),
        }
    }

    /// Those that were published and did not end.
    pub(super) fn running(&self) -> impl Iterator<Item = TaskIndex> {
        (0..self.published).filter(|task| !self.ended.contains_key(task))
    }

    /// Learn which subtasks the broker has. What did not end and is not there either, this time
    /// and the last time, is lost.
    pub(super) fn look(&mut self, unfinished: &[TaskIndex]) -> Vec<TaskIndex> {
        let unfinished: HashSet<TaskIndex> = unfinished.iter().copied().collect();
        let missing: HashSet<TaskIndex> = self
            .running()
            .filter(|task| !unfinished.contains(task))
            .collect();
        let before = std::mem::replace(&mut self.missing, missing);
        before.intersection(&self.missing).copied().collect()
    }

    /// Hear of outcomes that were stored from this position on. Of a task the first counts.
    pub(super) fn hear(&mut self, position: Position, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if self.ended.contains_key(&outcome.index) {
                continue;
            }
            if let Ending::Completed(Output::AtBroker(_)) = &outcome.ending {
                self.kept.push(outcome.index);
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

    /// Those whose results the broker keeps.
    pub(super) fn kept(&self) -> &[TaskIndex] {
        &self.kept
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use sortie_protocol::Bill;

    use super::*;

    fn told(bytes_max: usize) -> Told {
        Told::new(Arc::new(Shelf {
            bytes_max,
            bytes: AtomicUsize::new(0),
        }))
    }

    fn outcome(index: TaskIndex, bytes: usize) -> Outcome {
        Outcome {
            index,
            attempts: 1,
            ending: Ending::Completed(vec![0; bytes].into()),
            bill: Bill::default(),
            log: None,
            input: None,
            function: None,
        }
    }

    #[test]
    fn the_order_is_that_of_the_first_outcomes_and_each_group_has_its_own() {
        let mut told = told(0);
        told.hear(0, &[outcome(3, 1), outcome(1, 1)]);
        told.hear(2, &[outcome(3, 2), outcome(0, 1)]);
        let group = HashMap::from([(1, 0), (0, 1)]);
        assert_eq!(told.next_of(&group, 0), Some((0, 2)));
        assert_eq!(told.next_of(&group, 2), Some((1, 3)));
        assert_eq!(told.next_of(&group, 3), None);
        assert!(told.has(&Wanted::All(vec![0, 1, 3])) && !told.has(&Wanted::All(vec![2])));
    }

    #[test]
    fn results_that_have_no_room_are_where_they_were_stored() {
        let mut told = told(1000);
        let large = [outcome(0, 900), outcome(1, 900), outcome(2, 9)];
        told.hear(7, &large);
        assert!(matches!(told.ended(0), Some(Ended::Here(_))));
        assert!(matches!(told.ended(1), Some(Ended::At(7))));
        assert!(matches!(told.ended(2), Some(Ended::Here(_))));
        let shelf = told.shelf.clone();
        drop(told);
        assert!(shelf.take(1000));
    }

    #[test]
    fn what_is_missing_twice_is_lost() {
        let mut told = told(0);
        told.published = 4;
        told.hear(0, &[outcome(0, 1)]);
        // The third may be about to be reported.
        assert!(told.look(&[1]).is_empty());
        told.hear(1, &[outcome(2, 1)]);
        assert_eq!(told.look(&[1]), [3]);
        assert!(told.look(&[1, 3]).is_empty());
    }
}
