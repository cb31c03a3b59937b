//! Finds out how far a job is that its submitter left.
//!
//! All is at the broker: the graph says what waits, the bundles that did not end what was
//! published, and the outcomes what ended. The bundles are read first: one that ends meanwhile has
//! its outcomes stored before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use sortie_broker::{Broker, Error, Event};
use sortie_protocol::seen::Seen;
use sortie_protocol::{
    FunctionIndex, GraphEntry, JobKey, JobState, Signature, TaskIndex, WaitingTask,
};

use crate::drive::call::{Call, Inherited};

/// The most tasks of a job that were lost with its submitter: more than wait in one process at a
/// time. A job that seems to have more is damaged.
const MISSING_MAX: u64 = 1 << 20;

/// What is left of a job.
#[derive(Debug)]
pub(super) enum Estate {
    /// Its tasks; those that were published; and those that the broker does not have.
    Open(Inherited, Vec<TaskIndex>, Vec<TaskIndex>),
    /// Nothing is to be done for it.
    Over,
    /// Nobody can go on with it, for this reason.
    Damaged(String),
}

/// What is known of a job's tasks.
#[derive(Debug, Default)]
struct Known {
    unfinished: HashSet<TaskIndex>,
    ended: Seen,
    /// By their indices.
    waiting: BTreeMap<TaskIndex, WaitingTask>,
    signatures: HashMap<FunctionIndex, Arc<Signature>>,
}

/// Find out what is left of a job.
///
/// # Errors
/// When the broker does not tell.
pub(super) async fn find(broker: &dyn Broker, job: JobKey) -> Result<Estate, Error> {
    match broker.job(job).await {
        Ok(Some(record)) if record.state == JobState::Open => {}
        Ok(_) => return Ok(Estate::Over),
        // The record cannot be read.
        Err(error @ Error::Unsuitable { .. }) => return Ok(Estate::Damaged(error.to_string())),
        Err(error) => return Err(error),
    }
    let unfinished = broker.unfinished_tasks(job).await?;
    let mut known = Known {
        unfinished: unfinished.into_iter().collect(),
        ..Known::default()
    };
    match broker.graph(job).await {
        Ok(entries) => known.learn(entries),
        Err(error @ (Error::TooLarge { .. } | Error::Unsuitable { .. })) => {
            return Ok(Estate::Damaged(error.to_string()));
        }
        Err(error) => return Err(error),
    }
    let mut outcomes = broker.follow(job, 0).await?;
    loop {
        match outcomes.next().await {
            Some(Event::Outcomes(_, outcomes)) => {
                for outcome in outcomes.iter() {
                    known.ended.insert(outcome.index);
                }
            }
            Some(Event::Unreadable { tasks, .. }) => {
                for task in tasks.iter() {
                    known.ended.insert(*task);
                }
            }
            Some(Event::CaughtUp(_)) => return Ok(known.estate()),
            Some(Event::Submitting) => {}
            Some(Event::Sealed(_) | Event::Cancelled) => return Ok(Estate::Over),
            Some(Event::Refused(error)) => return Err(error),
            // It ended early: the job was forgotten, or the connection was lost.
            None => return Box::pin(find(broker, job)).await,
        }
    }
}

impl Known {
    fn learn(&mut self, entries: Vec<GraphEntry>) {
        for entry in entries {
            match entry {
                GraphEntry::Function(function, signature) => {
                    self.signatures.insert(function, signature.into());
                }
                GraphEntry::Waiting(task) => {
                    self.waiting.insert(task.index, task);
                }
            }
        }
    }

    fn is_with_the_broker(&self, task: TaskIndex) -> bool {
        self.unfinished.contains(&task) || self.ended.contains(task)
    }

    fn estate(mut self) -> Estate {
        let waiting = std::mem::take(&mut self.waiting);
        let last = [
            self.unfinished.iter().max().copied(),
            self.ended.last(),
            waiting.keys().next_back().copied(),
        ];
        let last = last.into_iter().flatten().max();
        let total = last.map_or(0, |last| last.saturating_add(1));
        let mut published: Vec<TaskIndex> = self.unfinished.iter().copied().collect();
        published.extend(self.ended.iter());
        published.sort_unstable();
        published.dedup();
        let mut left = Vec::new();
        for (index, task) in waiting {
            if !self.is_with_the_broker(index) {
                match self.signatures.get(&task.function) {
                    Some(signature) => left.push((index, call(task, signature.clone()))),
                    None => {
                        let function = task.function;
                        return Estate::Damaged(format!(
                            "its graph does not say what function {function} takes"
                        ));
                    }
                }
            }
        }
        let there = (published.len() + left.len()) as u64;
        let missing = total.saturating_sub(there);
        if missing > MISSING_MAX {
            return Estate::Damaged(format!("{missing} of its {total} tasks are not there"));
        }
        let waits: HashSet<TaskIndex> = left.iter().map(|(index, _)| *index).collect();
        let missing = missing_of(total, &published, &waits);
        let inherited = Inherited {
            waiting: left,
            missing: missing.len() as u64,
            total,
        };
        Estate::Open(inherited, published, missing)
    }
}

/// The tasks below `total` that are in neither. `published` is sorted.
fn missing_of(
    total: TaskIndex,
    published: &[TaskIndex],
    waits: &HashSet<TaskIndex>,
) -> Vec<TaskIndex> {
    let mut published = published.iter().copied().peekable();
    (0..total)
        .filter(|task| published.next_if_eq(task).is_none() && !waits.contains(task))
        .collect()
}

fn call(task: WaitingTask, signature: Arc<Signature>) -> Call {
    Call {
        function: task.function,
        signature,
        parts: task.parts,
        input: task.input,
        repeatable: task.repeatable,
    }
}
