//! Decides when tasks run whose arguments are results of other tasks.
//!
//! The machine is told what happens to the tasks of a graph, and returns what to do: which task to
//! run, which to stop, whose future to resolve, which results and definitions to drop. It holds no
//! arguments and no results, reads no clock and does no I/O.
//!
//! - A task is released when the results of all its inputs are held.
//! - A task is wanted from its submission until [`Event::Unwanted`]. Its result is needed while it
//!   is wanted, or a dependent waits or runs. What is not needed any more is stopped or let go.
//! - A task that fails blocks everything that waits for it, however far below. A task that was
//!   released is never stopped for that: it had all its inputs, and may have read them.
//! - A definition is kept while the task is wanted or a dependent is kept, so that a result that
//!   vanished can be computed again, with inputs that were let go. The result of one task may
//!   vanish [`LOSSES_MAX`] times. A task that is not repeatable is never run again after it
//!   completed, unless [`Event::Retry`] asks for it.
//!
//! Several owners may each have a machine for the same graph. Events may come to each of them more
//! than once, and events about different tasks in any order, except that a task must be submitted
//! after its inputs and before these are unwanted. An ending that is delivered again after its task
//! was started again counts as the ending of the new run: if it is wrong, the missing result is
//! reported as lost later. Events about tasks that are unknown or forgotten change nothing.
//!
//! A task takes 48 bytes, each input 20, and the index at most 35: with three inputs 143, or up to
//! 170 while vectors have grown and are not full. The memory of forgotten tasks is reused, and
//! given back when the graph is empty. A graph holds at most 2³² - 2 tasks and as many inputs in
//! total. An event takes time in proportion to the tasks that it changes and their edges.

pub use self::messages::{
    Command, Counts, End, Ended, Event, LOSSES_MAX, PATH_TASKS_MAX, Path, Refusal,
};
use self::nodes::{Nodes, State};
use self::turn::Turn;
use crate::id::TaskIndex;
use crate::seen::Seen;

mod messages;
mod nodes;
mod path;
mod slab;
#[cfg(test)]
mod tests;
mod turn;

/// The tasks of a job whose arguments are results of other tasks of the job.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Nodes,
    /// All that were ever submitted, so that a repeated event does not bring back a task that was
    /// forgotten. As these are ranges, tasks in sequence take no memory.
    submitted: Seen,
}

impl Graph {
    /// Process an event. The commands are to be carried out in this order.
    #[must_use]
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        let mut turn = Turn::new(&mut self.nodes);
        match event {
            Event::Submitted {
                task,
                inputs,
                repeatable,
            } => turn.on_submitted(&mut self.submitted, task, inputs, repeatable),
            Event::Ended { task, how } => turn.on_ended(task, how),
            Event::Unwanted(task) => turn.on_unwanted(task),
            Event::Wanted(task) => turn.on_wanted(task),
            Event::Cancel(task) => turn.on_cancel(task),
            Event::Retry(task) => turn.on_retry(task),
            Event::Lost { result, dependent } => turn.on_lost(result, dependent),
        }
        turn.finish()
    }

    /// Whether no task is known: all were forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts().total() == 0
    }

    /// Whether a task that waits or runs takes the result of this one.
    #[must_use]
    pub fn is_taken(&self, task: TaskIndex) -> bool {
        let node = self.nodes.find(task).and_then(|key| self.nodes.get(key));
        node.is_some_and(|node| node.demand > 0)
    }

    /// Whether the task waits, runs, or has a result that is held.
    #[must_use]
    pub fn is_live(&self, task: TaskIndex) -> bool {
        let node = self.nodes.find(task).and_then(|key| self.nodes.get(key));
        node.is_some_and(|node| node.state().is_active() || node.state() == State::Held)
    }

    /// The task because of which this one ended without a result: itself, or one whose result it
    /// takes, directly or through others. None if it has a result, or did not end.
    #[must_use]
    pub fn cause(&self, task: TaskIndex) -> Option<TaskIndex> {
        match path::end(&self.nodes, self.nodes.find(task)?)? {
            End::Completed => None,
            End::Failed | End::Cancelled => Some(task),
            End::UpstreamFailed(path) | End::UpstreamCancelled(path) | End::Unrecoverable(path) => {
                Some(path.cause)
            }
        }
    }

    /// The task that can be run right after this one, in the same place: it waits for the result of
    /// this task and for nothing else, nothing else takes that result, and a second run of either
    /// gives what the first gave.
    #[must_use]
    pub fn follower(&self, task: TaskIndex) -> Option<TaskIndex> {
        let key = self.nodes.find(task)?;
        let (follower, more) = self.nodes.dependent_at(self.nodes.dependents(key))?;
        let (of, more_inputs) = self.nodes.input_at(self.nodes.inputs(follower))?;
        let (node, next) = (self.nodes.get(key)?, self.nodes.get(follower)?);
        let is_only = more.is_none() && more_inputs.is_none() && of == key;
        let is_next = node.state().is_active() && next.waits_for_one();
        (is_only && is_next && node.is_repeatable() && next.is_repeatable()).then_some(next.task)
    }

    /// How many tasks are in which state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.nodes.counts()
    }

    /// How many inputs all known tasks have together.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.nodes.edges()
    }
}
