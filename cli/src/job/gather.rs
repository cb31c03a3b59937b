//! `sortie job gather`: the results of a job that was submitted before.
//!
//! The broker forgets the job only when every line was written: whatever ends this process before,
//! the results can be gathered again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use sortie::objects::Objects;
use sortie::protocol::JobId;
use sortie::{Client, Job, SubmitError};
use tokio::runtime::Handle;

use super::{find, refused, refused_job};
use crate::arguments::ProgressKind;
use crate::clouds;
use crate::connection::BrokerOptions;
use crate::ending::{Ending, Error, chain};
use crate::environment::Environment;
use crate::in_flight::{InFlight, Order};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Results};
use crate::reorder::Reorder;
use crate::results::{Target, Writer};
use crate::run::{OnSignal, Run, Stopped};
use crate::summary::Summary;
use crate::terminal;

/// `sortie job gather`.
#[derive(Debug, Args)]
pub(super) struct Gather {
    /// The job, or the beginning of its name, as in job-ab12
    job: String,
    /// Write results here instead of to standard output, as `sortie map` does: to a file or an
    /// object in a store, as JSON lines, CSV or Parquet
    #[arg(short, long, value_name = "FILE|URL")]
    output: Option<PathBuf>,
    /// Write results in the order of the inputs instead of as they came; results that wait for an
    /// earlier one are held in memory
    #[arg(long)]
    ordered: bool,
    /// Leave the job at the broker, to be gathered again
    #[arg(long)]
    keep: bool,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "HOW")]
    progress: ProgressKind,
    #[command(flatten)]
    broker: BrokerOptions,
}

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
    let output = open(arguments.output.as_deref(), environment, interrupt).await?;
    let results = if output.is_terminal() {
        Results::OnTerminal
    } else {
        Results::Elsewhere
    };
    let mut run = Run {
        output,
        // Which inputs these are the results of is not known here.
        in_flight: Arc::new(InFlight::new(Order::Nowhere)),
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        progress: Progress::start(arguments.progress, results),
        total: None,
        on_signal: OnSignal::Leave,
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

/// The output. This client runs nothing, so what reaches a store is made here.
async fn open(
    output: Option<&Path>,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Writer, Error> {
    let target = Target::parse(output, &environment.folder)?;
    let clouds::Settings { config, troubles } = clouds::Settings::read(&environment.clouds);
    target.check(&troubles)?;
    let objects = Objects::new(config, Handle::current());
    Writer::open(&target, &objects, &environment.folder, interrupt).await
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
                "the results broke off after {ended} tasks: {}; gather them again",
                chain(trouble)
            )));
        }
        None => {}
    }
    if progress.cancelled {
        terminal::say("the job was cancelled; these are the results there are");
    } else if !progress.complete {
        terminal::say(&format!(
            "its submitter has not said that these are all: it went away, or waits for its inputs. The job is kept, to be gathered again; \
             `sortie job forget {id}` drops it"
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
