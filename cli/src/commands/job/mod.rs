//! `sortie job`: lists, gathers, cancels and forgets the jobs that a broker has.

mod gather;
mod logs;

use std::collections::BTreeSet;

use serde::Serialize;
use sortie::protocol::{Job, JobFunction, JobRecord, JobState};
use sortie::{Counted, JobStatus};
use sortie_frontend::settings::Environment;

use crate::arguments::job::{Arguments, Command, List, Status};
use crate::ending::{Ending, Error, refused};
use crate::session::{connect, find, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::table;

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
    /// False if tasks end faster than they are counted; then there are more than counted.
    counted_all: bool,
    /// Not visible to a tenant that shares the broker.
    unfinished_bundles: Option<u64>,
}

impl Shown {
    fn new(record: &JobRecord, counts: Option<Counts>) -> Self {
        let (state, tasks) = state(record);
        Self {
            job: record.job.key.job.to_string(),
            created: table::time(record.created),
            state,
            tasks,
            function: each(&record.job, |called| called.function.name.to_string()),
            component: each(&record.job, |called| called.function.component.to_string()),
            labels: labels(&record.job),
            counts,
        }
    }
}

/// A text about each function of a job, without duplicates, separated by commas.
fn each(job: &Job, say: impl Fn(&JobFunction) -> String) -> String {
    let mut said: Vec<String> = job.functions.iter().map(say).collect();
    said.dedup();
    said.join(", ")
}

/// The labels that functions of a job require.
fn labels(job: &Job) -> Vec<String> {
    let asked = job.functions.iter().flat_map(|called| {
        let labels = called.options.labels.iter();
        labels.map(str::to_owned)
    });
    asked.collect::<BTreeSet<_>>().into_iter().collect()
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
                "{job} is cancelled; stored results stay until `sortie job gather` or \
                 `sortie job forget`"
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
                record.job.key.job.to_string(),
                table::time(record.created),
                state.into(),
                tasks,
                each(&record.job, |called| called.function.to_string()),
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
            "waiting or running".into(),
            unfinished.map_or_else(
                || "not visible to this tenant".into(),
                |bundles| format!("{bundles} bundles"),
            ),
        ],
    ];
    let [first, rest @ ..] = rows;
    table::print([&*first[0], &*first[1]], rest)?;
    Ok(Ending::Completed)
}

/// The state of a job's submission, and its number of tasks if that is known.
fn state(record: &JobRecord) -> (&'static str, Option<u64>) {
    match record.state {
        JobState::Open => ("open", None),
        JobState::Sealed { tasks } => ("submitted", Some(tasks)),
        JobState::Cancelled => ("cancelled", None),
    }
}
