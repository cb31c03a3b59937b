//! The publishing side of a job: the bundle being packed, unfinished bundles, and unanswered
//! requests.

use std::collections::BTreeMap;
use std::time::Duration;

use super::manner::{Manner, REQUESTS_AT_ONCE};
use crate::id::TaskIndex;
use crate::outcome::Outcome;
use crate::packing::{Collector, Packer};
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

/// The publishing side of a job.
#[derive(Debug)]
pub(super) struct Publishing {
    manner: Manner,
    /// How many inputs there are, if that is known.
    inputs: Option<u64>,
    slots: usize,
    bundles_max: usize,
    packer: Packer,
    collector: Collector,
    /// Number of tasks without an outcome of each published bundle, by the bundle's first index.
    out: BTreeMap<TaskIndex, usize>,
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
            packer: Packer::default(),
            collector: Collector::default(),
            out: BTreeMap::new(),
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
        let is_in_window = self.manner != Manner::Map || self.out.len() < self.bundles_max;
        !self.has_ended && self.unanswered < REQUESTS_AT_ONCE && is_in_window
    }

    pub(super) fn has_collected(&self) -> bool {
        !self.collector.is_empty()
    }

    /// Whether the job may get further tasks.
    pub(super) fn is_open(&self) -> bool {
        self.manner.publishes() && self.seal == Seal::Due
    }

    /// Take a task in; a bundle that it does not fit into comes back.
    pub(super) fn push(&mut self, task: Task) -> Option<Vec<Task>> {
        let index = self.submitted;
        self.submitted += 1;
        let full = self.collector.push(Task { index, ..task });
        self.send(full)
    }

    /// An input that is no task takes an index all the same.
    pub(super) fn skip(&mut self) -> TaskIndex {
        let index = self.submitted;
        self.submitted += 1;
        if self.manner.follows() {
            self.out.insert(index, 1);
        }
        index
    }

    /// Whether the bundle that is collected is as large as it should be.
    pub(super) fn is_full(&self) -> bool {
        let last = self.submitted.saturating_sub(1);
        let tasks = match self.manner {
            Manner::Map => {
                let left = self.inputs.map(|inputs| inputs.saturating_sub(last));
                self.packer.tasks(left, self.slots) as u64
            }
            Manner::Detached => (last / DETACHED_SHARE).clamp(1, DETACHED_TASKS_MAX),
            // They failed before, and may take their neighbours with them.
            Manner::Replay | Manner::Attached => 1,
        };
        self.collector.len() as u64 >= tasks
    }

    /// The bundle that is collected, if there is one.
    pub(super) fn take(&mut self) -> Option<Vec<Task>> {
        let collected = self.collector.take();
        self.send(collected)
    }

    pub(super) fn drop_collected(&mut self) {
        self.collector.take();
        self.has_ended = true;
    }

    fn send(&mut self, tasks: Option<Vec<Task>>) -> Option<Vec<Task>> {
        if self.manner.follows()
            && let Some(tasks) = &tasks
            && let Some(first) = tasks.first()
        {
            self.out.insert(first.index, tasks.len());
        }
        tasks
    }

    /// One task ended.
    pub(super) fn on_ended(&mut self, index: TaskIndex) {
        if let Some((&first, missing)) = self.out.range_mut(..=index).next_back() {
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.out.remove(&first);
            }
        }
    }

    /// Record how long tasks take; tasks that did not run are ignored.
    pub(super) fn observe(&mut self, outcomes: &[Outcome]) {
        let ran = outcomes.iter().filter(|outcome| outcome.attempts > 0);
        let work: Duration = ran
            .clone()
            .map(|outcome| outcome.bill.run + outcome.bill.fetch)
            .sum();
        self.packer.observe(ran.count(), work);
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
        let published = self.submitted - self.collector.len() as u64;
        let expected = (self.is_idle() && self.manner.publishes()).then_some(published);
        (self.expected != expected).then(|| {
            self.expected = expected;
            expected
        })
    }

    /// How many tasks there are, once, when all are there and answered.
    pub(super) fn seal(&mut self) -> Option<TaskIndex> {
        let is_due =
            self.seal == Seal::Due && self.has_ended && self.collector.is_empty() && self.is_idle();
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
