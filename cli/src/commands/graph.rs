//! `sortie graph`: shows how the tasks of a job depend on each other, and how they stand.

use std::fs;
use std::time::Duration;

use serde::Serialize;
use sortie::{Counted, JobGraph, TaskState};
use sortie_frontend::graph_svg;
use sortie_frontend::settings::Environment;

use crate::arguments::graph::{Arguments, Command};
use crate::ending::{Ending, Error};
use crate::session::{find, refused_job};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::table;

/// How many tasks of the critical path are listed; those that took longest.
const LISTED: usize = 10;

/// A graph as JSON.
#[derive(Serialize)]
struct Shown {
    job: String,
    tasks: usize,
    /// Further tasks, of which nothing is known but that they are there.
    unknown: u64,
    /// Tasks one after the other, at most.
    levels: usize,
    /// If not, there are more outcomes than could be read in time.
    counted_all: bool,
    functions: Vec<ShownFunction>,
    critical_path: ShownPath,
}

#[derive(Serialize)]
struct ShownFunction {
    /// Absent where it is not known which function the tasks call.
    function: Option<String>,
    #[serde(flatten)]
    counts: std::collections::BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct ShownPath {
    seconds: f64,
    tasks: Vec<ShownTask>,
}

#[derive(Serialize)]
struct ShownTask {
    task: u64,
    function: Option<String>,
    state: &'static str,
    seconds: f64,
}

/// Run the command.
pub(crate) async fn run(
    arguments: &Arguments,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let Command::Show(show) = &arguments.command;
    let (client, job) = find(&show.job, &show.broker, environment, interrupt).await?;
    let graph = interrupt.or(client.job_graph(job)).await?;
    let graph = graph.map_err(|error| refused_job(&show.job, error))?;
    if let Some(path) = &show.svg {
        fs::write(path, graph_svg::draw(&graph)).map_err(|error| {
            Error::Usage(format!("failed to write `{}`: {error}", path.display()))
        })?;
    }
    let shown = Shown::new(&graph);
    if show.json {
        table::print_json([shown])?;
    } else {
        print(&graph, &shown)?;
    }
    Ok(Ending::Completed)
}

impl Shown {
    fn new(graph: &JobGraph) -> Self {
        let name = |function| graph.function_name(function).map(str::to_owned);
        let functions = graph.counts().into_iter().map(|(function, counts)| {
            let counts = TaskState::ALL
                .iter()
                .map(|state| state.as_str())
                .zip(counts);
            ShownFunction {
                function: name(function),
                counts: counts.collect(),
            }
        });
        let (path, time) = graph.critical_path();
        let tasks = path.into_iter().filter_map(|index| {
            let task = graph.tasks.get(&index)?;
            Some(ShownTask {
                task: index,
                function: name(task.function),
                state: task.state.as_str(),
                seconds: task.time.as_secs_f64(),
            })
        });
        Self {
            job: graph.record.job.key.job.to_string(),
            tasks: graph.tasks.len(),
            unknown: graph.unknown,
            levels: graph
                .levels()
                .into_values()
                .max()
                .map_or(0, |level| level + 1),
            counted_all: graph.counted == Counted::All,
            functions: functions.collect(),
            critical_path: ShownPath {
                seconds: time.as_secs_f64(),
                tasks: tasks.collect(),
            },
        }
    }
}

fn print(graph: &JobGraph, shown: &Shown) -> Result<(), Error> {
    let plural =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let unknown = match shown.unknown {
        0 => String::new(),
        count => format!("; of {count} more nothing is known"),
    };
    let unread = if shown.counted_all {
        ""
    } else {
        "; more have ended than could be read in time"
    };
    let (tasks, levels) = (plural(shown.tasks, "task"), plural(shown.levels, "level"));
    table::print_line(&format!(
        "{}: {tasks} on {levels}{unknown}{unread}",
        shown.job
    ))?;
    let titles = [
        "FUNCTION",
        "WAITING",
        "RELEASED",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
    ];
    let rows = graph.counts().into_iter().map(|(function, counts)| {
        let name = graph.function_name(function).unwrap_or("?").to_owned();
        let [waiting, released, completed, failed, cancelled] =
            counts.map(|count| count.to_string());
        [name, waiting, released, completed, failed, cancelled]
    });
    table::print(titles, rows)?;
    let path = &shown.critical_path;
    table::print_line(&format!(
        "critical path: {}, {}",
        plural(path.tasks.len(), "task"),
        shown_time(path.seconds)
    ))?;
    let mut longest: Vec<&ShownTask> = path.tasks.iter().collect();
    longest.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    longest.truncate(LISTED);
    longest.sort_by_key(|task| task.task);
    let rows = longest.into_iter().map(|task| {
        [
            format!("  {}", task.task),
            task.function.clone().unwrap_or_else(|| "?".into()),
            shown_time(task.seconds),
            task.state.to_owned(),
        ]
    });
    table::print(["  TASK", "FUNCTION", "TIME", "STATE"], rows)?;
    if path.tasks.len() > LISTED {
        terminal::say(&format!(
            "the {LISTED} that took longest of the critical path are listed; --json has all"
        ));
    }
    Ok(())
}

fn shown_time(seconds: f64) -> String {
    let time = Duration::from_secs_f64(seconds.max(0.0));
    // Three digits: what is finer is noise.
    if time < Duration::from_secs(1) {
        format!("{:.1}ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.3}s", time.as_secs_f64())
    }
}
