//! `chaos`: a fleet under faults, from the command line. `cargo xtask chaos` builds and starts it.
//!
//! Exit codes: 0 nothing was lost, 1 something was, 3 the run itself failed. What is left of a run
//! that was not good stays in its folder.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use sortie_chaos::attack::{self, Attack};
use sortie_chaos::checker::Verdict;
use sortie_chaos::grapher::{self, Graphing};
use sortie_chaos::mapper::{self, Mapping};
use sortie_chaos::parts::{self, Part, Reading, Submission, Through};
use sortie_chaos::plan::Plan;
use sortie_chaos::run::{self, Report};
use sortie_chaos::schedule::{Form, Scenario};
use sortie_chaos::skew::LIBRARY;
use sortie_chaos::work::Work;
use sortie_protocol::JobId;
use tracing_subscriber::filter::LevelFilter;

/// Violations that are shown; all are in the folder's files.
const VIOLATIONS_SHOWN: usize = 20;

#[derive(Parser)]
#[command(
    name = "cargo xtask chaos",
    about = "Run tasks over a real fleet while its processes are killed, paused, cut off and \
             starved, its clocks stepped, its queue and storage filled, and a second tenant attacks"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    part: Option<Command>,
}

#[derive(Args)]
struct Run {
    /// Number of tasks to run
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
    /// Seed of the random schedule of faults [default: taken from the clock]
    #[arg(long)]
    seed: Option<u64>,
    /// Which servers to run against [default: one server, then a cluster]
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// Average time between two faults, in milliseconds
    #[arg(long, default_value_t = 2000)]
    interval_ms: u64,
    /// Tasks per bundle; 1 disables bundling
    #[arg(long, default_value_t = 8)]
    bundle: u64,
    /// Rounds of arithmetic per task: a million take a few milliseconds
    #[arg(long, default_value_t = 400_000)]
    rounds: u64,
    /// One in this many tasks never ends by itself; 0 for none
    #[arg(long, default_value_t = 1000)]
    poison: u64,
    /// Pause between publishing two bundles, in microseconds
    #[arg(long, default_value_t = 4000)]
    pace_micros: u64,
    /// Number of tasks that take each other's results, or make subtasks
    #[arg(long, default_value_t = 20_000)]
    graph_tasks: usize,
    /// Pause between two attacks of the second tenant, in milliseconds
    #[arg(long, default_value_t = 300)]
    attack_ms: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Publish tasks
    #[command(hide = true)]
    Submit(Submit),
    /// Follow outcomes
    #[command(hide = true)]
    Read(Read),
    /// Map over tasks
    #[command(hide = true)]
    Map(Map),
    /// Run a drawn graph of tasks
    #[command(hide = true)]
    Graph(Graph),
    /// Do what a second tenant's permissions allow, without end
    #[command(hide = true)]
    Attack(AttackArguments),
}

#[derive(Args)]
struct PartArguments {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    job: JobId,
    #[arg(long)]
    file: PathBuf,
}

#[derive(Args)]
struct Submit {
    #[command(flatten)]
    part: PartArguments,
    #[arg(long)]
    tasks: u64,
    #[arg(long)]
    rounds: u64,
    #[arg(long)]
    poison: u64,
    #[arg(long)]
    bundle: u64,
    #[arg(long)]
    recorded: u64,
    #[arg(long)]
    pace_micros: u64,
}

#[derive(Args)]
struct Read {
    #[command(flatten)]
    part: PartArguments,
    #[arg(long)]
    reader: u32,
    #[arg(long)]
    from: u64,
    #[arg(long)]
    tasks: u64,
    #[arg(long, value_enum)]
    through: Through,
}

#[derive(Args)]
struct Map {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    tasks: u64,
    #[arg(long)]
    rounds: u64,
    #[arg(long)]
    poison: u64,
    #[arg(long)]
    pace_micros: u64,
}

#[derive(Args)]
struct Graph {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    tasks: usize,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    pace_micros: u64,
}

#[derive(Args)]
struct AttackArguments {
    #[arg(long)]
    broker: String,
    #[arg(long)]
    victim: JobId,
    #[arg(long)]
    file: PathBuf,
    #[arg(long)]
    pace_micros: u64,
}

impl From<PartArguments> for Part {
    fn from(PartArguments { broker, job, file }: PartArguments) -> Self {
        Self { broker, job, file }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // What the driver's own connections go through is not what is looked at.
    let level = match arguments.part {
        Some(_) => LevelFilter::INFO,
        None => LevelFilter::OFF,
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .init();
    let done = match arguments.part {
        Some(Command::Submit(submit)) => submitter(submit).await.map(|()| true),
        Some(Command::Read(read)) => reader(read).await.map(|()| true),
        Some(Command::Map(map)) => mapper(map).await.map(|()| true),
        Some(Command::Graph(graph)) => graphed(graph).await.map(|()| true),
        Some(Command::Attack(arguments)) => attacker(arguments).await.map(|()| true),
        None => tokio::select! {
            done = all(&arguments.run) => done,
            // What was started ends with this.
            interrupted = tokio::signal::ctrl_c() => match interrupted {
                Ok(()) => Err(anyhow::anyhow!("interrupted")),
                Err(error) => Err(error.into()),
            },
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(3)
        }
    }
}

async fn submitter(submit: Submit) -> Result<()> {
    let work = Work {
        tasks: submit.tasks,
        rounds: submit.rounds,
        poison: NonZeroU64::new(submit.poison),
    };
    let pace = Duration::from_micros(submit.pace_micros);
    parts::submit(
        &submit.part.into(),
        &Submission {
            work,
            bundle: submit.bundle.max(1),
            recorded: submit.recorded,
            pace,
        },
    )
    .await
}

async fn reader(read: Read) -> Result<()> {
    let reading = Reading {
        reader: read.reader,
        from: read.from,
        tasks: read.tasks,
        through: read.through,
    };
    parts::read(&read.part.into(), &reading).await
}

async fn mapper(map: Map) -> Result<()> {
    let work = Work {
        tasks: map.tasks,
        rounds: map.rounds,
        poison: NonZeroU64::new(map.poison),
    };
    let pace = Duration::from_micros(map.pace_micros);
    mapper::map(&Mapping {
        broker: map.broker,
        folder: map.folder,
        work,
        pace,
    })
    .await
}

async fn graphed(graph: Graph) -> Result<()> {
    let Graph {
        broker,
        folder,
        tasks,
        seed,
        pace_micros,
    } = graph;
    grapher::graph(&Graphing {
        broker,
        folder,
        tasks,
        seed,
        pace: Duration::from_micros(pace_micros),
    })
    .await
}

async fn attacker(arguments: AttackArguments) -> Result<()> {
    attack::attack(&Attack {
        broker: arguments.broker,
        victim: arguments.victim,
        file: arguments.file,
        pace: Duration::from_micros(arguments.pace_micros),
    })
    .await
}

/// Whether all was good.
async fn all(run: &Run) -> Result<bool> {
    let seed = run.seed.unwrap_or_else(|| {
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_secs())
    });
    let mut good = true;
    for scenario in [Scenario::Server, Scenario::Cluster] {
        if run.scenario.is_none_or(|only| only == scenario) {
            good &= one(run, scenario, seed).await?;
        }
    }
    Ok(good)
}

async fn one(run: &Run, scenario: Scenario, seed: u64) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("chaos-").tempdir()?;
    let program = std::env::current_exe().context("a program without a file")?;
    let plan = Plan {
        scenario,
        work: Work {
            tasks: run.tasks,
            rounds: run.rounds,
            poison: NonZeroU64::new(run.poison),
        },
        seed,
        form: Form::Long,
        interval: Duration::from_millis(run.interval_ms.max(10)),
        bundle: run.bundle.max(1),
        pace: Duration::from_micros(run.pace_micros),
        graph_tasks: run.graph_tasks,
        // About as long as the submitter takes.
        graph_pace: Duration::from_micros(run.pace_micros) * tasks_for_each(run),
        attack_pace: Duration::from_millis(run.attack_ms),
        lease: Duration::from_secs(2),
        concurrency: 2,
        // All are of one build.
        clock: program.with_file_name(LIBRARY),
        worker: program.with_file_name("sortie"),
        program,
        folder: folder.path().to_owned(),
    };
    println!("{scenario:?}: {} tasks, seed {seed}", run.tasks);
    let report = run::run(&plan).await;
    if !report.as_ref().is_ok_and(Report::is_good) {
        println!("records and logs: {}", folder.keep().display());
    }
    let report = report?;
    print!("{}", shown(&report));
    Ok(report.is_good())
}

fn shown(report: &Report) -> String {
    let mut lines: Vec<String> = report
        .faults
        .iter()
        .map(|(name, count)| format!("  {count:>4} {name}"))
        .collect();
    lines.extend(
        report
            .attacks
            .iter()
            .map(|(name, count)| format!("  {count:>4} attack: {name}")),
    );
    lines.extend(report.exits.iter().map(|exit| format!("  {exit}")));
    let faults: u64 = report.faults.values().sum();
    lines.extend(
        report
            .missing
            .iter()
            .map(|name| format!("  never came, so this run says little: {name}")),
    );
    lines.push(format!(
        "{faults} faults in {:.1} s",
        report.elapsed.as_secs_f64()
    ));
    for (what, verdict) in [
        ("submitted and read", &report.verdict),
        ("mapped", &report.mapped),
    ] {
        let Verdict {
            tasks,
            outcomes,
            retried,
            failed,
            readers,
            violations,
        } = verdict;
        let (lost, twice, wrong) = (verdict.lost(), verdict.duplicates(), verdict.wrong());
        lines.push(format!(
            "{what}: {tasks} tasks, {retried} by a later attempt, {failed} failed; {readers} \
             readers saw {outcomes} outcomes"
        ));
        lines.push(format!(
            "{what}: lost {lost}, duplicates visible {twice}, wrong outcomes {wrong}, violations {}",
            violations.len()
        ));
        lines.extend(
            violations
                .iter()
                .take(VIOLATIONS_SHOWN)
                .map(|violation| format!("  {violation}")),
        );
    }
    let graphed = &report.graphed;
    lines.push(format!(
        "graph: {} tasks in {} processes, {} right, {} lost with their process before they were \
         sent, wrong {}",
        report.graph_tasks,
        graphed.killed + 1,
        graphed.right,
        graphed.unsent,
        graphed.wrong.len()
    ));
    let wrong = graphed.wrong.iter().take(VIOLATIONS_SHOWN);
    lines.extend(wrong.map(|wrong| format!("  {wrong}")));
    lines.join("\n") + "\n"
}

/// How many bundles are published for each task of the graph.
fn tasks_for_each(run: &Run) -> u32 {
    let bundles = run.tasks / run.bundle.max(1) / run.graph_tasks.max(1) as u64;
    u32::try_from(bundles).unwrap_or(1).max(1)
}
