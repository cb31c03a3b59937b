//! The stored tasks of a graph and the edges between them.
//!
//! An edge is in two linked lists: the inputs of a task, and the dependents of an input. The second
//! is linked both ways, so that one of 100,000 dependents is removed in one step. Lists are walked
//! with a cursor, because the tasks at their other ends change meanwhile:
//! `while let Some((input, next)) = nodes.input_at(cursor)`.
//!
//! A task takes 48 bytes, an edge 20, and the index at most 35 per task.

use std::collections::BTreeMap;

use super::messages::Counts;
use super::slab::{ENTRIES_MAX, Key, Slab};
use crate::id::TaskIndex;

/// The key of a task.
pub(super) type NodeKey = Key<Node>;
/// A position in a list of inputs or dependents.
pub(super) type Cursor = Option<Key<Edge>>;

/// What a task does or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is no result and none is needed. Also a task that was just submitted or is about to be
    /// started again, within one event.
    Idle,
    /// It is needed, and so many inputs have no held result.
    Waiting {
        missing: u32,
    },
    /// It is needed, and was released.
    Released,
    /// It completed, and its result is held.
    Held,
    Failed,
    Cancelled,
    Unrecoverable,
    /// An input of it failed, was cancelled, is unrecoverable or is blocked.
    Blocked(Block),
}

/// How a blocked task is connected to the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// The input on the path to the cause.
    pub(super) via: NodeKey,
    /// The last task of the path's first half, or this task if the path is not longer than that.
    pub(super) head: NodeKey,
    /// How many tasks precede this one on the path.
    pub(super) depth: u32,
}

impl State {
    /// Whether the task waits or was released. Then it needs its inputs.
    pub(super) fn is_active(self) -> bool {
        match self {
            Self::Waiting { .. } | Self::Released => true,
            Self::Idle
            | Self::Held
            | Self::Failed
            | Self::Cancelled
            | Self::Unrecoverable
            | Self::Blocked(_) => false,
        }
    }

    /// Whether the task ended without a result, so that nothing below it can be run.
    pub(super) fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Cancelled | Self::Unrecoverable | Self::Blocked(_) => true,
            Self::Idle | Self::Waiting { .. } | Self::Released | Self::Held => false,
        }
    }
}

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) task: TaskIndex,
    state: State,
    /// How many dependents wait or are released.
    pub(super) demand: u32,
    inputs: Cursor,
    dependents: Cursor,
    /// Somebody holds its future.
    pub(super) is_wanted: bool,
    is_repeatable: bool,
    /// It completed in an earlier run or in this one.
    pub(super) has_completed: bool,
    /// The result of an input has vanished after this task was released.
    pub(super) is_stale: bool,
    /// How often its result has vanished.
    pub(super) losses: u8,
}

impl Node {
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether its future or an active dependent needs its result.
    pub(super) fn is_needed(&self) -> bool {
        self.is_wanted || self.demand > 0
    }

    /// Whether a further run would give another result than the one that was used.
    pub(super) fn is_spent(&self) -> bool {
        self.has_completed && !self.is_repeatable
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    /// Whether it waits for one result.
    pub(super) fn waits_for_one(&self) -> bool {
        self.state == State::Waiting { missing: 1 }
    }

    pub(super) fn has_dependents(&self) -> bool {
        self.dependents.is_some()
    }
}

/// One input of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    input: NodeKey,
    dependent: NodeKey,
    /// The next input of the same dependent.
    next_input: Cursor,
    /// The next and the previous dependent of the same input.
    next: Cursor,
    previous: Cursor,
}

/// All tasks of a graph.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Slab<Node>,
    edges: Slab<Edge>,
    keys: BTreeMap<TaskIndex, NodeKey>,
    counts: Counts,
}

impl Nodes {
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn edges(&self) -> usize {
        self.edges.len()
    }

    pub(super) fn find(&self, task: TaskIndex) -> Option<NodeKey> {
        self.keys.get(&task).copied()
    }

    pub(super) fn get(&self, key: NodeKey) -> Option<Node> {
        self.nodes.get(key)
    }

    pub(super) fn get_mut(&mut self, key: NodeKey) -> Option<&mut Node> {
        self.nodes.get_mut(key)
    }

    /// Adds a wanted task in [`State::Idle`]; `None` if there is no room for it. Its index must be
    /// new, and each input different.
    pub(super) fn insert(
        &mut self,
        task: TaskIndex,
        inputs: &[NodeKey],
        is_repeatable: bool,
    ) -> Option<NodeKey> {
        if self.edges.len() + inputs.len() > ENTRIES_MAX {
            return None;
        }
        let key = self.nodes.insert(Node {
            task,
            state: State::Idle,
            demand: 0,
            inputs: None,
            dependents: None,
            is_wanted: true,
            is_repeatable,
            has_completed: false,
            is_stale: false,
            losses: 0,
        })?;
        self.counts.idle += 1;
        self.keys.insert(task, key);
        // Each is put first, so the list has them in order.
        for input in inputs.iter().rev() {
            self.link(key, *input);
        }
        Some(key)
    }

    fn link(&mut self, dependent: NodeKey, input: NodeKey) {
        let inputs = self.nodes.get(dependent).and_then(|node| node.inputs);
        let dependents = self.nodes.get(input).and_then(|node| node.dependents);
        let edge = self.edges.insert(Edge {
            input,
            dependent,
            next_input: inputs,
            next: dependents,
            previous: None,
        });
        if let Some(next) = dependents.and_then(|next| self.edges.get_mut(next)) {
            next.previous = edge;
        }
        if let Some(node) = self.nodes.get_mut(input) {
            node.dependents = edge;
        }
        if let Some(node) = self.nodes.get_mut(dependent) {
            node.inputs = edge;
        }
    }

    /// Removes a task's first input from its list, and returns that input.
    pub(super) fn unlink_input(&mut self, dependent: NodeKey) -> Option<NodeKey> {
        let node = self.nodes.get_mut(dependent)?;
        let key = node.inputs?;
        let edge = self.edges.get(key)?;
        node.inputs = edge.next_input;
        match edge.previous {
            Some(previous) => self.edges.get_mut(previous)?.next = edge.next,
            None => self.nodes.get_mut(edge.input)?.dependents = edge.next,
        }
        if let Some(next) = edge.next {
            self.edges.get_mut(next)?.previous = edge.previous;
        }
        self.edges.remove(key);
        Some(edge.input)
    }

    /// Removes a task that has neither inputs nor dependents any more.
    pub(super) fn remove(&mut self, key: NodeKey) {
        if let Some(node) = self.nodes.get(key) {
            *count(&mut self.counts, node.state) -= 1;
            self.keys.remove(&node.task);
            self.nodes.remove(key);
        }
    }

    pub(super) fn set_state(&mut self, key: NodeKey, state: State) {
        if let Some(node) = self.nodes.get_mut(key) {
            *count(&mut self.counts, node.state) -= 1;
            *count(&mut self.counts, state) += 1;
            node.state = state;
        }
    }

    /// The start of a task's inputs.
    pub(super) fn inputs(&self, key: NodeKey) -> Cursor {
        self.nodes.get(key)?.inputs
    }

    /// The input at a position, and the next position.
    pub(super) fn input_at(&self, cursor: Cursor) -> Option<(NodeKey, Cursor)> {
        let edge = self.edges.get(cursor?)?;
        Some((edge.input, edge.next_input))
    }

    /// The start of a task's dependents.
    pub(super) fn dependents(&self, key: NodeKey) -> Cursor {
        self.nodes.get(key)?.dependents
    }

    /// The dependent at a position, and the next position.
    pub(super) fn dependent_at(&self, cursor: Cursor) -> Option<(NodeKey, Cursor)> {
        let edge = self.edges.get(cursor?)?;
        Some((edge.dependent, edge.next))
    }

    /// Whether `input` is an input of a task. Takes as many steps as the task has inputs.
    pub(super) fn has_input(&self, dependent: NodeKey, input: NodeKey) -> bool {
        let mut cursor = self.inputs(dependent);
        while let Some((other, next)) = self.input_at(cursor) {
            if other == input {
                return true;
            }
            cursor = next;
        }
        false
    }

    /// The bytes of tasks and edges, unused capacity included, and a bound for the index: a node of
    /// the map takes 144 bytes for at least five tasks, and what is above the leaves a fifth more.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes() + self.edges.bytes() + self.keys.len() * 144 / 5 * 6 / 5
    }
}

fn count(counts: &mut Counts, state: State) -> &mut usize {
    match state {
        State::Idle => &mut counts.idle,
        State::Waiting { .. } => &mut counts.waiting,
        State::Released => &mut counts.released,
        State::Held => &mut counts.held,
        State::Failed => &mut counts.failed,
        State::Cancelled => &mut counts.cancelled,
        State::Unrecoverable => &mut counts.unrecoverable,
        State::Blocked(_) => &mut counts.blocked,
    }
}
