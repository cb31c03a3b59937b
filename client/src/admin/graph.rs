//! Tells how the tasks of a job depend on each other, and how each of them stands.
//!
//! It is put together from what the broker has: the job's graph (the tasks that waited for others),
//! the outcomes, and which tasks are in bundles that did not end. A task that was tried again has
//! another place in the job ([ADR 22](../../../docs/adr/0022-runs.md)), and is a task of its own
//! here.
//!
//! Holds some hundred bytes for each task of the job.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use sortie_protocol::completion::Answer;
use sortie_protocol::{
    Ending, FunctionIndex, GraphEntry, JobId, JobRecord, JobState, Outcome, TaskIndex,
};

use crate::admin::status::Counted;
use crate::api::client::Client;
use crate::drive::requests::told;
use crate::error::AttachError;

/// How long the outcomes that are stored are read at most.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// A job's tasks, with what each of them takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobGraph {
    /// What the job is, and its functions.
    pub record: JobRecord,
    /// The tasks that are known.
    pub tasks: BTreeMap<TaskIndex, GraphTask>,
    /// How many more a sealed job has: nothing is known of them but their number.
    pub unknown: u64,
    /// Whether all outcomes that were stored are in it.
    pub counted: Counted,
}

/// A task among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphTask {
    /// Which of the job's functions it calls, if that is known.
    pub function: Option<FunctionIndex>,
    /// The tasks before it whose results it takes, each once.
    pub inputs: Vec<TaskIndex>,
    /// How it stands.
    pub state: TaskState,
    /// How long its last attempt took, from reading its inputs to storing its result.
    pub time: Duration,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// It waits for results of others.
    Waiting,
    /// It waits for a worker, or runs.
    Released,
    /// It has a result.
    Completed,
    /// It failed for good.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl TaskState {
    /// All, in the order that a task goes through them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Released,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Released => "released",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl GraphTask {
    fn new(state: TaskState) -> Self {
        Self {
            function: None,
            inputs: Vec::new(),
            state,
            time: Duration::ZERO,
        }
    }

    /// What it takes of tasks before it. What a broker says is not trusted to have no cycle.
    fn inputs_before(&self, index: TaskIndex) -> impl Iterator<Item = TaskIndex> + '_ {
        let inputs = self.inputs.iter().copied();
        inputs.filter(move |input| *input < index)
    }

    fn end(&mut self, outcome: &Outcome) {
        self.state = match outcome.ending {
            Ending::Completed(_) => TaskState::Completed,
            Ending::Failed(_) => TaskState::Failed,
            Ending::Cancelled => TaskState::Cancelled,
        };
        self.function = outcome.function.or(self.function);
        self.time = outcome.bill.fetch + outcome.bill.run + outcome.bill.store;
    }
}

impl JobGraph {
    /// The name of a function that a task calls.
    #[must_use]
    pub fn function_name(&self, function: Option<FunctionIndex>) -> Option<&str> {
        let functions = &self.record.job.functions;
        let function = match (function, functions.as_slice()) {
            (Some(index), _) => self.record.job.function(index)?,
            (None, [only]) => only,
            (None, _) => return None,
        };
        Some(&function.function.name)
    }

    /// How many tasks call each function, by how they stand, in the order of [`TaskState::ALL`].
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Option<FunctionIndex>, [u64; TaskState::ALL.len()]> {
        let mut counts: BTreeMap<_, [u64; TaskState::ALL.len()]> = BTreeMap::new();
        for task in self.tasks.values() {
            let counted = counts.entry(task.function).or_default();
            let place = TaskState::ALL.iter().position(|state| *state == task.state);
            if let Some(count) = place.and_then(|place| counted.get_mut(place)) {
                *count += 1;
            }
        }
        counts
    }

    /// How many tasks lie one after the other above each task: 0 for those that take no results.
    #[must_use]
    pub fn levels(&self) -> BTreeMap<TaskIndex, usize> {
        let mut levels = BTreeMap::new();
        // A task comes after those whose results it takes.
        for (index, task) in &self.tasks {
            let above = task.inputs_before(*index);
            let level = above.filter_map(|input| levels.get(&input)).max();
            let level = level.map_or(0, |level| level + 1);
            levels.insert(*index, level);
        }
        levels
    }

    /// The tasks that ended, one after the other, which took longest together, and how long that
    /// was. A job cannot be faster than this with any number of workers.
    #[must_use]
    pub fn critical_path(&self) -> (Vec<TaskIndex>, Duration) {
        let mut longest: BTreeMap<TaskIndex, (Duration, Option<TaskIndex>)> = BTreeMap::new();
        for (index, task) in &self.tasks {
            let above = task.inputs_before(*index);
            let above = above.filter_map(|input| Some((longest.get(&input)?.0, input)));
            let before = above.max_by_key(|(time, input)| (*time, std::cmp::Reverse(*input)));
            let time = task.time + before.map_or(Duration::ZERO, |(time, _)| time);
            longest.insert(*index, (time, before.map(|(_, input)| input)));
        }
        let end = longest
            .iter()
            .max_by_key(|(index, (time, _))| (*time, std::cmp::Reverse(**index)));
        let Some((mut task, (total, _))) = end.map(|(task, longest)| (*task, *longest)) else {
            return (Vec::new(), Duration::ZERO);
        };
        let mut path = vec![task];
        while let Some((_, Some(before))) = longest.get(&task) {
            task = *before;
            path.push(task);
        }
        path.reverse();
        (path, total)
    }
}

impl Client {
    /// A job's graph, as far as the broker has it. Reads all outcomes that are stored when it is
    /// called, for at most thirty seconds.
    ///
    /// # Errors
    /// When there is no such job, its results were gathered, or the broker does not answer.
    pub async fn job_graph(&self, job: JobId) -> Result<JobGraph, AttachError> {
        let key = self.shared.key(job);
        let broker = &self.shared.broker;
        // In this order, so that a task that goes on meanwhile is not missed.
        let entries = broker.graph(key).await?;
        let unfinished = match broker.unfinished_tasks(key).await {
            Err(error) if told::<()>(Err(error.clone())) != Answer::Denied => {
                return Err(error.into());
            }
            unfinished => unfinished.unwrap_or_default(),
        };
        let mut tasks = known(&entries, &unfinished);
        let mut watch = self.watch_job(job).await?;
        let mut ended = HashSet::new();
        let status = watch
            .look_at(READ_TIME_MAX, |outcome| {
                // The first outcome of a task counts.
                if ended.insert(outcome.index) {
                    let task = tasks.entry(outcome.index);
                    let task = task.or_insert_with(|| GraphTask::new(TaskState::Released));
                    task.end(outcome);
                }
            })
            .await?;
        if let Some(gathered) = status
            .record
            .gathered
            .filter(|_| status.record.is_gathered())
        {
            return Err(AttachError::Gathered { job, gathered });
        }
        let unknown = match status.record.state {
            JobState::Sealed { tasks: count } => count.saturating_sub(tasks.len() as u64),
            JobState::Open | JobState::Cancelled => 0,
        };
        Ok(JobGraph {
            record: status.record.clone(),
            counted: status.counted,
            tasks,
            unknown,
        })
    }
}

/// The tasks that a job's graph and its bundles name.
fn known(entries: &[GraphEntry], unfinished: &[TaskIndex]) -> BTreeMap<TaskIndex, GraphTask> {
    let mut tasks = BTreeMap::new();
    for entry in entries {
        if let GraphEntry::Waiting(waiting) = entry {
            let mut task = GraphTask::new(TaskState::Waiting);
            task.function = Some(waiting.function);
            task.inputs = waiting.inputs().collect();
            task.inputs.sort_unstable();
            task.inputs.dedup();
            tasks.insert(waiting.index, task);
        }
    }
    for index in unfinished {
        let task = tasks.entry(*index);
        let task = task.or_insert_with(|| GraphTask::new(TaskState::Released));
        task.state = TaskState::Released;
    }
    tasks
}

#[cfg(test)]
mod tests {
    use sortie_protocol::{Bill, Digest, FunctionOptions, FunctionRef, Job, Timestamp};

    use super::*;

    fn graph(tasks: &[(TaskIndex, &[TaskIndex], u64)]) -> JobGraph {
        let function = FunctionRef {
            component: Digest::of(b"component"),
            name: "f".into(),
        };
        let key = "job-00000000000000000000000000000001".parse().unwrap();
        let key = sortie_protocol::JobKey {
            tenant: Default::default(),
            job: key,
        };
        let job = Job::of(key, function, FunctionOptions::default());
        let tasks = tasks.iter().map(|(index, inputs, millis)| {
            let mut task = GraphTask::new(TaskState::Completed);
            task.inputs = inputs.to_vec();
            task.time = Duration::from_millis(*millis);
            (*index, task)
        });
        JobGraph {
            record: JobRecord {
                job,
                created: Timestamp::default(),
                state: JobState::Open,
                readers: Default::default(),
                gathered: None,
            },
            tasks: tasks.collect(),
            unknown: 0,
            counted: Counted::All,
        }
    }

    #[test]
    fn the_critical_path_is_what_took_longest_one_after_the_other() {
        let graph = graph(&[
            (0, &[], 5),
            (1, &[], 9),
            (2, &[0], 6),
            (3, &[0, 1], 1),
            (4, &[2, 3], 2),
            (5, &[], 12),
        ]);
        assert_eq!(
            graph.critical_path(),
            (vec![0, 2, 4], Duration::from_millis(13))
        );
        let levels: Vec<_> = graph.levels().into_values().collect();
        assert_eq!(levels, [0, 0, 1, 1, 2, 0]);
        assert_eq!(graph.function_name(None), Some("f"));
        assert_eq!(graph.function_name(Some(1)), None);
    }

    #[test]
    fn a_graph_with_a_cycle_or_without_a_task_has_an_end() {
        assert_eq!(graph(&[]).critical_path(), (Vec::new(), Duration::ZERO));
        let looped = graph(&[(0, &[1], 5), (1, &[0, 1, 7], 6)]);
        assert_eq!(
            looped.critical_path(),
            (vec![0, 1], Duration::from_millis(11))
        );
        assert_eq!(looped.levels().into_values().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_ended_says_how_and_which_function_it_called() {
        let mut task = GraphTask::new(TaskState::Released);
        let outcome = Outcome {
            index: 3,
            attempts: 1,
            ending: Ending::Cancelled,
            bill: Bill {
                run: Duration::from_millis(3),
                fetch: Duration::from_millis(2),
                ..Bill::default()
            },
            log: None,
            input: None,
            function: Some(2),
        };
        task.end(&outcome);
        assert_eq!(
            (task.state, task.function, task.time),
            (TaskState::Cancelled, Some(2), Duration::from_millis(5))
        );
    }
}
