//! `sortie job gather`: the results of a job that was submitted before.
//!
//! The broker drops the results only when every line was written, and nobody else reads them:
//! whatever ends this process before, they can be gathered again.

use std::sync::Arc;

use sortie::protocol::JobId;
use sortie::{BrokerError, Client, Incomplete, Job, SubmitError};
use sortie_frontend::binding::{InFlight, Order};
use sortie_frontend::results::{Naming, Reorder, Stems, Taken, Target};
use sortie_frontend::session::{Keeps, SETTLE_TIME_MAX, open_output, settle};
use sortie_frontend::settings::{Clouds, Environment};
use sortie_frontend::{Stopped, chain};
use tokio::task::JoinSet;

use crate::arguments::job::Gather;
use crate::ending::{Ending, Error, refused};
use crate::follow::{self, OnSignal, Outputs, Run};
use crate::session::{find, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::stdout;
use crate::terminal::summary::Summary;
use crate::workers::WorkerNews;

/// What is said of a job that goes on when its results are not gathered any more.
const LEFT: &str = "interrupted; the job goes on, and its results can be gathered again";

/// Run the command.
pub(super) async fn run(
    arguments: &Gather,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let outputs = Outputs::of(&arguments.output)?;
    let target = Target::parse(outputs.results.as_deref(), &environment.folder)?;
    let (client, id) = find(&arguments.job, &arguments.broker, environment, interrupt).await?;
    let naming = naming(outputs.pattern.as_deref(), &client, environment)?;
    let mut job = interrupt
        .or(client.attach::<()>(id))
        .await?
        .map_err(|error| refused_job(&arguments.job, error))?;
    interrupt.set_parting(LEFT.into());
    let at = (&client, id);
    let ended = write(
        arguments,
        &mut job,
        at,
        (&target, naming),
        environment,
        interrupt,
    )
    .await;
    // The broker is told that nobody reads any more.
    drop(job);
    let time_max = interrupt.time_left().unwrap_or(SETTLE_TIME_MAX);
    let _ = settle(&client, time_max).await;
    ended
}

/// Write the results of a job that is followed.
async fn write(
    arguments: &Gather,
    job: &mut Job<()>,
    (client, id): (&Client, JobId),
    (target, naming): (&Target, Option<Naming>),
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    if let Some(naming) = &naming {
        naming.check(interrupt.stop()).await?;
    }
    let output = open_output(target, stdout::lines, environment, interrupt.stop()).await?;
    if output.whole_or_nothing().is_some() {
        interrupt.wait_for_upload();
    }
    let results = if stdout::is_terminal(&output) {
        Results::OnTerminal
    } else {
        Results::Elsewhere
    };
    let mut run = Run {
        output,
        // Each outcome says what its submitter called its input.
        in_flight: Arc::new(InFlight::new(Order::Nowhere)),
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        results,
        progress: Progress::start(arguments.progress, results, environment.terminal),
        total: None,
        on_signal: OnSignal::Leave,
        keeps: Keeps::Job,
        lacks_values: false,
        naming,
        copies: JoinSet::new(),
        asks: None,
        workers: Some(WorkerNews::start(client, id, None)),
    };
    match run.drive(job, interrupt).await? {
        follow::Stopped::ByReader => {
            run.progress.finish();
            Err(not_taken(id))
        }
        follow::Stopped::BySignal => {
            run.sum_up();
            terminal::say(LEFT);
            Ok(Ending::Interrupted)
        }
        follow::Stopped::AtEnd => {
            run.sum_up();
            conclude(&run, job, id, client, arguments.keep, interrupt).await
        }
    }
}

/// What names the objects that tasks made, if a pattern is given.
fn naming(
    pattern: Option<&str>,
    client: &Client,
    environment: &Environment,
) -> Result<Option<Naming>, Error> {
    let Some(pattern) = pattern else {
        return Ok(None);
    };
    let Clouds { troubles, .. } = environment.clouds();
    let folder = &environment.folder;
    let naming = Naming::parse(pattern, Stems::Unknown, client.objects(), folder, &troubles)?;
    Ok(Some(naming))
}

async fn conclude(
    run: &Run,
    job: &Job<()>,
    id: JobId,
    client: &Client,
    keep: bool,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let progress = job.progress();
    let ended = run.summary.ended();
    if let Some(trouble) = job.trouble() {
        return Err(Error::Platform(ended_early(trouble, id, ended)));
    }
    if progress.cancelled {
        terminal::say(&cancelled(id, ended, progress.total()));
    } else if !progress.complete {
        let why = why_incomplete(job.incomplete(), client.full());
        terminal::say(&format!(
            "more may be missing: {why}. The job is kept, to be gathered again; `sortie job forget \
             {id}` drops it"
        ));
        return Ok(Ending::Incomplete);
    }
    if !keep && let Some(ending) = drop_results(run, job, id, client, interrupt).await? {
        return Ok(ending);
    }
    Ok(if progress.cancelled {
        Ending::TasksFailed
    } else {
        run.ending()
    })
}

/// Have the broker drop the results, if whoever reads them here has them. How the command ends if
/// it was interrupted.
async fn drop_results(
    run: &Run,
    job: &Job<()>,
    id: JobId,
    client: &Client,
    interrupt: &Interrupt,
) -> Result<Option<Ending>, Error> {
    match run.output.taken(interrupt.stop()).await {
        Ok(Taken::All) => {}
        Ok(Taken::Closed) => return Err(not_taken(id)),
        Ok(Taken::Late) => {
            terminal::say(&format!(
                "the reader of the results has not taken all of them; they stay at the broker: \
                 `sortie job forget {id}` drops them"
            ));
            return Ok(None);
        }
        Err(Stopped) => {
            terminal::say(LEFT);
            return Ok(Some(Ending::Interrupted));
        }
    }
    let counts = (run.summary.completed(), run.summary.failed());
    match interrupt.or(client.gathered(job, counts)).await? {
        Ok(true) => {}
        Ok(false) => terminal::say(&format!(
            "somebody else reads {id} as well; its results stay until then"
        )),
        Err(full @ BrokerError::Full { .. }) => terminal::say(&format!(
            "{full}; that {id} was gathered cannot be noted, and its results stay: `sortie job \
             forget {id}` removes them, which makes room"
        )),
        Err(error) => return Err(refused(error)),
    }
    Ok(None)
}

/// What is said where the results of a job ended before it did, after so many tasks.
fn ended_early(trouble: &SubmitError, id: JobId, ended: u64) -> String {
    match trouble {
        SubmitError::Lost { .. } => format!(
            "{}. The others were written; `sortie job forget {id}` drops the job",
            chain(trouble)
        ),
        SubmitError::Forgotten(_) => {
            format!("{trouble}; the results of {ended} tasks were written by then")
        }
        _ => format!(
            "the results ended early, after {ended} tasks: {}; gather them again",
            chain(trouble)
        ),
    }
}

/// Whoever reads the results has gone.
fn not_taken(job: JobId) -> Error {
    Error::Platform(format!(
        "the reader of the results closed them before it had taken all; they stay at the broker: \
         `sortie job gather {job}` writes them again"
    ))
}

/// What is said of a job that was cancelled when so many of its tasks had ended.
fn cancelled(job: JobId, ended: u64, tasks: Option<u64>) -> String {
    let tasks = match tasks {
        Some(tasks) if tasks > ended => {
            format!("{ended} of its {tasks} tasks had ended, and the others have no result")
        }
        Some(tasks) => format!("all of its {tasks} tasks had ended"),
        None => format!("{ended} of its tasks had ended, and any others have no result"),
    };
    format!("{job} was cancelled: {tasks}")
}

/// Why more results may be missing. Where the broker is `full`, nothing is known of workers.
fn why_incomplete(why: Option<Incomplete>, full: Option<String>) -> String {
    match (why, full) {
        (Some(Incomplete::NoWorker { .. }), Some(full)) => format!(
            "its submitter is gone and has not said how many tasks there are; some are unfinished, \
             and no worker can report, because {full}"
        ),
        (Some(why), _) => why.to_string(),
        (None, _) => "nobody said that these are all".into(),
    }
}
