//! The tasks of an open job that did not end, and which of them wait for others.
//!
//! What waits for what, and when a task is released, is decided by [`Graph`]; here are the calls of
//! the tasks that wait, the results that others take, and the [`Slot`]s. A released task goes to
//! the driver of its job. A task that cannot run goes there as well, with how it ends, so that
//! every index has its outcome at the broker.
//!
//! A task's call is dropped when it is released, and its result when nothing takes it any more.
//!
//! Bounds: a task takes about a kilobyte until it and what takes its result have ended, and
//! nobody holds its future. What its arguments take is bounded by whoever submits it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use sortie_broker::GRAPH_BYTES_MAX;
use sortie_protocol::graph::{Command, End, Ended, Event, Graph, Path};
use sortie_protocol::submission::{NoTask, unrun};
use sortie_protocol::{
    Ending, Failure, FunctionIndex, GraphEntry, InputName, JobKey, Outcome, Output, Part,
    Signature, Task, TaskIndex,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use super::call::{Call, Inherited};
use super::parts::{self, Filled};
use super::slot::{Gone, Slot};
use super::tracker::{TaskTracker, Tracked};
use super::unwritten::Unwritten;
use super::values::{Taker, Values};

/// The failure of a task that was lost with its submitter.
const NEVER_SENT: &str = "the process that submitted it ended before the broker had the task";

/// How many bytes of outcomes a job has at the broker until further tasks go to another one. They
/// stay there until the job is over, so that others can go on with it.
const OUTCOME_BYTES_MAX: usize = 256 << 20;
/// What goes to the driver: a task, or how one ends that no worker gets; with what it takes of the
/// room for tasks that wait.
pub(crate) type Released = (Box<Made>, OwnedSemaphorePermit);

/// A task whose results are all there, or how one ends that no worker gets.
#[derive(Debug)]
pub(crate) enum Made {
    /// The results are not in their places yet: a copy for each task that takes one would be there
    /// for as long as the task waits to be packed.
    Task {
        index: TaskIndex,
        function: FunctionIndex,
        signature: Arc<Signature>,
        parts: Vec<Part<Output>>,
        input: Option<InputName>,
    },
    Nothing(NoTask),
}

impl Made {
    /// Put the results in their places, and fetch those that have to be fetched for that.
    pub(crate) async fn fill(self, values: &Values, job: JobKey) -> Result<Task, NoTask> {
        let (index, function, signature, parts, input) = match self {
            Self::Nothing(no_task) => return Err(no_task),
            Self::Task {
                index,
                function,
                signature,
                parts,
                input,
            } => (index, function, signature, parts, input),
        };
        let arguments = match parts::fill(&signature, parts) {
            Ok(Filled::Ready(arguments)) => Ok(arguments),
            Ok(Filled::Unfetched(unfetched)) => {
                let task = Some(index);
                let taker = Taker { job, task };
                Box::pin(unfetched.fetch(values, taker, &signature)).await
            }
            Err(failure) => Err(failure),
        };
        match arguments {
            Ok(arguments) => Ok(Task {
                index,
                arguments,
                function,
                input,
            }),
            Err(failure) => Err(NoTask {
                index,
                ending: Ending::Failed(failure),
                input,
            }),
        }
    }
}

/// How all tasks without an outcome end once their job is over.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    Cancelled,
    Gone(Gone),
}

/// Where a task is that is to be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It was released: its broker has to be told.
    Released,
    /// It waited, or had ended.
    Here,
}

/// The tasks of an open job. Whoever submits, drives the job or holds a future shares it.
#[derive(Debug)]
pub(crate) struct Program {
    /// Its job.
    pub(crate) job: JobKey,
    state: Mutex<State>,
    /// Tells whose it is.
    client: TaskTracker,
    /// Whether its outcomes are kept at the broker until it is over.
    is_kept: bool,
    /// Those who hold futures of its tasks.
    held: TaskTracker,
}

#[derive(Debug)]
struct State {
    graph: Graph,
    nodes: HashMap<TaskIndex, Node>,
    next: TaskIndex,
    /// How many went to the driver.
    sent: u64,
    /// To the driver, until all went there and no more come.
    released: Option<mpsc::UnboundedSender<Released>>,
    /// Released tasks that nothing needs any more.
    stopped: mpsc::UnboundedSender<TaskIndex>,
    /// Tasks whose large values at the broker nothing needs any more.
    let_go: mpsc::UnboundedSender<TaskIndex>,
    /// Whether the broker keeps, or kept, large values of any.
    has_kept: bool,
    /// What of the graph is to be written to the broker, if that outlives this process.
    unwritten: Option<Unwritten>,
    /// About how many bytes of outcomes came.
    outcome_bytes: usize,
    /// Others may look for outcomes of it when it is over.
    is_published: bool,
    is_closed: bool,
    over: Option<Over>,
    /// To be woken when the lock is released: a waker may drop futures.
    woken: Vec<Waker>,
}

#[derive(Debug)]
struct Node {
    slot: Arc<Slot>,
    phase: Phase,
    /// Nobody holds its future, and it runs all the same.
    is_left: bool,
    /// How it ended, while its result is needed.
    outcome: Option<Arc<Outcome>>,
    /// Whether the broker keeps large values for it.
    is_kept: bool,
}

impl Node {
    /// One of a job that another process left.
    fn left(phase: Phase) -> Self {
        Self {
            slot: Arc::default(),
            phase,
            is_left: true,
            outcome: None,
            is_kept: false,
        }
    }
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

#[derive(Debug)]
enum Phase {
    Waiting(Box<Call>, OwnedSemaphorePermit),
    Sent,
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
        let state = State {
            graph: Graph::default(),
            nodes: HashMap::new(),
            next: 0,
            sent: 0,
            released: Some(sender),
            stopped: stops,
            let_go: lets_go,
            has_kept: false,
            unwritten: (writes == Writes::ToBroker).then(Unwritten::default),
            outcome_bytes: 0,
            is_published: false,
            is_closed: false,
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
        let State {
            unwritten, nodes, ..
        } = &mut *state;
        let Some(unwritten) = unwritten else {
            return (Vec::new(), None);
        };
        let entries = unwritten.take(|task| match &nodes.get(&task)?.phase {
            Phase::Waiting(call, _) => Some(call),
            Phase::Sent => None,
        });
        (entries, Some(unwritten.more.clone()))
    }

    /// Whether it is of the same client.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.client.is(&other.client)
    }

    /// Take a task in, and release it if it waits for nothing. Once the job is over it ends at
    /// once.
    pub(crate) fn submit(&self, call: Call, room: OwnedSemaphorePermit) -> (TaskIndex, Arc<Slot>) {
        let slot = Arc::<Slot>::default();
        let task = self.with(|state| {
            let task = state.next;
            state.next += 1;
            if let Some(over) = &state.over {
                over.end(task, &slot);
                return task;
            }
            let event = Event::Submitted {
                task,
                inputs: call.inputs(),
                repeatable: call.repeatable,
            };
            let node = Node {
                slot: slot.clone(),
                phase: Phase::Waiting(Box::new(call), room),
                is_left: false,
                outcome: None,
                is_kept: false,
            };
            state.nodes.insert(task, node);
            state.on(event);
            state.note_waiting(task);
            task
        });
        (task, slot)
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
        self.with(|state| {
            for outcome in outcomes {
                state.on_ended(outcome);
            }
        });
    }

    /// Nobody holds a task's future any more.
    pub(crate) fn unwanted(&self, task: TaskIndex) {
        self.with(|state| {
            if state.over.is_none() {
                state.on(Event::Unwanted(task));
            }
        });
    }

    /// The same of a task that is to run to its end.
    pub(crate) fn left(&self, task: TaskIndex) {
        self.with(|state| match state.nodes.get_mut(&task) {
            Some(node) if !node.slot.has_ended() => node.is_left = true,
            Some(_) => state.on(Event::Unwanted(task)),
            None => {}
        });
    }

    /// Cancel a task that waits. Of one that was released, the outcome says how it ends.
    pub(crate) fn cancel(&self, task: TaskIndex) -> Cancelled {
        self.with(|state| {
            let Some(node) = state.nodes.get(&task) else {
                return Cancelled::Here;
            };
            match node.phase {
                Phase::Sent if !node.slot.has_ended() => Cancelled::Released,
                Phase::Sent => Cancelled::Here,
                Phase::Waiting(..) => {
                    state.on(Event::Cancel(task));
                    Cancelled::Here
                }
            }
        })
    }

    /// Whether a task waits here for results of others.
    pub(crate) fn waits(&self, task: TaskIndex) -> bool {
        let state = self.state.lock();
        let node = state.nodes.get(&task);
        node.is_some_and(|node| matches!(node.phase, Phase::Waiting(..)))
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
            std::mem::take(&mut state.nodes)
        };
        for (task, node) in nodes {
            match (&over, node.phase) {
                // The broker never had it.
                (Over::Gone(gone), Phase::Waiting(..)) => {
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

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, woken) = {
            let mut state = self.state.lock();
            let changed = change(&mut state);
            if state.is_closed && state.sent == state.next {
                state.released = None;
            }
            (changed, std::mem::take(&mut state.woken))
        };
        woken.into_iter().for_each(Waker::wake);
        changed
    }
}

impl Over {
    fn end(&self, index: TaskIndex, slot: &Slot) {
        slot.end(match self {
            Self::Cancelled => Ok(Arc::new(unrun(index, Ending::Cancelled))),
            Self::Gone(gone) => Err(gone.clone()),
        });
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
        self.sent = total - waiting.len() as u64 - missing;
        self.is_closed = true;
        // Each wait holds a place, and none is bounded here: they are no more than there were.
        let room = Arc::new(Semaphore::new(0));
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

    fn give_up(&mut self, missing: &[TaskIndex]) {
        let room = Arc::new(Semaphore::new(0));
        for task in missing {
            if let Ok(room) = room.clone().try_acquire_many_owned(0) {
                let no_task = NoTask {
                    index: *task,
                    ending: Ending::Failed(Failure::host(NEVER_SENT)),
                    input: None,
                };
                self.send(Made::Nothing(no_task), room);
            }
        }
    }

    /// Have a task written to the broker if it waits.
    fn note_waiting(&mut self, task: TaskIndex) {
        if let Some(unwritten) = &mut self.unwritten
            && let Some(node) = self.nodes.get(&task)
            && matches!(node.phase, Phase::Waiting(..))
        {
            unwritten.add(task);
        }
    }

    fn on(&mut self, event: Event) {
        let mut left = Vec::new();
        for command in self.graph.on(event) {
            match command {
                Command::Release(task) => self.release(task),
                Command::Stop(task) => self.stop(task),
                Command::Resolve(task, end) => {
                    if self.resolve(task, end) {
                        left.push(task);
                    }
                }
                Command::LetGo(task) => {
                    self.drop_values(task);
                    if let Some(node) = self.nodes.get_mut(&task) {
                        node.outcome = None;
                        node.slot.let_go();
                    }
                }
                Command::Forget(task) => {
                    self.end_here(task, &Ending::Cancelled);
                    self.drop_values(task);
                    self.nodes.remove(&task);
                }
                Command::Refuse(task, refusal) => {
                    let ending = Ending::Failed(Failure::host(refusal.to_string()));
                    self.end_here(task, &ending);
                    if let Some(node) = self.nodes.remove(&task) {
                        self.woken
                            .extend(node.slot.set(Ok(Arc::new(unrun(task, ending)))));
                    }
                }
            }
        }
        for task in left {
            self.on(Event::Unwanted(task));
        }
    }

    /// An outcome that is the first of its task counts.
    fn on_ended(&mut self, outcome: &Outcome) {
        let task = outcome.index;
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        if node.slot.has_ended() {
            return;
        }
        let mut bytes = outcome.weight();
        if let Ending::Completed(Output::AtBroker(kept)) = &outcome.ending {
            node.is_kept = true;
            self.has_kept = true;
            bytes = bytes.saturating_add(usize::try_from(kept.size).unwrap_or(usize::MAX));
        }
        self.outcome_bytes = self.outcome_bytes.saturating_add(bytes);
        node.outcome = Some(Arc::new(outcome.clone()));
        let how = match &outcome.ending {
            Ending::Completed(_) => Ended::Completed,
            Ending::Failed(_) => Ended::Failed,
            Ending::Cancelled => Ended::Cancelled,
        };
        self.on(Event::Ended { task, how });
    }

    /// All results that a task takes are here.
    fn release(&mut self, task: TaskIndex) {
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        let (call, room) = match std::mem::replace(&mut node.phase, Phase::Sent) {
            Phase::Waiting(call, room) => (*call, room),
            Phase::Sent => return,
        };
        let made = match self.results(call.parts) {
            Ok(parts) => Made::Task {
                index: task,
                function: call.function,
                signature: call.signature,
                parts,
                input: call.input,
            },
            Err(failure) => Made::Nothing(NoTask {
                index: task,
                ending: Ending::Failed(failure),
                input: call.input,
            }),
        };
        self.send(made, room);
    }

    /// The parts with the results that they take.
    fn results(&self, parts: Vec<Part<TaskIndex>>) -> Result<Vec<Part<Output>>, Failure> {
        let mut missing = None;
        let mut result = |task: TaskIndex| {
            let outcome = self.nodes.get(&task).and_then(|node| node.outcome.as_ref());
            match outcome.map(|outcome| &outcome.ending) {
                Some(Ending::Completed(output)) => output.clone(),
                Some(Ending::Failed(_) | Ending::Cancelled) | None => {
                    missing = Some(task);
                    Output::Value(bytes::Bytes::new())
                }
            }
        };
        let parts = parts
            .into_iter()
            .map(|part| part.map(&mut result))
            .collect();
        match missing {
            None => Ok(parts),
            Some(task) => Err(Failure::host(format!(
                "the result of task {task} is not here any more"
            ))),
        }
    }

    fn send(&mut self, made: Made, room: OwnedSemaphorePermit) {
        self.sent += 1;
        if let Some(released) = &self.released {
            // A driver that is gone has ended all slots, or is about to.
            let _ = released.send((Box::new(made), room));
        }
    }

    /// A task ends that no worker gets, if it did not go to the driver.
    fn end_here(&mut self, task: TaskIndex, ending: &Ending) {
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        if let Phase::Waiting(call, room) = std::mem::replace(&mut node.phase, Phase::Sent) {
            let no_task = NoTask {
                index: task,
                ending: ending.clone(),
                input: call.input,
            };
            self.send(Made::Nothing(no_task), room);
        }
    }

    fn keeps_for(&mut self, task: TaskIndex) {
        self.has_kept = true;
        match self.nodes.get_mut(&task) {
            Some(node) => node.is_kept = true,
            None => {
                let _ = self.let_go.send(task);
            }
        }
    }

    /// Have the broker drop what it keeps for a task, if it does.
    fn drop_values(&mut self, task: TaskIndex) {
        if let Some(node) = self.nodes.get_mut(&task)
            && std::mem::take(&mut node.is_kept)
        {
            let _ = self.let_go.send(task);
        }
    }

    fn stop(&mut self, task: TaskIndex) {
        match self.nodes.get(&task).map(|node| &node.phase) {
            Some(Phase::Sent) => {
                let _ = self.stopped.send(task);
            }
            Some(Phase::Waiting(..)) => {
                self.end_here(task, &Ending::Cancelled);
            }
            None => {}
        }
    }

    /// Tell whoever holds a task's future how it ended. Whether it was left.
    fn resolve(&mut self, task: TaskIndex, end: End) -> bool {
        let ending = match end {
            End::Completed | End::Failed | End::Cancelled => None,
            End::UpstreamFailed(path) => Some(Ending::Failed(self.upstream(path))),
            End::UpstreamCancelled(_) => Some(Ending::Cancelled),
            End::Unrecoverable(path) => {
                let message = format!("the result of a task is lost: {path}");
                Some(Ending::Failed(Failure::host(message)))
            }
        };
        let Some(node) = self.nodes.get(&task) else {
            return false;
        };
        let (slot, is_left) = (node.slot.clone(), node.is_left);
        let outcome = match (ending, &node.outcome) {
            (None, Some(outcome)) => outcome.clone(),
            (None, None) => Arc::new(unrun(task, Ending::Cancelled)),
            (Some(ending), _) => Arc::new(unrun(task, ending)),
        };
        self.end_here(task, &outcome.ending);
        self.woken.extend(slot.set(Ok(outcome)));
        is_left
    }

    /// The failure of a task below one that failed.
    fn upstream(&self, path: Path) -> Failure {
        let cause = self.nodes.get(&path.cause);
        let outcome = cause.and_then(|node| node.outcome.as_ref());
        let failure = match outcome.map(|outcome| &outcome.ending) {
            Some(Ending::Failed(failure)) => failure.clone(),
            Some(Ending::Completed(_) | Ending::Cancelled) | None => {
                Failure::host("it has no result")
            }
        };
        Failure::Upstream {
            failure: Box::new(failure),
            path: path.tasks,
            omitted: path.omitted,
        }
    }
}
