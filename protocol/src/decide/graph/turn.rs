//! Processes one event of a task graph: changes the tasks that it concerns and collects commands.
//!
//! A change at one task reaches others through four work lists, which are emptied in this order:
//! tasks to start, which may start their inputs; tasks that cannot be run, which block what depends
//! on them; tasks that may no longer be needed, which may free their inputs; tasks whose inputs are
//! all held, which are released. So nothing is let go that the same event needs, and nothing is
//! released that the same event fails or stops. Nothing is recursive: a chain of 100,000 tasks
//! takes no stack. A list holds at most one item for each edge that the event concerns.
//!
//! One invariant carries most of this: after an event, a task that waits or was released is needed,
//! and so is a task whose result is held.

use std::collections::VecDeque;

use super::messages::{Command, Ended, LOSSES_MAX, Refusal};
use super::nodes::{NodeKey, Nodes, State};
use super::path;
use crate::id::TaskIndex;
use crate::seen::Seen;

/// The work that one event causes.
pub(super) struct Turn<'a> {
    nodes: &'a mut Nodes,
    commands: Vec<Command>,
    /// Idle tasks that are needed.
    starts: Vec<NodeKey>,
    /// Waiting tasks, each with an input that failed. First in, first out, so that a path to the
    /// cause is a shortest one.
    blocked: VecDeque<(NodeKey, NodeKey)>,
    /// Tasks that may not be needed any more. Some may be forgotten by the time they are looked at.
    unneeded: Vec<NodeKey>,
    /// Waiting tasks that no longer miss an input.
    ready: Vec<(TaskIndex, NodeKey)>,
}

/// What the report of a loss says about the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    /// It has vanished.
    New,
    /// The reporting task was released before a loss that is known, and may have met that one.
    Known,
}

impl<'a> Turn<'a> {
    pub(super) fn new(nodes: &'a mut Nodes) -> Self {
        Self {
            nodes,
            commands: Vec::new(),
            starts: Vec::new(),
            blocked: VecDeque::new(),
            unneeded: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// `submitted` has all tasks that were ever accepted.
    pub(super) fn on_submitted(
        &mut self,
        submitted: &mut Seen,
        task: TaskIndex,
        inputs: Vec<TaskIndex>,
        is_repeatable: bool,
    ) {
        if submitted.contains(task) {
            return;
        }
        let added = self
            .find_inputs(submitted, task, inputs)
            .and_then(|inputs| self.add(task, &inputs, is_repeatable));
        match added {
            Ok(key) => {
                submitted.insert(task);
                self.starts.push(key);
            }
            Err(refusal) => self.commands.push(Command::Refuse(task, refusal)),
        }
    }

    pub(super) fn on_ended(&mut self, task: TaskIndex, how: Ended) {
        let Some((key, state)) = self.find(task) else {
            return;
        };
        match (state, how) {
            // Not released also counts: another owner of the graph may know more.
            (State::Waiting { .. } | State::Released, Ended::Completed) => self.complete(key),
            (State::Waiting { .. } | State::Released, Ended::Failed) => {
                self.fail(key, State::Failed);
            }
            (State::Waiting { .. } | State::Released, Ended::Cancelled) => {
                self.fail(key, State::Cancelled);
            }
            // It was stopped too late, or is told a second time.
            (State::Idle, Ended::Completed) => self.commands.push(Command::LetGo(task)),
            (State::Idle, Ended::Failed | Ended::Cancelled)
            | (
                State::Held
                | State::Failed
                | State::Cancelled
                | State::Unrecoverable
                | State::Blocked(_),
                _,
            ) => {}
        }
    }

    pub(super) fn on_unwanted(&mut self, task: TaskIndex) {
        if let Some(key) = self.nodes.find(task)
            && let Some(node) = self.nodes.get_mut(key)
        {
            node.is_wanted = false;
            self.unneeded.push(key);
        }
    }

    pub(super) fn on_wanted(&mut self, task: TaskIndex) {
        let Some(key) = self.nodes.find(task) else {
            return;
        };
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        if node.is_wanted {
            return;
        }
        node.is_wanted = true;
        match node.state() {
            State::Idle => self.starts.push(key),
            State::Waiting { .. }
            | State::Released
            | State::Held
            | State::Failed
            | State::Cancelled
            | State::Unrecoverable
            | State::Blocked(_) => self.resolve(key),
        }
    }

    pub(super) fn on_cancel(&mut self, task: TaskIndex) {
        let Some((key, state)) = self.find(task) else {
            return;
        };
        if state == State::Released {
            self.commands.push(Command::Stop(task));
        }
        if state.is_active() {
            self.fail(key, State::Cancelled);
        }
    }

    pub(super) fn on_retry(&mut self, task: TaskIndex) {
        let Some((key, state)) = self.find(task) else {
            return;
        };
        if !matches!(
            state,
            State::Failed | State::Cancelled | State::Unrecoverable
        ) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(key) {
            // The caller asks for it, so a task that is not repeatable is run once more too.
            node.losses = 0;
            node.has_completed = false;
        }
        let mut resets = vec![key];
        while let Some(key) = resets.pop() {
            self.nodes.set_state(key, State::Idle);
            if let Some(node) = self.nodes.get(key) {
                if node.is_wanted {
                    self.commands.push(Command::Reopen(node.task));
                }
                if node.is_needed() {
                    self.starts.push(key);
                }
            }
            let mut cursor = self.nodes.dependents(key);
            while let Some((dependent, next)) = self.nodes.dependent_at(cursor) {
                cursor = next;
                if let Some(State::Blocked(block)) = self.state(dependent)
                    && block.via == key
                {
                    resets.push(dependent);
                }
            }
        }
    }

    pub(super) fn on_lost(&mut self, result: TaskIndex, dependent: Option<TaskIndex>) {
        let Some((key, _)) = self.find(result) else {
            return;
        };
        let report = dependent
            .and_then(|dependent| self.nodes.find(dependent))
            .map_or(Report::New, |dependent| self.wait_again(dependent, key));
        if report == Report::New && self.state(key) == Some(State::Held) {
            self.lose(key);
        }
    }

    /// Empties the work lists and returns the commands.
    pub(super) fn finish(mut self) -> Vec<Command> {
        while let Some(key) = self.starts.pop() {
            self.start(key);
        }
        while let Some((key, via)) = self.blocked.pop_front() {
            if matches!(self.state(key), Some(State::Waiting { .. })) {
                let block = path::block(self.nodes, key, via);
                self.fail(key, State::Blocked(block));
            }
        }
        while let Some(key) = self.unneeded.pop() {
            self.review(key);
        }
        // Earlier tasks first, whatever the order of the lists.
        self.ready.sort_unstable_by_key(|(task, _)| *task);
        for (task, key) in std::mem::take(&mut self.ready) {
            if self.state(key) == Some(State::Waiting { missing: 0 }) {
                self.nodes.set_state(key, State::Released);
                if let Some(node) = self.nodes.get_mut(key) {
                    node.is_stale = false;
                }
                self.commands.push(Command::Release(task));
            }
        }
        self.commands
    }

    fn find_inputs(
        &self,
        submitted: &Seen,
        task: TaskIndex,
        mut inputs: Vec<TaskIndex>,
    ) -> Result<Vec<NodeKey>, Refusal> {
        inputs.sort_unstable();
        inputs.dedup();
        inputs
            .into_iter()
            .map(|input| match self.nodes.find(input) {
                _ if input >= task => Err(Refusal::NotBefore(input)),
                Some(key) => Ok(key),
                None if submitted.contains(input) => Err(Refusal::Forgotten(input)),
                None => Err(Refusal::Unknown(input)),
            })
            .collect()
    }

    fn add(
        &mut self,
        task: TaskIndex,
        inputs: &[NodeKey],
        is_repeatable: bool,
    ) -> Result<NodeKey, Refusal> {
        if task == TaskIndex::MAX {
            return Err(Refusal::Full);
        }
        self.nodes
            .insert(task, inputs, is_repeatable)
            .ok_or(Refusal::Full)
    }

    fn find(&self, task: TaskIndex) -> Option<(NodeKey, State)> {
        let key = self.nodes.find(task)?;
        Some((key, self.state(key)?))
    }

    fn state(&self, key: NodeKey) -> Option<State> {
        self.nodes.get(key).map(|node| node.state())
    }

    fn resolve(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get(key)
            && node.is_wanted
            && let Some(end) = path::end(self.nodes, key)
        {
            self.commands.push(Command::Resolve(node.task, end));
        }
    }

    /// Lets an idle task wait for its inputs, and starts those that are idle.
    fn start(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if node.state() != State::Idle {
            return;
        }
        if node.is_spent() {
            return self.fail(key, State::Unrecoverable);
        }
        let mut cursor = self.nodes.inputs(key);
        while let Some((input, next)) = self.nodes.input_at(cursor) {
            cursor = next;
            if let Some(input) = self.nodes.get_mut(input) {
                input.demand += 1;
            }
            if self.state(input) == Some(State::Idle) {
                self.starts.push(input);
            }
        }
        self.wait(key);
    }

    /// Counts the inputs that a task misses. One that failed blocks it.
    fn wait(&mut self, key: NodeKey) {
        let mut missing = 0;
        let mut failure = None;
        let mut cursor = self.nodes.inputs(key);
        while let Some((input, next)) = self.nodes.input_at(cursor) {
            cursor = next;
            match self.state(input) {
                Some(State::Held) => {}
                Some(state) => {
                    missing += 1;
                    if state.is_failure() && failure.is_none() {
                        failure = Some(input);
                    }
                }
                None => {}
            }
        }
        self.nodes.set_state(key, State::Waiting { missing });
        if let Some(failure) = failure {
            self.blocked.push_back((key, failure));
        }
        self.mark_ready(key);
    }

    fn mark_ready(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get(key)
            && node.state() == (State::Waiting { missing: 0 })
        {
            self.ready.push((node.task, key));
        }
    }

    fn complete(&mut self, key: NodeKey) {
        self.nodes.set_state(key, State::Held);
        if let Some(node) = self.nodes.get_mut(key) {
            node.has_completed = true;
        }
        self.leave_inputs(key);
        self.resolve(key);
        let mut cursor = self.nodes.dependents(key);
        while let Some((dependent, next)) = self.nodes.dependent_at(cursor) {
            cursor = next;
            if let Some(State::Waiting { missing }) = self.state(dependent) {
                let missing = missing.saturating_sub(1);
                self.nodes.set_state(dependent, State::Waiting { missing });
                self.mark_ready(dependent);
            }
        }
    }

    /// Ends a task without a result. What waits for it is blocked; what was released is not
    /// stopped: it had the result of an earlier run, and may have read it.
    fn fail(&mut self, key: NodeKey, how: State) {
        let was_active = self.state(key).is_some_and(State::is_active);
        self.nodes.set_state(key, how);
        if was_active {
            self.leave_inputs(key);
        }
        self.resolve(key);
        let mut cursor = self.nodes.dependents(key);
        while let Some((dependent, next)) = self.nodes.dependent_at(cursor) {
            cursor = next;
            if matches!(self.state(dependent), Some(State::Waiting { .. })) {
                self.blocked.push_back((dependent, key));
            }
        }
    }

    /// A task that was active needs its inputs no more.
    fn leave_inputs(&mut self, key: NodeKey) {
        let mut cursor = self.nodes.inputs(key);
        while let Some((input, next)) = self.nodes.input_at(cursor) {
            cursor = next;
            if let Some(node) = self.nodes.get_mut(input) {
                node.demand = node.demand.saturating_sub(1);
                if !node.is_needed() {
                    self.unneeded.push(input);
                }
            }
        }
    }

    /// Stops, lets go and forgets a task as far as nothing needs it.
    fn review(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get(key) else {
            return;
        };
        if node.is_needed() {
            return;
        }
        match node.state() {
            State::Released => self.commands.push(Command::Stop(node.task)),
            State::Held => self.commands.push(Command::LetGo(node.task)),
            State::Waiting { .. }
            | State::Idle
            | State::Failed
            | State::Cancelled
            | State::Unrecoverable
            | State::Blocked(_) => {}
        }
        if !node.state().is_failure() {
            self.nodes.set_state(key, State::Idle);
        }
        if node.state().is_active() {
            self.leave_inputs(key);
        }
        if !node.has_dependents() {
            self.commands.push(Command::Forget(node.task));
            while let Some(input) = self.nodes.unlink_input(key) {
                self.unneeded.push(input);
            }
            self.nodes.remove(key);
        }
    }

    /// Lets a released task wait again that could not read an input.
    fn wait_again(&mut self, dependent: NodeKey, input: NodeKey) -> Report {
        let Some(node) = self.nodes.get(dependent) else {
            return Report::New;
        };
        if node.state() != State::Released || !self.nodes.has_input(dependent, input) {
            return Report::New;
        }
        self.wait(dependent);
        if node.is_stale {
            Report::Known
        } else {
            Report::New
        }
    }

    /// The held result of a task has vanished. Everything that is held is needed, so the task is
    /// started again.
    fn lose(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key) else {
            return;
        };
        node.losses = node.losses.saturating_add(1);
        let losses = node.losses;
        self.commands.push(Command::Reopen(node.task));
        let mut cursor = self.nodes.dependents(key);
        while let Some((dependent, next)) = self.nodes.dependent_at(cursor) {
            cursor = next;
            match self.state(dependent) {
                Some(State::Waiting { missing }) => {
                    let missing = missing + 1;
                    self.nodes.set_state(dependent, State::Waiting { missing });
                }
                Some(State::Released) => {
                    if let Some(node) = self.nodes.get_mut(dependent) {
                        node.is_stale = true;
                    }
                }
                Some(
                    State::Idle
                    | State::Held
                    | State::Failed
                    | State::Cancelled
                    | State::Unrecoverable
                    | State::Blocked(_),
                )
                | None => {}
            }
        }
        if losses > LOSSES_MAX {
            self.fail(key, State::Unrecoverable);
        } else {
            self.nodes.set_state(key, State::Idle);
            self.starts.push(key);
        }
    }
}
