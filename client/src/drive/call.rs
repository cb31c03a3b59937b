//! Calls of functions whose arguments may not be there yet.

use std::sync::Arc;

use sortie_protocol::{
    Argument, FunctionIndex, InputName, Part, Signature, TaskIndex, WaitingTask,
};

/// What a task calls, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) function: FunctionIndex,
    pub(crate) signature: Arc<Signature>,
    pub(crate) parts: Vec<Part<TaskIndex>>,
    pub(crate) input: Option<InputName>,
    /// Whether a second run gives the same result.
    pub(crate) repeatable: bool,
}

impl Call {
    /// About how many bytes it takes while it is kept.
    pub(crate) fn weight(&self) -> usize {
        let parts: usize = self.parts.iter().map(Part::weight).sum();
        parts + self.input.as_ref().map_or(0, InputName::weight)
    }

    /// The same as a message has it, of the task at this index.
    pub(crate) fn waiting(&self, index: TaskIndex) -> WaitingTask {
        WaitingTask {
            index,
            function: self.function,
            parts: self.parts.clone(),
            input: self.input.clone(),
            repeatable: self.repeatable,
        }
    }

    /// Whether nothing of it is elsewhere but results of other tasks.
    pub(crate) fn is_here(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Ready(argument) => matches!(argument, Argument::Value(_)),
            Part::Result(_) | Part::Template(..) => true,
            Part::Objects(..) => false,
        })
    }

    /// Whose results it takes.
    pub(crate) fn inputs(&self) -> Vec<TaskIndex> {
        let tasks = self.parts.iter().flat_map(Part::tasks);
        tasks.copied().collect()
    }
}

/// A job that another process left, as far as tasks wait in it.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// The tasks that wait, each after its inputs.
    pub(crate) waiting: Vec<(TaskIndex, Call)>,
    /// How many tasks its submitter had a place for, and the broker does not have.
    pub(crate) missing: u64,
    /// How many tasks there are.
    pub(crate) total: TaskIndex,
}
