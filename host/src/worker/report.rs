//! Builds the report on a bundle for the broker: outcomes, and tasks to retry.

use sortie_broker::{Lease, Report, Retrial};
use sortie_protocol::retry::{self, Decision};
use sortie_protocol::{Ending, Failure, JobFunction, Outcome, Task};

use crate::attempt::Attempted;

/// The report of a bundle whose tasks cannot run here.
pub(super) fn refuse(lease: &Lease, failure: &Failure) -> Report {
    let mut report = Report::default();
    for task in &lease.bundle.tasks {
        let attempted = Attempted::failed(failure.clone());
        add(lease, task, (attempted, false), &mut report);
    }
    report
}

/// Add a task's end to the report: its outcome, or that it is to be tried again. A task may have
/// been cancelled alone.
pub(super) fn add(
    lease: &Lease,
    task: &Task,
    (attempted, is_cancelled_alone): (Attempted, bool),
    report: &mut Report,
) {
    let Attempted { ending, bill, log } = attempted;
    match &ending {
        // It has this outcome at the broker already; without it here the lease would count as lost.
        Ending::Cancelled if is_cancelled_alone => {}
        // Its lease was lost, or its job was cancelled, of which the broker has told the followers.
        Ending::Cancelled => return,
        Ending::Failed(failure) => {
            let function = lease.job.function(task.function);
            let decided = function.map(|JobFunction { options, .. }| {
                retry::decide(&options.retry, &options.grants, lease.attempt, failure)
            });
            if let Some(Decision::Again(after)) = decided {
                report.retrials.push(Retrial {
                    index: task.index,
                    after,
                });
                return;
            }
        }
        Ending::Completed(_) => {}
    }
    let attempted = Attempted { ending, bill, log };
    let outcome = outcome(task, lease.attempt, attempted);
    report.outcomes.push(outcome);
}

/// The outcome of a task after so many attempts.
pub(super) fn outcome(task: &Task, attempts: u32, attempted: Attempted) -> Outcome {
    let Attempted { ending, bill, log } = attempted;
    Outcome {
        index: task.index,
        attempts,
        ending,
        bill,
        log,
        input: task.input.clone(),
        function: Some(task.function),
    }
}
