//! The bundles of a job that were published and did not end.

use std::collections::{BTreeMap, HashMap};

use crate::function::FunctionIndex;
use crate::id::TaskIndex;

/// Bundles that were published and did not end, and where their tasks are.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Runs of consecutive tasks of one bundle, by the first: the index after the last, and the
    /// bundle. A bundle of a map is one run.
    runs: BTreeMap<TaskIndex, (TaskIndex, u64)>,
    bundles: HashMap<u64, Bundle>,
    next: u64,
}

#[derive(Debug)]
struct Bundle {
    function: FunctionIndex,
    /// Tasks without an outcome.
    missing: usize,
    /// The first task of each of its runs.
    firsts: Vec<TaskIndex>,
}

impl Outstanding {
    /// How many bundles there are.
    pub(super) fn len(&self) -> usize {
        self.bundles.len()
    }

    /// A bundle of tasks that call one function was published.
    pub(super) fn insert(
        &mut self,
        function: FunctionIndex,
        tasks: impl IntoIterator<Item = TaskIndex>,
    ) {
        let number = self.next;
        self.next += 1;
        let (mut missing, mut firsts) = (0, Vec::with_capacity(1));
        for index in tasks {
            missing += 1;
            match firsts.last().and_then(|first| self.runs.get_mut(first)) {
                Some((end, _)) if *end == index => *end += 1,
                _ => {
                    self.runs.insert(index, (index.saturating_add(1), number));
                    firsts.push(index);
                }
            }
        }
        if missing > 0 {
            let bundle = Bundle {
                function,
                missing,
                firsts,
            };
            self.bundles.insert(number, bundle);
        }
    }

    /// The function that a task calls, if its bundle did not end.
    pub(super) fn function_of(&self, task: TaskIndex) -> Option<FunctionIndex> {
        let bundle = self.bundles.get(&self.bundle_of(task)?)?;
        Some(bundle.function)
    }

    /// One task ended, for the first time.
    pub(super) fn end(&mut self, task: TaskIndex) {
        let Some(number) = self.bundle_of(task) else {
            return;
        };
        let Some(bundle) = self.bundles.get_mut(&number) else {
            return;
        };
        bundle.missing = bundle.missing.saturating_sub(1);
        if bundle.missing == 0
            && let Some(bundle) = self.bundles.remove(&number)
        {
            for first in bundle.firsts {
                self.runs.remove(&first);
            }
        }
    }

    fn bundle_of(&self, task: TaskIndex) -> Option<u64> {
        let (_, (end, bundle)) = self.runs.range(..=task).next_back()?;
        (task < *end).then_some(*bundle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_out_until_its_last_task_ended_wherever_its_tasks_lie() {
        let mut out = Outstanding::default();
        out.insert(0, [0, 1, 5, 6, 9]);
        out.insert(3, [2, 3, 4]);
        out.insert(0, []);
        assert_eq!(out.len(), 2);
        assert_eq!(
            [0, 2, 6, 7, 9].map(|task| out.function_of(task)),
            [Some(0), Some(3), Some(0), None, Some(0)]
        );
        for task in [6, 0, 9, 1] {
            out.end(task);
            assert_eq!(out.len(), 2);
        }
        out.end(5);
        assert_eq!((out.len(), out.function_of(0)), (1, None));
        [3, 2, 4, 4, 77].into_iter().for_each(|task| out.end(task));
        assert_eq!(out.len(), 0);
        assert!(out.runs.is_empty());
    }
}
