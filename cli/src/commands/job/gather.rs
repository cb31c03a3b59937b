//! `sortie job gather`: the results of a job that was submitted before.
//!
//! The job is removed from the broker only after every line was written: if this process ends
//! earlier, the results can be gathered again.

use std::sync::Arc;

use sortie::protocol::JobId;
use sortie::{Client, Job, SubmitError};
use sortie_frontend::binding::{InFlight, Order};
use sortie_frontend::chain;
use sortie_frontend::results::{Reorder, Target};
use sortie_frontend::session::{Keeps, open_output};
use sortie_frontend::settings::Environment;

use crate::arguments::job::Gather;
use crate::ending::{Ending, Error, refused};
use crate::follow::{OnSignal, Run, Stopped};
use crate::session::{find, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::stdout;
use crate::terminal::summary::Summary;

/// Run the command.
pub(super) async fn run(
    arguments: &Gather,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (client, id) = find(&arguments.job, &arguments.broker, environment, interrupt).await?;
    let mut job = interrupt
        .or(client.attach::<()>(id))
        .await?
        .map_err(|error| refused_job(&arguments.job, error))?;
    let target = Target::parse(arguments.output.as_deref(), &environment.folder)?;
    let output = open_output(&target, stdout::lines, environment, interrupt.stop()).await?;
    let results = if stdout::is_terminal(&output) {
        Results::OnTerminal
    } else {
        Results::Elsewhere
    };
    let mut run = Run {
        output,
        // The inputs are not known here.
        in_flight: Arc::new(InFlight::new(Order::Nowhere)),
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        results,
        progress: Progress::start(arguments.progress, results),
        total: None,
        on_signal: OnSignal::Leave,
        keeps: Keeps::Job,
        lacks_values: false,
    };
    match run.drive(&mut job, interrupt).await? {
        Stopped::ByReader => {
            run.progress.finish();
            Ok(run.ending())
        }
        Stopped::BySignal => {
            run.sum_up();
            terminal::say("interrupted; the job goes on, and its results can be gathered again");
            Ok(Ending::Interrupted)
        }
        Stopped::AtEnd => {
            run.sum_up();
            conclude(&run, &job, id, &client, arguments.keep, interrupt).await
        }
    }
}

async fn conclude(
    run: &Run,
    job: &Job<()>,
    id: JobId,
    client: &Client,
    keep: bool,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (progress, ended) = (job.progress(), run.summary.ended());
    match job.trouble() {
        Some(lost @ SubmitError::Lost { .. }) => {
            return Err(Error::Platform(format!(
                "{}. The others were written; `sortie job forget {id}` drops the job",
                chain(lost)
            )));
        }
        Some(trouble) => {
            return Err(Error::Platform(format!(
                "the results ended early, after {ended} tasks: {}; gather them again",
                chain(trouble)
            )));
        }
        None => {}
    }
    if progress.cancelled {
        terminal::say("the job was cancelled; these are the results of the tasks that had ended");
    } else if !progress.complete {
        terminal::say(&format!(
            "its submitter is gone and has not said that these are all. The job is kept, to be \
             gathered again; `sortie job forget {id}` drops it"
        ));
        return Ok(run.ending());
    }
    if !keep {
        interrupt.or(client.forget(id)).await?.map_err(refused)?;
    }
    Ok(if progress.cancelled {
        Ending::TasksFailed
    } else {
        run.ending()
    })
}
