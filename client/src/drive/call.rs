//! Calls of functions whose arguments may not be there yet.

use std::sync::Arc;

use sortie_protocol::{FunctionIndex, InputName, Part, Signature, TaskIndex};

/// What a task calls, and with what.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: FunctionIndex,
    pub(crate) signature: Arc<Signature>,
    pub(crate) parts: Vec<Part<TaskIndex>>,
    pub(crate) input: Option<InputName>,
    /// Whether a second run gives the same result.
    pub(crate) repeatable: bool,
}

impl Call {
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
    /// Tasks that its submitter had a place for, and the broker never had.
    pub(crate) missing: Vec<TaskIndex>,
    /// How many tasks there are.
    pub(crate) total: TaskIndex,
}
