//! `sortie job`: lists, gathers, cancels and forgets the jobs that a broker has.

mod gather;
mod logs;
mod show;

use sortie::{BrokerError, Cancellation, JobId};
use sortie_frontend::settings::Environment;

use crate::arguments::job::{Arguments, Command};
use crate::ending::{Ending, Error, refused};
use crate::session::find;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::List(list) => show::list(list, environment, interrupt).await,
        Command::Status(status) => show::status(status, environment, interrupt).await,
        Command::Gather(gather) => gather::run(gather, environment, interrupt).await,
        Command::Logs(logs) => logs::run(logs, environment, interrupt).await,
        Command::Cancel(one) => {
            let (client, job) = find(&one.job, &one.broker, environment, interrupt).await?;
            let cancelled = interrupt.or(client.cancel(job)).await?;
            terminal::say(
                &match cancelled.map_err(|error| not_cancelled(job, error))? {
                    Cancellation::Cancelled => format!(
                        "{job} is cancelled; stored results stay until `sortie job gather` or \
                         `sortie job forget`"
                    ),
                    Cancellation::HadEnded => format!("{job} has ended: nothing of it is left"),
                },
            );
            Ok(Ending::Completed)
        }
        Command::Forget(one) => {
            let (client, job) = find(&one.job, &one.broker, environment, interrupt).await?;
            interrupt.or(client.forget(job)).await?.map_err(refused)?;
            terminal::say(&format!("{job} is forgotten"));
            Ok(Ending::Completed)
        }
    }
}

/// Why a job is not cancelled, and what was done all the same.
fn not_cancelled(job: JobId, error: BrokerError) -> Error {
    match error {
        BrokerError::Full { .. } => Error::Platform(format!(
            "{error}; what waited of {job} is removed and what runs is told to stop, but that it is \
             cancelled cannot be stored: make room with `sortie job forget` or `sortie broker \
             empty`, and cancel it again"
        )),
        error => refused(error),
    }
}
