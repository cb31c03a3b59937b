//! `sortie job`: the jobs of a fleet, for whoever submitted them and went away.

mod gather;
mod logs;

use std::num::NonZeroUsize;

use clap::{Args, Subcommand};
use serde::Serialize;
use sortie::nats::Role;
use sortie::protocol::{JobId, JobRecord, JobState};
use sortie::{BrokerError, Client, Counted, JobStatus};

use crate::clouds;
use crate::connection::BrokerOptions;
use crate::ending::{Ending, Error};
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::session::refused_connection;
use crate::table;
use crate::terminal;

/// Jobs that are listed unless more are asked for.
const LISTED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19);
/// Jobs that are looked through for the beginning of a name.
const LOOKED_THROUGH: usize = 100_000;
/// What a job's name begins with.
const PREFIX: &str = "job-";

/// `sortie job`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the jobs submitted last, newest first
    List(List),
    /// Show how far a job is
    Status(Status),
    /// Write a job's results as `sortie map` does, and have the broker forget the job
    ///
    /// Waits until all results are there. A job whose submitter went away before all inputs were
    /// submitted, or submits nothing for five seconds, ends with the tasks there are, and is
    /// kept. The inputs themselves are not known any more: `index` says which task it was.
    Gather(Box<gather::Gather>),
    /// Stop a job; results that are there stay
    Cancel(One),
    /// Show what a job's tasks printed and logged
    Logs(logs::Logs),
    /// Drop all there is of a job, its results too; what runs of it is stopped
    Forget(One),
}

/// `sortie job list`.
#[derive(Debug, Args)]
struct List {
    /// Show this many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = LISTED)]
    count: NonZeroUsize,
    /// Print one JSON object for each job, a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// `sortie job status`.
#[derive(Debug, Args)]
struct Status {
    /// The job, or the beginning of its name, as in job-ab12
    job: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// A command about one job.
#[derive(Debug, Args)]
struct One {
    /// The job, or the beginning of its name, as in job-ab12
    job: String,
    #[command(flatten)]
    broker: BrokerOptions,
}

/// A job as JSON.
#[derive(Serialize)]
struct Shown {
    job: String,
    created: String,
    state: &'static str,
    tasks: Option<u64>,
    function: String,
    component: String,
    labels: Vec<String>,
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    completed: u64,
    failed: u64,
    /// If not, tasks end faster than they are counted, and there are more of them.
    counted_all: bool,
    /// Not told to a tenant that shares its broker.
    unfinished_bundles: Option<u64>,
}

impl Shown {
    fn new(record: &JobRecord, counts: Option<Counts>) -> Self {
        let (state, tasks) = state(record);
        Self {
            job: record.job.id.to_string(),
            created: table::time(record.created),
            state,
            tasks,
            function: record.job.function.name.to_string(),
            component: record.job.function.component.to_string(),
            labels: record
                .job
                .options
                .labels
                .iter()
                .map(str::to_owned)
                .collect(),
            counts,
        }
    }
}

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    match &arguments.command {
        Command::List(list) => show_list(list, environment, interrupt).await,
        Command::Status(status) => show_status(status, environment, interrupt).await,
        Command::Gather(gather) => gather::run(gather, environment, interrupt).await,
        Command::Logs(logs) => logs::run(logs, environment, interrupt).await,
        Command::Cancel(one) => {
            let (client, job) = find(&one.job, &one.broker, environment, interrupt).await?;
            interrupt.or(client.cancel(job)).await?.map_err(refused)?;
            terminal::say(&format!(
                "{job} is cancelled; results that are there stay until `sortie job gather` or `sortie job forget`"
            ));
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

async fn show_list(
    list: &List,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let client = connect(&list.broker, environment, interrupt).await?;
    let jobs = interrupt
        .or(client.jobs(list.count.get()))
        .await?
        .map_err(refused)?;
    if list.json {
        table::print_json(jobs.iter().map(|record| Shown::new(record, None)))?;
    } else if jobs.is_empty() {
        terminal::say("there are no jobs");
    } else {
        let row = |record: &JobRecord| {
            let (state, tasks) = state(record);
            let tasks = tasks.map_or_else(|| "?".into(), |tasks| tasks.to_string());
            [
                record.job.id.to_string(),
                table::time(record.created),
                state.into(),
                tasks,
                record.job.function.to_string(),
            ]
        };
        table::print(
            ["JOB", "SUBMITTED", "STATE", "TASKS", "FUNCTION"],
            jobs.iter().map(row),
        )?;
    }
    Ok(Ending::Completed)
}

async fn show_status(
    arguments: &Status,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (client, job) = find(&arguments.job, &arguments.broker, environment, interrupt).await?;
    let status = interrupt
        .or(client.job_status(job))
        .await?
        .map_err(|error| refused_job(&arguments.job, error))?;
    let JobStatus {
        record,
        completed,
        failed,
        counted,
        unfinished,
    } = status;
    let counted_all = counted == Counted::All;
    let shown = Shown::new(
        &record,
        Some(Counts {
            completed,
            failed,
            counted_all,
            unfinished_bundles: unfinished,
        }),
    );
    if arguments.json {
        table::print_json([shown])?;
        return Ok(Ending::Completed);
    }
    let tasks = shown
        .tasks
        .map_or_else(|| "not known yet".into(), |tasks| tasks.to_string());
    let number = |count: u64| {
        if counted_all {
            count.to_string()
        } else {
            format!("{count} or more")
        }
    };
    let rows = [
        ["job".into(), shown.job],
        ["submitted".into(), shown.created],
        ["state".into(), shown.state.into()],
        [
            "function".into(),
            format!("{} of {}", shown.function, shown.component),
        ],
        ["tasks".into(), tasks],
        ["completed".into(), number(completed)],
        ["failed".into(), number(failed)],
        [
            "waiting or in work".into(),
            unfinished.map_or_else(
                || "not told to this tenant".into(),
                |bundles| format!("{bundles} bundles"),
            ),
        ],
    ];
    let [first, rest @ ..] = rows;
    table::print([&*first[0], &*first[1]], rest)?;
    Ok(Ending::Completed)
}

/// How a job's submission stands, and how many tasks it has if that is known.
fn state(record: &JobRecord) -> (&'static str, Option<u64>) {
    match record.state {
        JobState::Open => ("open", None),
        JobState::Sealed { tasks } => ("submitted", Some(tasks)),
        JobState::Cancelled => ("cancelled", None),
    }
}

/// A client of the broker that is named; there has to be one.
pub(crate) async fn connect(
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Client, Error> {
    let config = broker.required(environment, Role::Client)?;
    // Large results are in a store, which is reached as inputs are.
    let objects = clouds::Settings::read(&environment.clouds).config;
    interrupt
        .or(Client::builder().objects(objects).connect(config))
        .await?
        .map_err(refused_connection)
}

async fn find(
    text: &str,
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<(Client, JobId), Error> {
    let known = parse(text)?;
    let client = connect(broker, environment, interrupt).await?;
    let job = match known {
        Some(job) => match interrupt.or(client.job(job)).await?.map_err(refused)? {
            Some(_) => job,
            None => return Err(unknown(text)),
        },
        None => interrupt.or(resolve(&client, text)).await??,
    };
    Ok((client, job))
}

/// A whole name, or nothing if it may be the beginning of one.
fn parse(text: &str) -> Result<Option<JobId>, Error> {
    if let Ok(job) = text.parse() {
        return Ok(Some(job));
    }
    let is_beginning = text
        .strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() < 32 && digits.bytes().all(|c| c.is_ascii_hexdigit()));
    if is_beginning {
        Ok(None)
    } else {
        Err(Error::Usage(format!(
            "`{text}` is no job; write it as `sortie job list` shows it, or its beginning"
        )))
    }
}

/// The one job whose name begins so.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<JobId, Error> {
    if let Some(job) = parse(text)? {
        return Ok(job);
    }
    let text = text.to_ascii_lowercase();
    let jobs = client.jobs(LOOKED_THROUGH).await.map_err(refused)?;
    let mut found = jobs
        .iter()
        .map(|record| record.job.id)
        .filter(|job| job.to_string().starts_with(&text));
    match (found.next(), found.count()) {
        (Some(job), 0) => Ok(job),
        (Some(_), others) => Err(Error::Usage(format!(
            "`{text}` is the beginning of {} jobs; write more of it",
            others + 1
        ))),
        (None, _) => Err(unknown(&text)),
    }
}

fn unknown(text: &str) -> Error {
    Error::Usage(format!(
        "there is no job `{text}`; `sortie job list` shows those there are"
    ))
}

pub(crate) fn refused(error: BrokerError) -> Error {
    match &error {
        BrokerError::NoSuchJob(_) => Error::Usage(error.to_string()),
        BrokerError::JobCancelled(_)
        | BrokerError::TooLarge { .. }
        | BrokerError::Empty
        | BrokerError::Unreachable { .. }
        | BrokerError::Denied { .. }
        | BrokerError::Unsuitable { .. } => Error::Platform(error.to_string()),
    }
}

fn refused_job(text: &str, error: sortie::AttachError) -> Error {
    match error {
        sortie::AttachError::NoSuchJob(_) => Error::Usage(format!(
            "there is no job `{text}`; `sortie job list` shows those there are"
        )),
        sortie::AttachError::Broker(error) => refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_itself_or_its_beginning() {
        let whole = JobId::from_bytes([0xab; 16]);
        assert_eq!(parse(&whole.to_string()), Ok(Some(whole)));
        assert_eq!(parse("job-ab12"), Ok(None));
        for text in ["ab12", "job-xy", "job", &format!("{whole}0")] {
            assert!(
                parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("sortie job list"),
                "{text}"
            );
        }
    }
}
