//! `sortie job logs`: prints the output and log lines of a job's tasks.

use sortie::{Job, JobId, Outcome};
use sortie_frontend::chain;
use sortie_frontend::results::Flow;
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
    let mut output = stdout::lines();
    while let Some(outcome) = interrupt.or(job.next_outcome()).await? {
        match arguments.index {
            None => {
                if outcome.log.is_some() {
                    output
                        .pending()
                        .extend_from_slice(format!("==> task {} <==\n", outcome.index).as_bytes());
                }
            }
            Some(index) if index == outcome.index => {}
            Some(_) => continue,
        }
        append(&outcome, output.pending());
        if output.flush()? == Flow::Closed || arguments.index.is_some() {
            return Ok(Ending::Completed);
        }
    }
    conclude(&job, id, arguments.index)
}

/// There is nothing more.
fn conclude(job: &Job<()>, id: JobId, index: Option<u64>) -> Result<Ending, Error> {
    let progress = job.progress();
    match (job.trouble(), index) {
        (Some(trouble), _) => Err(Error::Platform(format!(
            "the logs ended early: {}",
            chain(trouble)
        ))),
        (None, Some(index)) => Err(Error::Usage(format!("{id} has no result of task {index}"))),
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
    // The text comes from a function, so it is not trusted.
    let text = terminal::text(&log.text);
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
