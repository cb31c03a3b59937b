//! `sortie job list` and `sortie job status`: prints how jobs stand, once or again and again.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use serde::Serialize;
use sortie::protocol::{Job, JobFunction, JobRecord, JobState};
use sortie::{AttachError, Client, Counted, JobId, JobPhase, JobStatus, JobWatch, Presence};
use sortie_frontend::settings::{Environment, Terminal};

use crate::arguments::job::{List, Status};
use crate::ending::{Ending, Error, refused};
use crate::session::{Reached, find, forgotten, reach, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::left;
use crate::terminal::table;

/// How long the outcomes of one job are counted at most for a list, and for one look at a job that
/// is watched. What was not counted by then is counted at the next look.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
/// How long they are counted for a status that is asked for once.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);
/// Jobs of a list that are looked at at once.
const LOOKS_AT_ONCE: usize = 16;
/// How often what is watched is shown.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Jobs of subtasks that are passed over in a list: more than a worker has at once.
const SUBTASKS_PASSED_OVER: usize = 10_000;
/// How long the broker may take to say which workers are there, which is not necessary.
const WORKERS_TIME_MAX: Duration = Duration::from_secs(1);

/// A job as JSON.
#[derive(Serialize)]
struct Shown {
    job: String,
    created: String,
    state: &'static str,
    phase: &'static str,
    tasks: Option<u64>,
    completed: u64,
    failed: u64,
    /// Of a job with several functions, how the tasks ended that called each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_function: Vec<ShownFunction>,
    /// If not, tasks end faster than they are counted, and there are more of them.
    counted_all: bool,
    /// Tasks that wait or run, if that is known.
    left: Option<u64>,
    /// Tasks that ended each second.
    per_second: Option<f64>,
    seconds_left: Option<u64>,
    /// Not told to a tenant that shares its broker.
    unfinished_bundles: Option<u64>,
    workers: Option<usize>,
    function: String,
    component: String,
    labels: Vec<String>,
}

/// How the tasks ended that called one function.
#[derive(Serialize)]
struct ShownFunction {
    function: String,
    completed: u64,
    failed: u64,
}

/// A job at one look.
struct Look<'a> {
    status: &'a JobStatus,
    workers: Option<usize>,
    /// Tasks that ended each second, where the job is under way.
    rate: Option<f64>,
}

impl<'a> Look<'a> {
    fn new(status: &'a JobStatus, workers: Option<usize>, rate: f64) -> Self {
        let phase = status.phase(workers);
        let is_moving = matches!(phase, JobPhase::Submitting | JobPhase::Running);
        Self {
            status,
            workers,
            rate: (is_moving && rate > 0.0).then_some(rate),
        }
    }

    fn phase(&self) -> JobPhase {
        self.status.phase(self.workers)
    }

    fn time_left(&self) -> Option<Duration> {
        self.rate
            .zip(self.status.left())
            .filter(|(_, count)| *count > 0)
            .and_then(|(rate, count)| left(count, rate))
    }

    /// A count, as far as it is one.
    fn number(&self, count: u64) -> String {
        match self.status.counted {
            Counted::All => count.to_string(),
            Counted::Some => format!("{count}+"),
        }
    }

    /// How much has ended, in percent.
    fn percent(&self) -> Option<String> {
        let tasks = self.status.tasks().filter(|tasks| *tasks > 0)?;
        #[expect(clippy::cast_precision_loss, reason = "shown without digits")]
        let percent = 100.0 * self.status.ended() as f64 / tasks as f64;
        // All is said of what is all.
        Some(format!("{}%", percent.floor()))
    }

    fn json(&self) -> Shown {
        let JobStatus {
            record,
            completed,
            failed,
            by_function: _,
            counted,
            unfinished,
            at_rest: _,
        } = self.status;
        Shown {
            job: record.job.key.job.to_string(),
            created: table::time(record.created),
            state: state(record),
            phase: self.phase().as_str(),
            tasks: self.status.tasks(),
            completed: *completed,
            failed: *failed,
            by_function: self.by_function(),
            counted_all: *counted == Counted::All,
            left: self.status.left(),
            per_second: self.rate,
            seconds_left: self.time_left().map(|left| left.as_secs()),
            unfinished_bundles: *unfinished,
            workers: self.workers,
            function: each(&record.job, |called| called.function.name.to_string()),
            component: each(&record.job, |called| called.function.component.to_string()),
            labels: labels(&record.job),
        }
    }

    fn by_function(&self) -> Vec<ShownFunction> {
        let functions = &self.status.record.job.functions;
        if functions.len() < 2 {
            return Vec::new();
        }
        let counts = self.status.by_function.iter().copied();
        let counts = counts.chain(std::iter::repeat((0, 0)));
        let shown = functions.iter().zip(counts);
        shown
            .map(|(called, (completed, failed))| ShownFunction {
                function: called.function.name.to_string(),
                completed,
                failed,
            })
            .collect()
    }

    fn row(&self) -> [String; 9] {
        let record = &self.status.record;
        let unknown = || "?".to_owned();
        [
            record.job.key.job.to_string(),
            table::time(record.created),
            self.phase().as_str().into(),
            self.number(self.status.completed),
            self.number(self.status.failed),
            self.status
                .tasks()
                .map_or_else(unknown, |tasks| tasks.to_string()),
            self.percent().unwrap_or_else(unknown),
            self.time_left().map_or_else(
                || "-".into(),
                |left| humantime::format_duration(left).to_string(),
            ),
            each(&record.job, |called| called.function.name.to_string()),
        ]
    }

    /// The look in one line.
    fn line(&self) -> String {
        let ended = self.number(self.status.ended());
        let mut text = match self.status.tasks() {
            Some(tasks) => format!("{ended}/{tasks} done"),
            None => format!("{ended} done"),
        };
        if self.status.failed > 0 {
            text.push_str(&format!(", {} failed", self.number(self.status.failed)));
        }
        text.push_str(&format!(", {}", self.phase().as_str()));
        if let Some(rate) = self.rate {
            text.push_str(&format!(", {rate:.1}/s"));
        }
        if let Some(left) = self.time_left() {
            text.push_str(&format!(", {} left", humantime::format_duration(left)));
        }
        text
    }

    fn rows(&self) -> Vec<[String; 2]> {
        let shown = self.json();
        let row = |name: &str, value: String| [name.to_owned(), value];
        let tasks = match (shown.tasks, self.percent()) {
            (Some(tasks), Some(percent)) => format!("{tasks}, {percent} done"),
            (Some(tasks), None) => tasks.to_string(),
            (None, _) => "not known yet".into(),
        };
        let left = match (shown.left, shown.unfinished_bundles) {
            (Some(left), Some(bundles)) => format!("{left} in {bundles} bundles"),
            (Some(left), None) => left.to_string(),
            (None, Some(bundles)) => format!("{bundles} bundles"),
            (None, None) => "not told to this tenant".into(),
        };
        let mut rows = vec![
            row("job", shown.job),
            row("submitted", shown.created),
            row("state", shown.phase.into()),
            row(
                "function",
                format!("{} of {}", shown.function, shown.component),
            ),
            row("tasks", tasks),
            row("completed", self.number(shown.completed)),
            row("failed", self.number(shown.failed)),
            row("waiting or running", left),
        ];
        for of in shown.by_function {
            let text = format!("{} completed, {} failed", of.completed, of.failed);
            rows.push(row(&format!("  {}", of.function), text));
        }
        if let Some(rate) = self.rate {
            rows.push(row("rate", format!("{rate:.1} tasks/s")));
        }
        if let Some(left) = self.time_left() {
            let left = humantime::format_duration(left).to_string();
            rows.push(row("time left", left));
        }
        if let Some(workers) = self.workers.filter(|_| !self.phase().is_over()) {
            rows.push(row("workers for it", workers.to_string()));
        }
        if let Some(gathered) = self.status.record.gathered {
            rows.push(row("gathered", table::time(gathered.at)));
        }
        rows
    }
}

/// Run `sortie job list`.
pub(super) async fn list(
    arguments: &List,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let client = match reach(&arguments.broker, environment, interrupt).await? {
        Reached::There(client) => client,
        Reached::Nothing(why) => {
            terminal::say(&format!("there are no jobs: {why}"));
            return Ok(Ending::Completed);
        }
    };
    let mut watches = HashMap::new();
    loop {
        let count_max = arguments.count.get();
        let jobs = interrupt
            .or(client.jobs(count_max.saturating_add(SUBTASKS_PASSED_OVER)))
            .await?
            .map_err(refused)?;
        // Subtasks belong to their task, and are shown nowhere else.
        let jobs = jobs
            .into_iter()
            .filter(|record| record.job.parent.is_none())
            .take(count_max)
            .collect();
        let workers = workers(&client, interrupt).await?;
        let looks = look_at(&client, jobs, &mut watches, interrupt).await?;
        let looks = looks.iter().map(|watch| {
            let status = watch.status();
            let workers = count(workers.as_deref(), &status.record);
            Look::new(status, workers, status.rate())
        });
        if arguments.json {
            table::print_json(looks.map(|look| look.json()))?;
        } else {
            print_list(looks, arguments.watch, environment.terminal)?;
        }
        if !arguments.watch {
            return Ok(Ending::Completed);
        }
        interrupt.or(tokio::time::sleep(WATCH_INTERVAL)).await?;
    }
}

fn print_list<'a>(
    looks: impl Iterator<Item = Look<'a>>,
    is_watched: bool,
    kind: Terminal,
) -> Result<(), Error> {
    let rows: Vec<_> = looks.map(|look| look.row()).collect();
    if rows.is_empty() && !is_watched {
        terminal::say("there are no jobs");
        return Ok(());
    }
    if is_watched {
        table::clear(kind)?;
    }
    table::print(
        [
            "JOB",
            "SUBMITTED",
            "STATE",
            "DONE",
            "FAILED",
            "TASKS",
            "PROGRESS",
            "LEFT",
            "FUNCTION",
        ],
        rows,
    )
}

/// Look at jobs, in their order; those that were forgotten meanwhile are left out.
async fn look_at<'w>(
    client: &Client,
    jobs: Vec<JobRecord>,
    watches: &'w mut HashMap<JobId, JobWatch>,
    interrupt: &Interrupt,
) -> Result<Vec<&'w JobWatch>, Error> {
    let ids: Vec<JobId> = jobs.iter().map(|record| record.job.key.job).collect();
    watches.retain(|id, _| ids.contains(id));
    for record in jobs {
        watches
            .entry(record.job.key.job)
            .or_insert_with(|| client.watch_record(record));
    }
    let looks = watches.iter_mut().map(|(id, watch)| async move {
        // What a job that cannot be counted is known to be is shown all the same.
        let is_there = !matches!(
            watch.look(LOOK_TIME_MAX).await,
            Err(AttachError::NoSuchJob(_))
        );
        (*id, is_there)
    });
    let looks = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
    let there: HashMap<JobId, bool> = interrupt.or(looks.collect()).await?;
    let there = |id: &&JobId| there.get(*id).copied().unwrap_or_default();
    Ok(ids
        .iter()
        .filter(there)
        .filter_map(|id| watches.get(id))
        .collect())
}

/// Run `sortie job status`.
pub(super) async fn status(
    arguments: &Status,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let (client, job) = find(&arguments.job, &arguments.broker, environment, interrupt).await?;
    let wrong = |error| refused_job(&arguments.job, error);
    let gone = |error| match error {
        AttachError::NoSuchJob(_) => forgotten(job),
        error => wrong(error),
    };
    let mut watch = interrupt.or(client.watch_job(job)).await?.map_err(wrong)?;
    let mut pace = Pace::default();
    loop {
        let time_max = if arguments.watch {
            LOOK_TIME_MAX
        } else {
            COUNT_TIME_MAX
        };
        let status = interrupt.or(watch.look(time_max)).await?.map_err(gone)?;
        let workers = workers(&client, interrupt).await?;
        let workers = count(workers.as_deref(), &status.record);
        let rate = pace.of(status, terminal::now());
        let look = Look::new(status, workers, rate);
        match (arguments.json, arguments.watch) {
            (true, _) => table::print_json([look.json()])?,
            (false, true) => table::print_line(&look.line())?,
            (false, false) => print_status(&look)?,
        }
        if let Some(says) = at_rest(&look) {
            terminal::say(&says);
        }
        if !arguments.watch || look.phase().is_over() {
            return Ok(Ending::Completed);
        }
        interrupt.or(tokio::time::sleep(WATCH_INTERVAL)).await?;
    }
}

/// What is said of a job of which nothing more comes, although it did not come to its end.
fn at_rest(look: &Look<'_>) -> Option<String> {
    let job = look.status.record.job.key.job;
    let why = match look.phase() {
        JobPhase::Incomplete => {
            let missing = look.status.tasks().unwrap_or(0);
            let missing = missing.saturating_sub(look.status.ended());
            format!(
                "nothing of {job} is unfinished, and {missing} of its tasks have no outcome that \
                 can be read: none will come"
            )
        }
        JobPhase::Abandoned => format!(
            "the submitter of {job} is gone and has not said how many tasks there are, and all \
             that it submitted have ended: nothing more comes"
        ),
        JobPhase::Submitting
        | JobPhase::Running
        | JobPhase::Waiting
        | JobPhase::Ended
        | JobPhase::Cancelled
        | JobPhase::Gathered => return None,
    };
    Some(format!(
        "{why}. `sortie job gather {job}` writes the results that are there, `sortie job forget \
         {job}` drops the job"
    ))
}

fn print_status(look: &Look<'_>) -> Result<(), Error> {
    let mut rows = look.rows().into_iter();
    match rows.next() {
        Some([name, value]) => table::print([&*name, &*value], rows),
        None => Ok(()),
    }
}

/// How fast a job is: between two looks, or since it was submitted where there was only one.
#[derive(Default)]
struct Pace(Option<(Instant, u64)>);

impl Pace {
    fn of(&mut self, status: &JobStatus, now: Instant) -> f64 {
        let ended = status.ended();
        match self.0.replace((now, ended)) {
            Some((then, before)) => {
                #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
                let more = ended.saturating_sub(before) as f64;
                more / now.duration_since(then).as_secs_f64().max(1e-3)
            }
            None => status.rate(),
        }
    }
}

/// The workers that are there, if the broker tells in time.
async fn workers(client: &Client, interrupt: &Interrupt) -> Result<Option<Vec<Presence>>, Error> {
    let asking = tokio::time::timeout(WORKERS_TIME_MAX, client.workers());
    Ok(interrupt.or(asking).await?.ok().and_then(Result::ok))
}

/// How many of them are there for a job.
fn count(workers: Option<&[Presence]>, record: &JobRecord) -> Option<usize> {
    let served = |worker: &&Presence| !worker.draining && record.is_served_by(&worker.labels);
    workers.map(|workers| workers.iter().filter(served).count())
}

/// How a job's submission stands.
fn state(record: &JobRecord) -> &'static str {
    match record.state {
        JobState::Open => "open",
        JobState::Sealed { .. } => "submitted",
        JobState::Cancelled => "cancelled",
    }
}

/// What is said of each function of a job, once, with commas between.
fn each(job: &Job, say: impl Fn(&JobFunction) -> String) -> String {
    let mut said: Vec<String> = job.functions.iter().map(say).collect();
    said.dedup();
    said.join(", ")
}

/// The labels that functions of a job ask for.
fn labels(job: &Job) -> Vec<String> {
    let asked = job.functions.iter().flat_map(|called| {
        let labels = called.options.labels.iter();
        labels.map(str::to_owned)
    });
    asked.collect::<BTreeSet<_>>().into_iter().collect()
}
