//! What of a graph is to be written to the broker: tasks that wait for others.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{FunctionIndex, GraphEntry, Signature, TaskIndex};
use tokio::sync::Notify;

use super::call::Call;

/// About how many bytes of a graph are written with one request.
const WRITTEN_AT_ONCE: usize = 64 << 10;
/// What of a graph is to be written to the broker.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    tasks: VecDeque<TaskIndex>,
    /// Functions whose signatures are written.
    functions: HashSet<FunctionIndex>,
    /// Somebody else has sealed the job.
    pub(crate) is_sealed: bool,
    /// About how much was written.
    pub(crate) written_bytes: usize,
    /// Signalled when a task is added.
    pub(crate) more: Arc<Notify>,
}

impl Unwritten {
    /// A task waits.
    pub(crate) fn add(&mut self, task: TaskIndex) {
        self.tasks.push_back(task);
        self.more.notify_one();
    }

    /// Entries for the next of the tasks that still wait: then they have a call.
    pub(crate) fn take<'c>(
        &mut self,
        waiting: impl Fn(TaskIndex) -> Option<&'c Call>,
    ) -> Vec<GraphEntry> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < WRITTEN_AT_ONCE
            && entries.len() + 2 <= TASKS_MAX
            && let Some(task) = self.tasks.pop_front()
        {
            let Some(call) = waiting(task) else {
                continue;
            };
            if self.functions.insert(call.function) {
                let signature = Signature::clone(&call.signature);
                entries.push(GraphEntry::Function(call.function, signature));
            }
            let entry = GraphEntry::Waiting(call.waiting(task));
            bytes += entry.weight();
            entries.push(entry);
        }
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        entries
    }
}
