//! `sortie job logs`: prints the output and log lines of a job's tasks.

use sortie::{Client, Job, JobId, Outcome};
use sortie_frontend::chain;
use sortie_frontend::log::shown;
use sortie_frontend::session::{SETTLE_TIME_MAX, settle};
use sortie_frontend::settings::Environment;

use crate::arguments::job::Logs;
use crate::ending::{Ending, Error};
use crate::session::{find, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;

/// Run the command.
pub(super) async fn run(
    arguments: &Logs,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (client, id) = find(&arguments.job, &arguments.broker, environment, interrupt).await?;
    let mut job = interrupt
        .or(client.attach::<()>(id))
        .await?
        .map_err(|error| refused_job(&arguments.job, error))?;
    interrupt.set_parting("interrupted; the job goes on".into());
    let ended = print(arguments, &client, &mut job, id, interrupt).await;
    // The broker is told that nobody reads any more.
    drop(job);
    let time_max = interrupt.time_left().unwrap_or(SETTLE_TIME_MAX);
    let _ = settle(&client, time_max).await;
    ended
}

async fn print(
    arguments: &Logs,
    client: &Client,
    job: &mut Job<()>,
    id: JobId,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let mut output = stdout::lines();
    let mut left = Left::of(arguments, client, id, interrupt).await?;
    while left.expects_more()
        && let Some(outcome) = interrupt.or(job.next_outcome()).await?
    {
        left.count();
        if arguments.index.is_some_and(|index| index != outcome.index) {
            continue;
        }
        if arguments.index.is_none() && outcome.log.is_some() {
            output
                .pending()
                .extend_from_slice(format!("{}\n", head(&outcome)).as_bytes());
        }
        append(&outcome, output.pending());
        stdout::flush(&mut output)?;
        if arguments.index.is_some() {
            return Ok(Ending::Completed);
        }
    }
    conclude(job, id, arguments)
}

/// What stands above a log.
fn head(outcome: &Outcome) -> String {
    let index = outcome.index;
    match &outcome.input {
        Some(input) => terminal::line(&format!("==> task {index}: {input} <==")),
        None => format!("==> task {index} <=="),
    }
}

/// How many outcomes are still to be looked at.
enum Left {
    /// Those that were there when the command began.
    Now(u64),
    /// All that come.
    All,
}

impl Left {
    async fn of(
        arguments: &Logs,
        client: &Client,
        job: JobId,
        interrupt: &Interrupt,
    ) -> Result<Self, Error> {
        if arguments.follow {
            return Ok(Self::All);
        }
        let status = interrupt
            .or(client.job_status(job))
            .await?
            .map_err(|error| refused_job(&arguments.job, error))?;
        Ok(Self::Now(status.ended()))
    }

    fn expects_more(&self) -> bool {
        match self {
            Self::Now(left) => *left > 0,
            Self::All => true,
        }
    }

    fn count(&mut self) {
        if let Self::Now(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

/// There is nothing more.
fn conclude(job: &Job<()>, id: JobId, arguments: &Logs) -> Result<Ending, Error> {
    let progress = job.progress();
    match (job.trouble(), arguments.index) {
        (Some(trouble), _) => Err(Error::Platform(format!(
            "the logs ended early: {}",
            chain(trouble)
        ))),
        (None, Some(index)) if arguments.follow => {
            Err(Error::Usage(format!("{id} has no result of task {index}")))
        }
        (None, Some(index)) if progress.total().is_some_and(|total| index >= total) => {
            let tasks = progress.submitted;
            Err(Error::Usage(format!(
                "{id} has no task {index}: it has {tasks}, from 0"
            )))
        }
        (None, Some(index)) => Err(Error::Usage(format!(
            "{id} has no result of task {index} yet; --follow waits for it"
        ))),
        (None, None) if !arguments.follow => Ok(Ending::Completed),
        (None, None) => {
            if progress.cancelled {
                terminal::say(
                    "the job was cancelled; these are the logs of the tasks that had ended",
                );
            } else if !progress.complete {
                terminal::say("its submitter is gone and has not said that these are all tasks");
            }
            Ok(Ending::Completed)
        }
    }
}

fn append(outcome: &Outcome, out: &mut Vec<u8>) {
    let Some(log) = &outcome.log else { return };
    // A function prints what it likes.
    let text = terminal::text(&shown(&log.text));
    out.extend_from_slice(text.as_bytes());
    if !text.is_empty() && !text.ends_with('\n') {
        out.push(b'\n');
    }
    if log.dropped > 0 {
        out.extend_from_slice(
            format!("[{} more bytes of the log were dropped]\n", log.dropped).as_bytes(),
        );
    }
}
