//! Waits for the results that a task takes, where its job does not know the tasks that they are of.

use sortie_protocol::filling;
use sortie_protocol::{Argument, Backtrace, Ending, Failure, Output, Part, Signature};

use super::parts;
use super::submitted::{Dependency, Submitted};
use super::values::{Taker, Values};

/// The arguments with all results in their places, once they are there. Cancel safe.
///
/// # Errors
/// The failure of the task that takes them.
pub(crate) async fn resolved(
    signature: &Signature,
    parts: Vec<Part<Dependency>>,
    values: &Values,
    taker: Taker,
) -> Result<Vec<Argument>, Failure> {
    if parts.iter().all(|part| part.tasks().is_empty()) {
        let ready = parts.into_iter().filter_map(Part::into_ready).collect();
        return values.send(taker, ready).await;
    }
    // Boxed: few arguments have results in them, and the future of all others is small.
    Box::pin(awaited(signature, parts, values, taker)).await
}

async fn awaited(
    signature: &Signature,
    parts: Vec<Part<Dependency>>,
    values: &Values,
    taker: Taker,
) -> Result<Vec<Argument>, Failure> {
    let mut filled = Vec::with_capacity(parts.len());
    for part in parts {
        filled.push(match part {
            Part::Ready(argument) => Part::Ready(argument),
            Part::Result(of) => Part::Result(match output(&of.0).await? {
                // It goes with the job that it is of.
                kept @ Output::AtBroker(_) => values.item(taker.job.tenant, &kept).await?.into(),
                output => output,
            }),
            Part::Template(value, of) => Part::Template(value, outputs(&of).await?),
            Part::Objects(list, of) => Part::Objects(list, outputs(&of).await?),
        });
    }
    if filled.iter().all(filling::is_inline) {
        return values.send(taker, filling::fill(signature, filled)?).await;
    }
    parts::fetch(values, taker, (signature, filled)).await
}

/// The results of tasks, once they are there.
async fn outputs(of: &[Dependency]) -> Result<Vec<Output>, Failure> {
    let mut results = Vec::with_capacity(of.len());
    for task in of {
        results.push(output(&task.0).await?);
    }
    Ok(results)
}

/// The result of a task, once it is there.
async fn output(task: &Submitted) -> Result<Output, Failure> {
    let failure = match task.slot.wait().await {
        Ok(outcome) => match &outcome.ending {
            Ending::Completed(output) => return Ok(output.clone()),
            Ending::Failed(failure) => failure.clone().at(Backtrace::default()),
            Ending::Cancelled => Failure::host("it was cancelled"),
        },
        Err(gone) => Failure::host(gone.reason.to_string()),
    };
    Err(Failure::Upstream {
        failure: Box::new(failure),
        path: vec![task.index],
        omitted: 0,
    })
}
