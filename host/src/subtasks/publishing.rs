//! Publishes subtasks: each once, several of them in a bundle.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie_broker::Error;
use sortie_protocol::packing::Collector;
use sortie_protocol::{Bundle, JobKey, Task, TaskIndex};

use crate::clock;

/// Bundles of one call that are published at once.
const PUBLISHED_AT_ONCE: usize = 16;
/// Bundles that the subtasks of one call are spread over, as far as they go round.
const BUNDLES: usize = 256;
/// The most subtasks in a bundle: how long they take is not known, and a bundle runs on one core.
const BUNDLE_TASKS_MAX: usize = 16;

/// What of a task's subtasks the broker has.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// A hash of each one that was made, by its index.
    made: Vec<u64>,
    /// Those that are at the broker because another attempt made them.
    known: HashSet<TaskIndex>,
}

impl Publishing {
    /// Of subtasks that are made, those that were not made before, each with its hash. An error, if
    /// the task made others in their places: then it does not do the same twice.
    pub(super) fn new_ones(&self, tasks: Vec<Task>) -> Result<Vec<(u64, Task)>, String> {
        let mut new = Vec::with_capacity(tasks.len());
        for task in tasks {
            let place = usize::try_from(task.index).unwrap_or(usize::MAX);
            let hash = hash(&task);
            match self.made.get(place) {
                Some(made) if *made == hash => {}
                Some(_) => {
                    return Err(format!(
                        "the task was run again and made another subtask {} than before",
                        task.index
                    ));
                }
                None => new.push((hash, task)),
            }
        }
        Ok(new)
    }

    /// Those with these hashes are made, as the next ones.
    pub(super) fn made(&mut self, hashes: Vec<u64>) {
        self.made.extend(hashes);
    }

    /// Learn which are at the broker already.
    pub(super) fn know(&mut self, tasks: Vec<TaskIndex>) {
        self.known.extend(tasks);
    }

    /// How many were made.
    pub(super) fn count(&self) -> usize {
        self.made.len()
    }

    /// Of these, those that are not at the broker and have not ended.
    pub(super) fn unknown(
        &self,
        tasks: Vec<Task>,
        has_ended: impl Fn(TaskIndex) -> bool,
    ) -> Vec<Task> {
        let is_known = |task: &Task| self.known.contains(&task.index) || has_ended(task.index);
        tasks.into_iter().filter(|task| !is_known(task)).collect()
    }

    /// Publish these.
    pub(super) async fn publish<F>(
        &self,
        job: JobKey,
        tasks: Vec<Task>,
        publish: impl Fn(Bundle) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let bundles = bundles(tasks).into_iter().map(|tasks| {
            publish(Bundle {
                job,
                attempts_before: 0,
                lost_before: 0,
                published: clock::now(),
                tasks,
            })
        });
        let publishing = stream::iter(bundles).buffer_unordered(PUBLISHED_AT_ONCE);
        publishing.try_collect::<()>().await
    }
}

/// Tasks as they travel.
fn bundles(tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let each = tasks.len().div_ceil(BUNDLES).clamp(1, BUNDLE_TASKS_MAX);
    let mut collector = Collector::default();
    let mut bundles = Vec::with_capacity(tasks.len().div_ceil(each));
    for task in tasks {
        bundles.extend(collector.push(task));
        if collector.len() >= each {
            bundles.extend(collector.take());
        }
    }
    bundles.extend(collector.take());
    bundles
}

fn hash(task: &Task) -> u64 {
    let mut bytes = Vec::new();
    // Writing into memory cannot fail.
    let _ = minicbor::encode(task, &mut bytes);
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use sortie_protocol::Argument;

    use super::*;

    fn task(index: TaskIndex, value: u8) -> Task {
        Task {
            index,
            arguments: vec![Argument::Value(vec![value].into())],
            function: 0,
            input: None,
            then: Vec::new(),
        }
    }

    #[test]
    fn what_was_made_before_is_not_made_again_and_nothing_else_in_its_place() {
        let mut publishing = Publishing::default();
        let first = vec![task(0, 1), task(1, 2)];
        let new = |publishing: &Publishing, tasks: &[Task]| -> (Vec<u64>, Vec<Task>) {
            let new = publishing.new_ones(tasks.to_vec()).unwrap();
            new.into_iter().unzip()
        };
        assert_eq!(new(&publishing, &first).1, first);
        // They were not made after all.
        let (hashes, again) = new(&publishing, &first);
        assert_eq!(again, first);
        publishing.made(hashes);
        assert_eq!(new(&publishing, &first).1, []);
        let later = vec![task(1, 2), task(2, 3)];
        assert_eq!(new(&publishing, &later).1, [task(2, 3)]);
        assert!(publishing.new_ones(vec![task(1, 9)]).is_err());
    }

    #[test]
    fn what_is_at_the_broker_is_not_published_again() {
        let mut publishing = Publishing::default();
        publishing.know(vec![1]);
        let tasks = (0..4).map(|index| task(index, 1)).collect();
        let left = publishing.unknown(tasks, |task| task == 2);
        assert_eq!(left, [task(0, 1), task(3, 1)]);
    }

    #[test]
    fn few_subtasks_travel_alone_and_many_together() {
        let lengths = |count| -> Vec<usize> {
            let tasks = (0..count).map(|index| task(index, 1)).collect();
            bundles(tasks).iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(3), [1, 1, 1]);
        assert_eq!(lengths(300).len(), 150);
        assert_eq!(lengths(10_000).len(), 625);
    }
}
