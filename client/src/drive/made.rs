//! Tasks as an open job's driver gets them.

use std::sync::Arc;

use sortie_protocol::filling;
use sortie_protocol::submission::NoTask;
use sortie_protocol::{
    Ending, FunctionIndex, InputName, JobKey, Output, Part, Signature, Task, TaskIndex,
};
use tokio::sync::OwnedSemaphorePermit;

use super::parts;
use super::values::{Taker, Values};

/// What goes to the driver: a task, or how one ends that no worker gets; with what it takes of the
/// room for tasks that wait.
pub(crate) type Released = (Box<Made>, Option<OwnedSemaphorePermit>);

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
        let arguments = if parts.iter().all(filling::is_inline) {
            filling::fill(&signature, parts)
        } else {
            let task = Some(index);
            let taker = Taker { job, task };
            Box::pin(parts::fetch(values, taker, (&signature, parts))).await
        };
        match arguments {
            Ok(arguments) => Ok(Task {
                index,
                arguments,
                function,
                input,
                then: Vec::new(),
            }),
            Err(failure) => Err(NoTask {
                index,
                ending: Ending::Failed(failure),
                input,
            }),
        }
    }
}
