//! The publishing side of a job: the bundles being packed, unfinished bundles, and unanswered
//! requests.
//!
//! A bundle holds tasks of one function: how long those take is like each other, and they go to the
//! same workers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::manner::{Manner, REQUESTS_AT_ONCE};
use super::outstanding::Outstanding;
use crate::function::FunctionIndex;
use crate::id::TaskIndex;
use crate::outcome::Outcome;
use crate::packing::{Collector, Packer};
use crate::seen::Seen;
use crate::task::Task;

/// A detached bundle holds at most this part of the tasks before it: how long they take is not
/// known to a submitter that follows nothing, and a bundle runs on one slot, so none may be large
/// against the job.
const DETACHED_SHARE: u64 = 1024;
/// The most tasks in a detached bundle, for the same reason.
const DETACHED_TASKS_MAX: u64 = 64;

/// Whether the broker was told how many tasks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    Due,
    Said,
}

/// What is packed of one function.
#[derive(Debug, Default)]
struct Lane {
    packer: Packer,
    collector: Collector,
}

/// The publishing side of a job.
#[derive(Debug)]
pub(super) struct Publishing {
    manner: Manner,
    /// How many inputs there are, if that is known.
    inputs: Option<u64>,
    slots: usize,
    bundles_max: usize,
    lanes: BTreeMap<FunctionIndex, Lane>,
    /// Tasks that are collected, in all lanes.
    collected: usize,
    out: Outstanding,
    /// Inputs of an open job that were published or reported.
    sent: Seen,
    /// The index after the last.
    submitted: TaskIndex,
    confirmed: u64,
    unanswered: usize,
    has_ended: bool,
    seal: Seal,
    /// What the decision over completion was told last.
    expected: Option<TaskIndex>,
}

impl Publishing {
    pub(super) fn new(manner: Manner, inputs: Option<u64>) -> Self {
        Self {
            manner,
            inputs,
            slots: 1,
            bundles_max: 1,
            lanes: BTreeMap::new(),
            collected: 0,
            out: Outstanding::default(),
            sent: Seen::default(),
            submitted: 0,
            confirmed: 0,
            unanswered: 0,
            has_ended: !manner.publishes(),
            seal: Seal::Due,
            expected: None,
        }
    }

    pub(super) fn set_window(&mut self, slots: usize, bundles: usize) {
        self.slots = slots;
        self.bundles_max = bundles;
    }

    pub(super) fn submitted(&self) -> TaskIndex {
        self.submitted
    }

    /// Inputs of an open job that were published or reported.
    pub(super) fn sent(&self) -> &Seen {
        &self.sent
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// No further inputs are taken.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// Whether further inputs may be taken.
    pub(super) fn has_room(&self) -> bool {
        let is_in_window = !self.manner.follows() || self.out.len() < self.bundles_max;
        !self.has_ended && self.unanswered < REQUESTS_AT_ONCE && is_in_window
    }

    pub(super) fn has_collected(&self) -> bool {
        self.collected > 0
    }

    /// Whether the job may get further tasks.
    pub(super) fn is_open(&self) -> bool {
        self.manner.publishes() && self.seal == Seal::Due
    }

    /// Take a task in. A bundle that it does not fit into comes back, and the bundle that it makes
    /// full.
    pub(super) fn push(&mut self, task: Task) -> [Option<Vec<Task>>; 2] {
        let (index, function) = (self.index(task.index), task.function);
        self.collected += 1;
        let lane = self.lanes.entry(function).or_default();
        let before = lane.collector.push(Task { index, ..task });
        let tasks = lane.collector.len() as u64;
        let full = if tasks >= self.tasks_max(function) {
            self.take(function)
        } else {
            None
        };
        [self.send(before), full]
    }

    /// An input that is no task takes an index all the same.
    pub(super) fn skip(&mut self, own: TaskIndex) -> TaskIndex {
        let index = self.index(own);
        self.on_sent([index]);
        if self.manner.follows() {
            self.out.insert(FunctionIndex::MAX, [index]);
        }
        index
    }

    /// Tasks of an open job that somebody else published, and how many the job has.
    pub(super) fn adopt(&mut self, tasks: Vec<TaskIndex>, total: TaskIndex) {
        self.submitted = self.submitted.max(total);
        self.on_sent(tasks.iter().copied());
        // One bundle, whatever they came in: they do not hold up those that are to be published.
        self.out.insert(FunctionIndex::MAX, tasks);
    }

    /// The index of an input.
    fn index(&mut self, own: TaskIndex) -> TaskIndex {
        let index = match self.manner {
            Manner::Open => own,
            Manner::Map | Manner::Detached | Manner::Replay | Manner::Attached => self.submitted,
        };
        self.submitted = self.submitted.max(index.saturating_add(1));
        index
    }

    /// How many tasks the next bundle of a function should have.
    fn tasks_max(&self, function: FunctionIndex) -> u64 {
        let last = self.submitted.saturating_sub(1);
        match self.manner {
            Manner::Map | Manner::Open => {
                let left = self.inputs.map(|inputs| inputs.saturating_sub(last));
                let lane = self.lanes.get(&function);
                lane.map_or(1, |lane| lane.packer.tasks(left, self.slots) as u64)
            }
            Manner::Detached => (last / DETACHED_SHARE).clamp(1, DETACHED_TASKS_MAX),
            // They failed before, and may take their neighbours with them.
            Manner::Replay | Manner::Attached => 1,
        }
    }

    /// The bundles that are collected.
    pub(super) fn take_all(&mut self) -> Vec<Vec<Task>> {
        if self.collected == 0 {
            return Vec::new();
        }
        let functions: Vec<_> = self.lanes.keys().copied().collect();
        functions
            .into_iter()
            .filter_map(|function| self.take(function))
            .collect()
    }

    fn take(&mut self, function: FunctionIndex) -> Option<Vec<Task>> {
        let lane = self.lanes.get_mut(&function)?;
        let collected = lane.collector.take();
        self.send(collected)
    }

    pub(super) fn drop_collected(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.collector.take();
        }
        self.collected = 0;
        self.has_ended = true;
    }

    fn send(&mut self, tasks: Option<Vec<Task>>) -> Option<Vec<Task>> {
        let tasks = tasks?;
        self.collected = self.collected.saturating_sub(tasks.len());
        self.on_sent(tasks.iter().map(|task| task.index));
        if self.manner.follows()
            && let Some(Task { function, .. }) = tasks.first()
        {
            let indices = tasks.iter().map(|task| task.index);
            self.out.insert(*function, indices);
        }
        Some(tasks)
    }

    fn on_sent(&mut self, indices: impl IntoIterator<Item = TaskIndex>) {
        if self.manner == Manner::Open {
            for index in indices {
                self.sent.insert(index);
            }
        }
    }

    /// One task ended.
    pub(super) fn on_ended(&mut self, index: TaskIndex) {
        self.out.end(index);
    }

    /// Record how long tasks take; tasks that did not run are ignored.
    pub(super) fn observe(&mut self, outcomes: &[Outcome]) {
        let mut ran: BTreeMap<FunctionIndex, (usize, Duration)> = BTreeMap::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.attempts > 0) {
            if let Some(function) = self.out.function_of(outcome.index) {
                let (tasks, work) = ran.entry(function).or_default();
                *tasks += 1;
                *work += outcome.bill.run + outcome.bill.fetch;
            }
        }
        for (function, (tasks, work)) in ran {
            let lane = self.lanes.entry(function).or_default();
            lane.packer.observe(tasks, work);
        }
    }

    pub(super) fn on_request(&mut self) {
        self.unanswered += 1;
    }

    pub(super) fn on_answer(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    pub(super) fn confirm(&mut self, tasks: usize) {
        self.confirmed += tasks as u64;
    }

    /// Whether everything was answered.
    pub(super) fn is_idle(&self) -> bool {
        self.unanswered == 0
    }

    /// How many tasks are to be counted on, where that changed: all that were published, as long as
    /// no answer is awaited.
    pub(super) fn changed_expectation(&mut self) -> Option<Option<TaskIndex>> {
        if !self.manner.follows() {
            return None;
        }
        let published = match self.manner {
            // Which of these were sent is asked of `sent`.
            Manner::Open => self.submitted,
            // Inputs without a task are reported at once, ahead of tasks that are collected.
            Manner::Map | Manner::Detached | Manner::Replay | Manner::Attached => {
                let collected = self
                    .lanes
                    .values()
                    .filter_map(|lane| lane.collector.first());
                let first = collected.map(|task| task.index).min();
                first.unwrap_or(self.submitted)
            }
        };
        let expected = (self.is_idle() && self.manner.publishes()).then_some(published);
        (self.expected != expected).then(|| {
            self.expected = expected;
            expected
        })
    }

    /// How many tasks there are, once, when all are there and answered.
    pub(super) fn seal(&mut self) -> Option<TaskIndex> {
        let is_due =
            self.seal == Seal::Due && self.has_ended && self.collected == 0 && self.is_idle();
        is_due.then(|| {
            self.seal = Seal::Said;
            self.on_request();
            self.submitted
        })
    }

    /// Whether the broker answered that.
    pub(super) fn is_sealed(&self) -> bool {
        self.seal == Seal::Said && self.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Ending;
    use crate::submission::unrun;

    #[test]
    fn a_task_that_is_collected_is_not_counted_on_because_an_input_after_it_was_reported() {
        let mut publishing = Publishing::new(Manner::Map, None);
        publishing.set_window(1, 9);
        let task = || Task {
            index: 0,
            arguments: Vec::new(),
            function: 0,
            input: None,
            then: Vec::new(),
        };
        assert!(publishing.push(task()).iter().any(Option::is_some));
        let ran = Outcome {
            attempts: 1,
            ..unrun(0, Ending::Cancelled)
        };
        publishing.observe(&[ran]);
        publishing.on_ended(0);
        // Bundles have two tasks from now on.
        assert!(publishing.push(task()).iter().all(Option::is_none));
        assert_eq!(publishing.skip(0), 2);
        assert_eq!(publishing.changed_expectation(), Some(Some(1)));
        assert_eq!(publishing.take_all().len(), 1);
        assert_eq!(publishing.changed_expectation(), Some(Some(3)));
    }
}
