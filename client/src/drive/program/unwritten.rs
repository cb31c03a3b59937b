//! What of a graph is to be written to the broker: tasks that wait for others.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{FunctionIndex, GraphEntry, Signature, TaskIndex, WaitingTask};
use tokio::sync::Notify;

use super::{Phase, Program, State};

/// About how many bytes of a graph are written with one request.
const WRITTEN_AT_ONCE: usize = 64 << 10;
/// What of a graph is to be written to the broker.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) tasks: VecDeque<TaskIndex>,
    /// Functions whose signatures are written.
    functions: HashSet<FunctionIndex>,
    /// Somebody else has sealed the job.
    pub(super) is_sealed: bool,
    /// About how much was written.
    pub(super) written_bytes: usize,
    /// Signalled when a task is added.
    more: Arc<Notify>,
}

impl Program {
    /// The next entries of its graph for the broker, about so many bytes.
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
        let entries = state.take_unwritten();
        let unwritten = state.unwritten.as_ref();
        (entries, unwritten.map(|unwritten| unwritten.more.clone()))
    }
}

impl State {
    /// Have a task written to the broker if it waits.
    pub(super) fn note_waiting(&mut self, task: TaskIndex) {
        if let Some(unwritten) = &mut self.unwritten
            && let Some(node) = self.nodes.get(&task)
            && matches!(node.phase, Phase::Waiting(..))
        {
            unwritten.tasks.push_back(task);
            unwritten.more.notify_one();
        }
    }

    /// Entries for the tasks that still wait, of those that are not written.
    fn take_unwritten(&mut self) -> Vec<GraphEntry> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let Some(unwritten) = &mut self.unwritten else {
            return entries;
        };
        while bytes < WRITTEN_AT_ONCE
            && entries.len() + 2 <= TASKS_MAX
            && let Some(task) = unwritten.tasks.pop_front()
        {
            let Some(Phase::Waiting(call, _)) = self.nodes.get(&task).map(|node| &node.phase)
            else {
                continue;
            };
            if unwritten.functions.insert(call.function) {
                let signature = Signature::clone(&call.signature);
                entries.push(GraphEntry::Function(call.function, signature));
            }
            let entry = GraphEntry::Waiting(WaitingTask {
                index: task,
                function: call.function,
                parts: call.parts.clone(),
                input: call.input.clone(),
                repeatable: call.repeatable,
            });
            bytes += entry.weight();
            entries.push(entry);
        }
        unwritten.written_bytes = unwritten.written_bytes.saturating_add(bytes);
        entries
    }
}
