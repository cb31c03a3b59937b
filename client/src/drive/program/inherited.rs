//! Takes over the tasks of a job that another process left.

use std::sync::Arc;

use sortie_protocol::graph::Event;
use sortie_protocol::submission::NoTask;
use sortie_protocol::{Ending, Failure, JobKey, TaskIndex};
use tokio::sync::Semaphore;

use super::{Call, Driven, Made, Node, Phase, Program, State, Writes};
use crate::drive::tracker::TaskTracker;

/// The failure of a task that was lost with its submitter.
const NEVER_SENT: &str = "the process that submitted it ended before the broker had the task";

/// A job that another process left, as far as tasks wait in it.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// The tasks that wait, each after its inputs.
    pub(crate) waiting: Vec<(TaskIndex, Call)>,
    /// Tasks that its submitter had a place for, and the broker never had.
    pub(crate) missing: Vec<TaskIndex>,
    /// How many tasks there are.
    pub(crate) total: TaskIndex,
}

impl Program {
    /// The program of a job that another process left. Nobody holds a future of it, and no tasks
    /// are added: it ends when all have ended.
    pub(crate) fn inherit(job: JobKey, client: TaskTracker, inherited: Inherited) -> Driven {
        let driven = Self::start(job, client, Writes::Written);
        driven.program.with(|state| state.inherit(inherited));
        driven
    }
}

impl State {
    /// Take over the tasks of a job that another process left.
    fn inherit(&mut self, inherited: Inherited) {
        let Inherited {
            waiting,
            missing,
            total,
        } = inherited;
        self.next = total;
        self.sent = total - waiting.len() as u64 - missing.len() as u64;
        self.is_closed = true;
        // Each wait holds a place, and none is bounded here: they are no more than there were.
        let room = Arc::new(Semaphore::new(0));
        for task in missing {
            if let Ok(room) = room.clone().try_acquire_many_owned(0) {
                let no_task = NoTask {
                    index: task,
                    ending: Ending::Failed(Failure::host(NEVER_SENT)),
                    input: None,
                };
                self.send(Made::Nothing(no_task), room);
            }
        }
        for (task, call) in waiting {
            let inputs = call.inputs();
            for input in &inputs {
                if !self.nodes.contains_key(input) {
                    self.nodes.insert(*input, Node::left(Phase::Sent));
                    self.on(Event::Submitted {
                        task: *input,
                        inputs: Vec::new(),
                        repeatable: false,
                    });
                }
            }
            if let Ok(room) = room.clone().try_acquire_many_owned(0) {
                let repeatable = call.repeatable;
                let phase = Phase::Waiting(Box::new(call), room);
                self.nodes.insert(task, Node::left(phase));
                self.on(Event::Submitted {
                    task,
                    inputs,
                    repeatable,
                });
            }
        }
    }
}

impl Node {
    /// One of a job that another process left.
    fn left(phase: Phase) -> Self {
        Self {
            slot: Arc::default(),
            phase,
            is_left: true,
            outcome: None,
        }
    }
}
