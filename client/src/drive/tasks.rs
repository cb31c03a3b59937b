//! The tasks of an open job, behind its program's lock.
//!
//! A task's result is dropped when nothing takes it any more. Its call is kept for another run for
//! as long as the task is known, if there is room for that.
//!
//! At the broker the first outcome of an index is the one that counts. So a task that runs again
//! has a further index there, its *run*, which nobody but this program knows. Should another
//! process go on with the job, what it finds is how the first run ended.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use sortie_protocol::graph::{Command, End, Ended, Event, Graph, Path};
use sortie_protocol::outcome::{InputFault, PlatformFault};
use sortie_protocol::packing::TARGET;
use sortie_protocol::submission::{NoTask, unrun};
use sortie_protocol::{
    Argument, Backtrace, Ending, Failure, Outcome, Output, Part, Task, TaskIndex, WaitingTask,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::call::{Call, Inherited};
use super::call_key::CallKey;
use super::made::{Made, Released};
use super::node::{Node, Phase, Wait};
use super::run_times::RunTimes;
use super::slot::{Gone, Slot};
use super::unwritten::Unwritten;

/// The failure of a task that was lost with its submitter.
const NEVER_SENT: &str = "the process that submitted it ended before the broker had the task";

/// How many bytes the arguments of released tasks may have that are kept for another run.
pub(crate) const KEPT_CALLS_BYTES_MAX: usize = 64 << 20;
/// Why a task is not tried again whose arguments are not kept.
const CALL_GONE: &str = "it cannot be tried again: its arguments are not kept in this process";

/// How all tasks without an outcome end once their job is over.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    Cancelled,
    Gone(Gone),
}

/// The tasks of one open job.
#[derive(Debug)]
pub(super) struct Tasks {
    pub(super) graph: Graph,
    pub(super) nodes: HashMap<TaskIndex, Node>,
    /// The latest task of each call that is known.
    pub(super) calls: HashMap<CallKey, TaskIndex>,
    /// The tasks that further runs are of.
    pub(super) runs: HashMap<TaskIndex, TaskIndex>,
    /// The next index, of a task or a run.
    pub(super) next: TaskIndex,
    /// What the calls of released tasks take that are kept.
    pub(super) kept_calls_bytes: usize,
    /// Tasks that were to be released again, and whose calls are not kept.
    pub(super) lacking: Vec<TaskIndex>,
    /// How many went to the driver.
    pub(super) sent: u64,
    /// To the driver, until all went there and no more come.
    pub(super) released: Option<mpsc::UnboundedSender<Released>>,
    /// Released tasks that nothing needs any more.
    pub(super) stopped: mpsc::UnboundedSender<TaskIndex>,
    /// Tasks whose large values at the broker nothing needs any more.
    pub(super) let_go: mpsc::UnboundedSender<TaskIndex>,
    /// Whether the broker keeps, or kept, large values of any.
    pub(super) has_kept: bool,
    /// What of the graph is to be written to the broker, if that outlives this process.
    pub(super) unwritten: Option<Unwritten>,
    /// About how many bytes of outcomes came.
    pub(super) outcome_bytes: usize,
    /// Tasks that wait, and whose results came with others that are being told.
    pub(super) arriving: HashSet<TaskIndex>,
    pub(super) run_times: RunTimes,
    /// How many tasks are sent along with one: fewer while they come to nothing.
    pub(super) along_max: usize,
    /// Others may look for outcomes of it when it is over.
    pub(super) is_published: bool,
    pub(super) is_closed: bool,
    /// Another process submitted it, and may come back.
    pub(super) is_inherited: bool,
    pub(super) over: Option<Over>,
    /// To be woken when the lock is released: a waker may drop futures.
    pub(super) woken: Vec<Waker>,
}

impl Tasks {
    /// Take over the tasks of a job that another process left.
    pub(super) fn inherit(&mut self, inherited: Inherited) {
        let Inherited {
            waiting,
            missing,
            total,
        } = inherited;
        self.next = total;
        self.sent = total - waiting.len() as u64 - missing;
        self.is_closed = true;
        self.is_inherited = true;
        for (task, call) in waiting {
            let inputs = call.inputs();
            for input in &inputs {
                if !self.nodes.contains_key(input) {
                    self.nodes.insert(
                        *input,
                        Node::left(*input, Phase::Waiting(Wait::Begun), None),
                    );
                    self.on(Event::Submitted {
                        task: *input,
                        inputs: Vec::new(),
                        repeatable: false,
                    });
                }
            }
            let repeatable = call.repeatable;
            // They take no room: they are no more than there were.
            let node = Node::left(task, Phase::Waiting(Wait::First(None)), Some(call));
            self.nodes.insert(task, node);
            self.on(Event::Submitted {
                task,
                inputs,
                repeatable,
            });
        }
    }

    pub(super) fn give_up(&mut self, missing: &[TaskIndex]) {
        for task in missing {
            let no_task = NoTask {
                index: *task,
                ending: Ending::Failed(Failure::host(NEVER_SENT)),
                input: None,
            };
            self.send(Made::Nothing(no_task), None);
        }
    }

    /// Have a task written to the broker if it waits.
    pub(super) fn note_waiting(&mut self, task: TaskIndex) {
        if let Some(unwritten) = &mut self.unwritten
            && self.nodes.get(&task).is_some_and(Node::waits)
        {
            unwritten.add(task);
        }
    }

    pub(super) fn on(&mut self, event: Event) {
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
                Command::Reopen(task) => self.reopen(task),
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
                    self.forget(task);
                }
                Command::Refuse(task, refusal) => {
                    let ending = Ending::Failed(Failure::host(refusal.to_string()));
                    self.end_here(task, &ending);
                    if let Some(node) = self.forget(task) {
                        self.woken
                            .extend(node.slot.set(Ok(Arc::new(unrun(task, ending)))));
                    }
                }
            }
        }
        for task in left {
            self.on(Event::Unwanted(task));
        }
        for task in std::mem::take(&mut self.lacking) {
            let ending = Ending::Failed(Failure::host(CALL_GONE));
            if let Some(node) = self.nodes.get_mut(&task) {
                node.outcome = Some(Arc::new(unrun(task, ending)));
            }
            let how = Ended::Failed;
            self.on(Event::Ended { task, how });
        }
    }

    fn forget(&mut self, task: TaskIndex) -> Option<Node> {
        let node = self.nodes.remove(&task)?;
        self.runs.remove(&node.run);
        self.kept_calls_bytes -= node.kept_bytes();
        self.call_is_new(task, node.key);
        Some(node)
    }

    /// A further call that equals a task's is another task.
    fn call_is_new(&mut self, task: TaskIndex, key: Option<CallKey>) {
        if let Some(key) = key
            && self.calls.get(&key) == Some(&task)
        {
            self.calls.remove(&key);
        }
    }

    /// Somebody more holds the future of the task that this call is, if there is one that has its
    /// result here or may get one.
    pub(super) fn hold_equal(&mut self, key: CallKey) -> Option<(TaskIndex, Arc<Slot>)> {
        let task = *self.calls.get(&key)?;
        // A future that nobody held was not told how its task ended; the graph knows. One that is
        // told that it failed waits for nothing, though its task may be tried again for others.
        let node = self
            .nodes
            .get_mut(&task)
            .filter(|node| node.may_complete())?;
        if !self.graph.is_live(task) {
            return None;
        }
        node.holders += 1;
        let slot = node.slot.clone();
        if node.holders == 1 {
            self.on(Event::Wanted(task));
        }
        Some((task, slot))
    }

    /// Somebody who held a task's future does not hold it any more. The task may be wanted to run
    /// to its end all the same.
    pub(super) fn dropped(&mut self, task: TaskIndex, is_left: bool) {
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        node.holders = node.holders.saturating_sub(1);
        node.is_left |= is_left;
        if node.holders == 0 && (!node.is_left || node.slot.has_ended()) {
            self.on(Event::Unwanted(task));
        }
    }

    /// A task that was released is being cancelled.
    pub(super) fn is_being_cancelled(&mut self, task: TaskIndex) {
        let key = self.nodes.get(&task).and_then(|node| node.key);
        self.call_is_new(task, key);
    }

    pub(super) fn retry(&mut self, task: TaskIndex) -> bool {
        // One of a job that is not driven here has no node.
        if !self.can_run() || !self.nodes.contains_key(&task) {
            return false;
        }
        let mut tried = HashSet::new();
        // There may be further causes behind the first. One that comes back at once stays.
        while let Some(cause) = self.graph.cause(task)
            && tried.insert(cause)
        {
            self.on(Event::Retry(cause));
        }
        true
    }

    /// What a run of a task made is not there any more. Whether its future is to wait on: the
    /// result is computed again, or was already, or the future is told that it cannot be.
    pub(super) fn lost(&mut self, task: TaskIndex, run: TaskIndex) -> bool {
        let Some(node) = self.nodes.get(&task) else {
            return false;
        };
        if node.run != run || !node.slot.has_ended() {
            return true;
        }
        let is_held = node.has_result() && self.can_run();
        if is_held {
            self.on(Event::Lost {
                result: task,
                dependent: None,
            });
        }
        is_held
    }

    /// Whether tasks can run again. Where another process may come back that submits, as it would
    /// use the same indices, they do not.
    fn can_run(&self) -> bool {
        self.released.is_some() && !self.is_inherited
    }

    /// Whether a task failed because results of others vanished that it takes. Then these are
    /// computed again, and the task waits for them. Which of them vanished is not told: all are
    /// made anew that may be.
    fn recovers(&mut self, task: TaskIndex, outcome: &Outcome) -> bool {
        let Some(call) = self.nodes.get(&task).and_then(|node| node.call.clone()) else {
            return false;
        };
        let Some(misses) = misses(&call, outcome) else {
            return false;
        };
        // One without a result is made anew already, and one that has a further run was since.
        let vanished = |input: &TaskIndex| match self.nodes.get(input) {
            Some(node) => node.run != *input || node.output().is_none_or(misses),
            None => false,
        };
        let results: Vec<TaskIndex> = call.inputs().into_iter().filter(vanished).collect();
        let is_repeatable = |result: &TaskIndex| {
            let call = self.nodes.get(result).and_then(|node| node.call.as_ref());
            call.is_some_and(|call| call.repeatable)
        };
        // Of several, one that cannot be made anew may be there.
        let is_certain = results.len() == 1 || results.iter().all(is_repeatable);
        if results.is_empty() || !is_certain || !self.can_run() {
            return false;
        }
        self.reopen(task);
        for result in results {
            let dependent = Some(task);
            self.on(Event::Lost { result, dependent });
        }
        true
    }

    /// A task waits again for its results, or for those of others.
    fn reopen(&mut self, task: TaskIndex) {
        if let Some(node) = self.nodes.get_mut(&task) {
            node.slot.reopen();
            node.outcome = None;
            node.phase = Phase::Waiting(Wait::Again);
        }
    }

    /// Outcomes came, in the order in which their tasks ended. A task that followed another where
    /// that ran is not released because of it.
    pub(super) fn on_all_ended(&mut self, outcomes: &[Outcome]) {
        let followed = outcomes.iter().filter(|outcome| {
            let is_done = matches!(outcome.ending, Ending::Completed(_));
            let node = self.nodes.get(&outcome.index);
            is_done && node.is_some_and(Node::is_new)
        });
        self.arriving = followed.map(|outcome| outcome.index).collect();
        for outcome in outcomes {
            self.learn_of_followers(outcome.index);
            self.run_times.observe(outcome);
            self.on_ended(outcome);
        }
        self.arriving = HashSet::new();
    }

    /// Those that were sent along with a task that ended came with it, or did not.
    fn learn_of_followers(&mut self, task: TaskIndex) {
        let node = self.nodes.get_mut(&task);
        if node.is_some_and(|node| std::mem::take(&mut node.is_followed)) {
            let first = self.graph.follower(task);
            self.along_max = match first.is_some_and(|first| self.arriving.contains(&first)) {
                true => (self.along_max * 2).min(Task::THEN_MAX),
                false => (self.along_max / 2).max(1),
            };
        }
    }

    /// The tasks that may be run where this run of a task is, right after it: each takes the result
    /// of the one before it, and as far as is known they take no longer than a bundle should.
    /// Nothing follows a task whose own inputs may be others in a second run.
    pub(super) fn following(&mut self, run: TaskIndex, bytes_max: usize) -> Vec<WaitingTask> {
        let (mut following, mut last) = (Vec::new(), run);
        let first = self.nodes.get(&run).and_then(|node| node.call.as_deref());
        if !first.is_some_and(Call::is_here) {
            return following;
        }
        let (mut bytes, mut time) = (0, Duration::ZERO);
        // The tasks name each other by their first runs.
        while !self.runs.contains_key(&last)
            && following.len() < self.along_max
            && let Some(next) = self.graph.follower(last)
            && let Some(node) = self.nodes.get(&next)
            && node.is_new()
            && let Some(call) = node.call.as_deref().filter(|call| call.is_here())
        {
            let waiting = call.waiting(next);
            bytes += waiting.weight();
            time += self.run_times.of(call.function).unwrap_or_default();
            if bytes > bytes_max || time > TARGET {
                break;
            }
            following.push(waiting);
            last = next;
        }
        if !following.is_empty()
            && let Some(node) = self.nodes.get_mut(&run)
        {
            node.is_followed = true;
        }
        following
    }

    /// An outcome that is the first of its task counts.
    fn on_ended(&mut self, outcome: &Outcome) {
        let task = self.task_of(outcome.index);
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        if node.slot.has_ended() || node.run != outcome.index {
            return;
        }
        if node.is_new() {
            // It followed another where that ran, or somebody else released it.
            self.end_here(task, &outcome.ending);
        }
        if outcome.has_failed() && self.recovers(task, outcome) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        let mut bytes = outcome.weight();
        if let Ending::Completed(Output::AtBroker(kept)) = &outcome.ending {
            node.is_kept = true;
            self.has_kept = true;
            bytes = bytes.saturating_add(usize::try_from(kept.size).unwrap_or(usize::MAX));
        }
        self.outcome_bytes = self.outcome_bytes.saturating_add(bytes);
        node.outcome = Some(Arc::new(Outcome {
            index: task,
            ..outcome.clone()
        }));
        let how = match &outcome.ending {
            Ending::Completed(_) => Ended::Completed,
            Ending::Failed(_) => Ended::Failed,
            Ending::Cancelled => Ended::Cancelled,
        };
        self.on(Event::Ended { task, how });
    }

    /// All results that a task takes are here.
    fn release(&mut self, task: TaskIndex) {
        if self.arriving.contains(&task) {
            return;
        }
        let Some(node) = self.nodes.get_mut(&task) else {
            return;
        };
        let phase = std::mem::replace(&mut node.phase, Phase::Sent);
        if let Phase::Waiting(Wait::Begun) = phase {
            return;
        }
        // A result that was let go may be needed again.
        node.slot.reopen();
        let Some(call) = node.call.clone() else {
            self.lacking.push(task);
            return;
        };
        let (run, room) = match phase {
            Phase::Waiting(Wait::First(room)) => {
                self.keep_call(task);
                (task, room)
            }
            Phase::Waiting(Wait::Again | Wait::Begun) | Phase::Sent => (self.begin_run(task), None),
        };
        let call = Arc::unwrap_or_clone(call);
        let made = match self.results(call.parts) {
            Ok(parts) => Made::Task {
                index: run,
                function: call.function,
                signature: call.signature,
                parts,
                input: call.input,
            },
            Err(failure) => Made::Nothing(NoTask {
                index: run,
                ending: Ending::Failed(failure),
                input: call.input,
            }),
        };
        self.send(made, room);
    }

    /// A task that was released before gets a further index at the broker.
    fn begin_run(&mut self, task: TaskIndex) -> TaskIndex {
        self.drop_values(task);
        let run = self.next;
        self.next += 1;
        if let Some(node) = self.nodes.get_mut(&task) {
            self.runs.remove(&node.run);
            node.run = run;
            self.runs.insert(run, task);
        }
        run
    }

    /// The task that an index at the broker is of.
    fn task_of(&self, run: TaskIndex) -> TaskIndex {
        self.runs.get(&run).copied().unwrap_or(run)
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

    fn send(&mut self, made: Made, room: Option<OwnedSemaphorePermit>) {
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
        match std::mem::replace(&mut node.phase, Phase::Sent) {
            Phase::Waiting(Wait::First(room)) => {
                let no_task = NoTask {
                    index: task,
                    ending: ending.clone(),
                    input: node.call.as_ref().and_then(|call| call.input.clone()),
                };
                self.keep_call(task);
                self.send(Made::Nothing(no_task), room);
            }
            // What the broker knows of it is how its first run ended.
            Phase::Waiting(Wait::Again | Wait::Begun) | Phase::Sent => {}
        }
    }

    /// Keep the call of a task that is released for the first time, or ended without that, if there
    /// is room.
    fn keep_call(&mut self, task: TaskIndex) {
        if let Some(node) = self.nodes.get_mut(&task) {
            let weight = node.call.as_ref().map_or(0, |call| call.weight());
            if self.kept_calls_bytes + weight <= KEPT_CALLS_BYTES_MAX {
                self.kept_calls_bytes += weight;
            } else {
                node.call = None;
            }
        }
    }

    pub(super) fn keeps_for(&mut self, run: TaskIndex) {
        self.has_kept = true;
        let task = self.task_of(run);
        match self.nodes.get_mut(&task).filter(|node| node.run == run) {
            Some(node) => node.is_kept = true,
            None => {
                let _ = self.let_go.send(run);
            }
        }
    }

    /// Have the broker drop what it keeps for a task, if it does.
    fn drop_values(&mut self, task: TaskIndex) {
        if let Some(node) = self.nodes.get_mut(&task)
            && std::mem::take(&mut node.is_kept)
        {
            let _ = self.let_go.send(node.run);
        }
    }

    fn stop(&mut self, task: TaskIndex) {
        match self.nodes.get(&task) {
            Some(node) if node.waits() => self.end_here(task, &Ending::Cancelled),
            Some(node) => {
                let _ = self.stopped.send(node.run);
            }
            None => {}
        }
    }

    /// Tell whoever holds a task's future how it ended. Whether it was left to run to here.
    fn resolve(&mut self, task: TaskIndex, end: End) -> bool {
        let ending = match end {
            End::Completed | End::Failed | End::Cancelled => None,
            End::UpstreamFailed(path) => Some(Ending::Failed(self.upstream(path))),
            End::UpstreamCancelled(_) => Some(Ending::Cancelled),
            End::Unrecoverable(path) => Some(Ending::Failed(Failure::Platform {
                fault: PlatformFault::ResultLost,
                message: format!(
                    "the result of task {} is gone, and it is not run again because it is not \
                     deterministic, or because it was gone too often: {path}",
                    path.cause
                ),
            })),
        };
        let Some(node) = self.nodes.get(&task) else {
            return false;
        };
        let slot = node.slot.clone();
        let is_let_go = node.is_left && node.holders == 0;
        let outcome = match (ending, &node.outcome) {
            (None, Some(outcome)) => outcome.clone(),
            (None, None) => Arc::new(unrun(task, Ending::Cancelled)),
            (Some(ending), _) => Arc::new(unrun(task, ending)),
        };
        self.end_here(task, &outcome.ending);
        self.woken.extend(slot.set(Ok(outcome)));
        is_let_go
    }

    /// The failure of a task below one that failed.
    fn upstream(&self, path: Path) -> Failure {
        let cause = self.nodes.get(&path.cause);
        let outcome = cause.and_then(|node| node.outcome.as_ref());
        let failure = match outcome.map(|outcome| &outcome.ending) {
            // Where it was is told with the cause alone: there may be many below it.
            Some(Ending::Failed(failure)) => failure.clone().at(Backtrace::default()),
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

impl Over {
    pub(super) fn end(&self, index: TaskIndex, slot: &Slot) {
        slot.end(match self {
            Self::Cancelled => Ok(Arc::new(unrun(index, Ending::Cancelled))),
            Self::Gone(gone) => Err(gone.clone()),
        });
    }
}

/// Which of the results that a call takes may be those that it missed; none if it did not fail for
/// that reason.
fn misses(call: &Call, outcome: &Outcome) -> Option<fn(&Output) -> bool> {
    let Ending::Failed(failure) = &outcome.ending else {
        return None;
    };
    let own_value = |part: &Part<TaskIndex>| {
        matches!(
            part,
            Part::Ready(Argument::Stored(_) | Argument::AtBroker(_))
        )
    };
    let own_object = |part: &Part<TaskIndex>| match part {
        Part::Ready(argument) => !argument.objects().is_empty(),
        Part::Objects(list, _) => list.iter().any(Option::is_some),
        Part::Result(_) | Part::Template(..) => false,
    };
    // It is not told which argument is gone: one that is no result cannot be made anew.
    match failure {
        Failure::Platform {
            fault: PlatformFault::ResultLost,
            ..
        } if !call.parts.iter().any(own_value) => Some(|output| output.is_elsewhere()),
        Failure::Input {
            fault: InputFault::Missing | InputFault::Changed,
            ..
        } if !call.parts.iter().any(own_object) => {
            Some(|output| matches!(output, Output::Object(_)))
        }
        _ => None,
    }
}
