//! A job's graph as the broker keeps it: what whoever coordinates the job next has to know.
//!
//! The submitter of an open job appends entries for tasks that wait for others. What is released
//! needs none: its bundle is at the broker. Together with the bundles that did not end and the
//! outcomes, the entries say all that is known of the job.

use minicbor::{Decode, Encode};

use crate::function::FunctionIndex;
use crate::id::TaskIndex;
use crate::input_name::InputName;
use crate::part::Part;
use crate::signature::Signature;

/// One entry of a job's graph. Later entries only add to earlier ones, and one that is there twice
/// is there once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum GraphEntry {
    /// What a function of the job's table takes. Before the first task that calls it.
    #[n(0)]
    Function(#[n(0)] FunctionIndex, #[n(1)] Signature),
    /// A task that waits for results.
    #[n(1)]
    Waiting(#[n(0)] WaitingTask),
}

/// A task that waits for results of others.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WaitingTask {
    /// Its position in the job.
    #[n(0)]
    pub index: TaskIndex,
    /// Which function of its job it calls.
    #[n(1)]
    pub function: FunctionIndex,
    /// Its arguments, with the results that they take, of tasks before it.
    #[n(2)]
    pub parts: Vec<Part<TaskIndex>>,
    /// What its submitter calls its input.
    #[n(3)]
    pub input: Option<InputName>,
    /// Whether a second run gives the same result.
    #[n(4)]
    pub repeatable: bool,
}

impl WaitingTask {
    /// The tasks whose results it takes.
    pub fn inputs(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.parts.iter().flat_map(Part::tasks).copied()
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        let parts = self.parts.iter();
        let parts = parts.map(|part| part.weight() + 10 * part.tasks().len() + 8);
        let input = self.input.as_ref().map_or(0, InputName::weight);
        parts.sum::<usize>() + input + 24
    }
}

impl GraphEntry {
    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Function(_, signature) => {
                let parameters = &signature.parameters;
                let names = parameters
                    .iter()
                    .map(|parameter| parameter.name.len() + parameter.type_name.len() + 8);
                signature.name.len() + signature.doc.len() + names.sum::<usize>() + 16
            }
            Self::Waiting(task) => task.weight(),
        }
    }
}
