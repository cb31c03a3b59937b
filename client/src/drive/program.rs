//! The tasks of an open job that did not end, and which of them wait for others.
//!
//! What waits for what, and when a task is released, is decided by [`Graph`]; here are the calls of
//! the tasks that wait, the results that others take, and the [`Slot`]s. A released task goes to
//! the driver of its job. A task that cannot run goes there as well, with how it ends, so that
//! every index has its outcome at the broker.
//!
//! Bounds: a task takes about a kilobyte until it and what takes its result have ended, and
//! nobody holds its future. What the arguments of a task take that waits is bounded by whoever
//! submits it; those of tasks that were released have at most [`KEPT_CALLS_BYTES_MAX`].
//!
//! [`KEPT_CALLS_BYTES_MAX`]: super::tasks::KEPT_CALLS_BYTES_MAX

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use sortie_broker::GRAPH_BYTES_MAX;
use sortie_protocol::graph::{Event, Graph};
use sortie_protocol::{GraphEntry, JobKey, Outcome, Task, TaskIndex, WaitingTask};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};

use super::call::{Call, Inherited};
use super::call_key::CallKey;
use super::made::Released;
use super::node::{Node, Phase, Wait};
use super::run_times::RunTimes;
use super::slot::{Gone, Slot};
use super::tasks::{Over, Tasks};
use super::tracker::{TaskTracker, Tracked};
use super::unwritten::Unwritten;

/// How many bytes of outcomes a job has at the broker until further tasks go to another one. They
/// stay there until the job is over, so that others can go on with it.
const OUTCOME_BYTES_MAX: usize = 256 << 20;
/// Where a task is that is to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It was released: its broker has to be told of this run.
    Released(TaskIndex),
    /// It waited, or had ended.
    Here,
}

/// The tasks of an open job. Whoever submits, drives the job or holds a future shares it.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its job.
    pub(crate) job: JobKey,
    state: Mutex<Tasks>,
    /// Tells whose it is.
    client: TaskTracker,
    /// Whether its outcomes are kept at the broker until it is over.
    is_kept: bool,
    /// Those who hold futures of its tasks.
    held: TaskTracker,
}

/// Where the graph of a program is kept, beside here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writes {
    /// At the broker: should this process end, others go on with it.
    ToBroker,
    /// At the broker already.
    Written,
    Nothing,
}

/// The driver's end of a program: what it runs, and what it stops.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) program: Arc<Program>,
    pub(crate) released: mpsc::UnboundedReceiver<Released>,
    pub(crate) stopped: mpsc::UnboundedReceiver<TaskIndex>,
    pub(crate) let_go: mpsc::UnboundedReceiver<TaskIndex>,
}

impl Program {
    /// A program without tasks; `writes` says whether its graph is kept at the broker.
    pub(crate) fn start(job: JobKey, client: TaskTracker, writes: Writes) -> Driven {
        let (sender, released) = mpsc::unbounded_channel();
        let (stops, stopped) = mpsc::unbounded_channel();
        let (lets_go, let_go) = mpsc::unbounded_channel();
        let state = Tasks {
            graph: Graph::default(),
            nodes: HashMap::new(),
            calls: HashMap::new(),
            runs: HashMap::new(),
            kept_calls_bytes: 0,
            lacking: Vec::new(),
            next: 0,
            sent: 0,
            released: Some(sender),
            stopped: stops,
            let_go: lets_go,
            has_kept: false,
            unwritten: (writes == Writes::ToBroker).then(Unwritten::default),
            outcome_bytes: 0,
            arriving: HashSet::new(),
            run_times: RunTimes::default(),
            along_max: Task::THEN_MAX,
            is_published: false,
            is_closed: false,
            is_inherited: false,
            over: None,
            woken: Vec::new(),
        };
        let program = Arc::new(Self {
            job,
            state: Mutex::new(state),
            client,
            is_kept: writes != Writes::Nothing,
            held: TaskTracker::default(),
        });
        Driven {
            program,
            released,
            stopped,
            let_go,
        }
    }

    /// The program of a job that another process left. Nobody holds a future of it, and no tasks
    /// are added: it ends when all have ended.
    pub(crate) fn inherit(job: JobKey, client: TaskTracker, inherited: Inherited) -> Driven {
        let driven = Self::start(job, client, Writes::Written);
        driven.program.with(|state| state.inherit(inherited));
        driven
    }

    /// Tasks of a job that another process left will not come any more: they end.
    pub(crate) fn give_up(&self, missing: &[TaskIndex]) {
        self.with(|state| state.give_up(missing));
    }

    /// Whether its outcomes are kept at the broker until it is over, so that others can go on with
    /// it.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Others may look for outcomes of it from now on, also when it is over.
    pub(crate) fn publish(&self) {
        self.state.lock().is_published = true;
    }

    /// Whether others may look for outcomes of it when it is over.
    pub(crate) fn is_published(&self) -> bool {
        self.state.lock().is_published
    }

    /// About how many bytes of outcomes came.
    pub(crate) fn outcome_bytes(&self) -> usize {
        self.state.lock().outcome_bytes
    }

    /// Whether further tasks should go to another job: much of this one is at the broker, or
    /// somebody else has sealed it.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.state.lock();
        let unwritten = state.unwritten.as_ref();
        unwritten.is_some_and(|unwritten| {
            unwritten.is_sealed
                || unwritten.written_bytes > GRAPH_BYTES_MAX / 2
                || state.outcome_bytes > OUTCOME_BYTES_MAX
        })
    }

    /// Somebody else has brought the job to its end, as far as it was known there.
    pub(crate) fn sealed_by_another(&self) {
        if let Some(unwritten) = &mut self.state.lock().unwritten {
            unwritten.is_sealed = true;
        }
    }

    /// The next entries of its graph for the broker, about so many bytes as are written at once.
    pub(crate) async fn unwritten(&self) -> Vec<GraphEntry> {
        loop {
            let (entries, more) = self.take_unwritten();
            let Some(more) = more else {
                return std::future::pending().await;
            };
            if !entries.is_empty() {
                return entries;
            }
            // One that came in between has left its permit.
            more.notified().await;
        }
    }

    /// The next entries, and what says that there are more; nothing if none are written.
    fn take_unwritten(&self) -> (Vec<GraphEntry>, Option<Arc<Notify>>) {
        let mut state = self.state.lock();
        let Tasks {
            unwritten, nodes, ..
        } = &mut *state;
        let Some(unwritten) = unwritten else {
            return (Vec::new(), None);
        };
        let entries = unwritten.take(|task| {
            let node = nodes.get(&task)?;
            node.call.as_deref().filter(|_| node.waits())
        });
        (entries, Some(unwritten.more.clone()))
    }

    /// Whether it is of the same client.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.client.is(&other.client)
    }

    /// The task that a call is already, for somebody who holds its future from now on.
    pub(crate) fn equal(&self, key: CallKey) -> Option<(TaskIndex, Arc<Slot>)> {
        self.with(|state| state.hold_equal(key))
    }

    /// Take a task in, and release it if it waits for nothing. Once the job is over it ends at
    /// once. A call that equals that of another task is no further one.
    pub(crate) fn submit(
        &self,
        call: Call,
        key: Option<CallKey>,
        room: OwnedSemaphorePermit,
    ) -> (TaskIndex, Arc<Slot>) {
        // Dropped without the lock: others wait for the room.
        let mut unused = None;
        self.with(|state| {
            if let Some(equal) = key.and_then(|key| state.hold_equal(key)) {
                unused = Some((call, room));
                return equal;
            }
            let slot = Arc::<Slot>::default();
            let task = state.next;
            state.next += 1;
            if let Some(over) = &state.over {
                over.end(task, &slot);
                unused = Some((call, room));
                return (task, slot);
            }
            if let Some(key) = key {
                state.calls.insert(key, task);
            }
            let event = Event::Submitted {
                task,
                inputs: call.inputs(),
                repeatable: call.repeatable,
            };
            let node = Node {
                slot: slot.clone(),
                phase: Phase::Waiting(Wait::First(Some(room))),
                call: Some(Arc::new(call)),
                run: task,
                key,
                holders: 1,
                is_left: false,
                outcome: None,
                is_kept: false,
                is_followed: false,
            };
            state.nodes.insert(task, node);
            state.on(event);
            state.note_waiting(task);
            (task, slot)
        })
    }

    /// The broker keeps a large argument for a task.
    pub(crate) fn keeps_for(&self, task: TaskIndex) {
        self.with(|state| state.keeps_for(task));
    }

    /// Somebody holds a task's future, until this is dropped.
    pub(crate) fn hold(&self) -> Tracked {
        self.held.begin()
    }

    /// Whether somebody may still ask for a large value of it that the broker keeps.
    pub(crate) fn has_values_to_give(&self) -> bool {
        self.state.lock().has_kept && !self.held.is_idle()
    }

    /// Wait until nobody can.
    pub(crate) async fn values_given(&self) {
        self.held.flush().await;
    }

    /// Tasks ended.
    pub(crate) fn ended(&self, outcomes: &[Outcome]) {
        self.with(|state| state.on_all_ended(outcomes));
    }

    /// Somebody who held a task's future, alone or with others, does not hold it any more. Whether
    /// the task is to run to its end.
    pub(crate) fn dropped(&self, task: TaskIndex, is_left: bool) {
        self.with(|state| state.dropped(task, is_left));
    }

    /// Cancel a task that waits. Of one that was released, the outcome says how it ends.
    pub(crate) fn cancel(&self, task: TaskIndex) -> Cancelled {
        self.with(|state| {
            let Some(node) = state.nodes.get(&task) else {
                return Cancelled::Here;
            };
            match node.phase {
                Phase::Sent if !node.slot.has_ended() => {
                    let run = node.run;
                    state.is_being_cancelled(task);
                    Cancelled::Released(run)
                }
                Phase::Sent => Cancelled::Here,
                Phase::Waiting(_) => {
                    state.on(Event::Cancel(task));
                    Cancelled::Here
                }
            }
        })
    }

    /// The tasks that may be run where a run of one is, right after it; as many as take so many
    /// bytes.
    pub(crate) fn following(&self, run: TaskIndex, bytes_max: usize) -> Vec<WaitingTask> {
        self.state.lock().following(run, bytes_max)
    }

    /// Whether a task waits here for results of others.
    pub(crate) fn waits(&self, task: TaskIndex) -> bool {
        let state = self.state.lock();
        state.nodes.get(&task).is_some_and(Node::waits)
    }

    /// Try a task again that has no result, and those of which it has none for that reason. Whether
    /// the job still takes tasks.
    pub(crate) fn retry(&self, task: TaskIndex) -> bool {
        self.with(|state| state.retry(task))
    }

    /// What a run of a task made is not where it was. Whether its future is to wait on.
    pub(crate) fn lost(&self, task: TaskIndex, run: TaskIndex) -> bool {
        self.with(|state| state.lost(task, run))
    }

    /// The index of a task's latest run at the broker.
    pub(crate) fn run_of(&self, task: TaskIndex) -> TaskIndex {
        let state = self.state.lock();
        state.nodes.get(&task).map_or(task, |node| node.run)
    }

    /// No more tasks come.
    pub(crate) fn close(&self) {
        self.with(|state| state.is_closed = true);
    }

    /// The job is over: so is every task without an outcome.
    pub(crate) fn end(&self, over: Over) {
        let nodes = {
            let mut state = self.state.lock();
            if state.over.is_some() {
                return;
            }
            state.over = Some(over.clone());
            state.released = None;
            state.graph = Graph::default();
            state.runs.clear();
            state.calls.clear();
            std::mem::take(&mut state.nodes)
        };
        for (task, node) in nodes {
            match (&over, node.phase) {
                // The broker never had it.
                (Over::Gone(gone), Phase::Waiting(_)) => {
                    node.slot.end(Err(Gone {
                        stays: false,
                        ..gone.clone()
                    }));
                }
                (over, _) => over.end(task, &node.slot),
            }
        }
    }

    /// Whether the job is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().over.is_some()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Tasks) -> T) -> T {
        let (changed, woken) = {
            let mut state = self.state.lock();
            let changed = change(&mut state);
            // Those that wait to run again have no index yet.
            let is_last = state.sent == state.next && state.graph.counts().waiting == 0;
            if state.is_closed && is_last {
                state.released = None;
            }
            (changed, std::mem::take(&mut state.woken))
        };
        woken.into_iter().for_each(Waker::wake);
        changed
    }
}
