//! Tasks that take each other's results: a client with everything in its process, a client of a
//! fleet of worker processes with a real broker, and Dask with two worker processes of one thread;
//! all in one run. The functions add a few numbers, so what is measured is everything else.
//!
//! Contenders take turns. Each measurement is a process of its own, which runs some tasks before it
//! is timed, checks the results, and prints a line of JSON; so no peak of memory hides another. The
//! memory of a client is what its peak is above what it held before: in the embedded client that
//! includes broker and sandboxes, in Dask's the scheduler. The drawn graph is smaller for Dask,
//! because it would take minutes; numbers are for each task.

use std::collections::BTreeMap;
use std::fs;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};
use sortie::protocol::job::Memo;
use sortie::{Client, Function, TaskFuture};
use sortie_bench::drawn::Drawn;
use sortie_bench::worker::Worker;
use sortie_bench::{peak_memory, python, restart_peak_memory};
use sortie_broker::nats::{Config, Role};
use sortie_harness::NatsServer;

/// Measure tasks that take each other's results.
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Options {
    /// The component; it must have the functions `add` and `sum`.
    #[arg(long, default_value = "target/components/behaviours.wasm")]
    component: PathBuf,
    /// Number of tasks that are submitted in a loop.
    #[arg(long, default_value_t = 10_000)]
    submits: usize,
    /// Number of tasks of which each takes the result of the one before.
    #[arg(long, default_value_t = 500)]
    hops: usize,
    /// Number of leaves of the tree that is reduced by 8.
    #[arg(long, default_value_t = 4_096)]
    leaves: usize,
    /// Number of tasks whose results are reduced by 16.
    #[arg(long, default_value_t = 20_000)]
    mapped: usize,
    /// Number of tasks in the drawn graph, each of which takes three earlier results.
    #[arg(long, default_value_t = 100_000)]
    tasks: usize,
    /// The same for Dask.
    #[arg(long, default_value_t = 10_000)]
    dask_tasks: usize,
    /// What the graph is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rounds of all contenders, one after another; the median counts.
    #[arg(long, default_value = "3")]
    rounds: NonZeroU32,
    /// Number of worker processes of the fleet.
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// How many bundles each of them processes concurrently.
    #[arg(long, default_value = "4")]
    concurrency: NonZeroUsize,
    /// Skip Dask, which needs Python and packages from PyPI.
    #[arg(long)]
    without_dask: bool,
    #[command(subcommand)]
    alone: Option<Alone>,
}

/// What a separate process does.
#[derive(Subcommand)]
enum Alone {
    /// Run one program, and print what it took.
    #[command(hide = true)]
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    program: Program,
    size: usize,
    #[arg(long)]
    component: PathBuf,
    /// Compiled components.
    #[arg(long)]
    cache: PathBuf,
    #[arg(long)]
    seed: u64,
    /// The broker of a fleet; none for a client with everything in its process.
    #[arg(long)]
    server: Option<String>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Program {
    Submits,
    Chain,
    Tree,
    MapReduce,
    Graph,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contender {
    Embedded,
    Fleet,
    Dask,
}

/// What a program took.
#[derive(Debug, Clone, Copy)]
struct Measured {
    tasks: f64,
    seconds: f64,
    /// Bytes of the client's process; zero where it is not looked at.
    memory: f64,
}

/// What is measured over all rounds.
type Rounds = BTreeMap<(Program, Contender), Vec<Measured>>;

/// Tasks that a process runs before it measures. Few, because what they leave in its allocator is
/// not seen in what the measured ones take.
const WARM_UP: usize = 500;
/// Tasks that a new fleet runs, so that all of its workers have compiled the component.
const FLEET_WARM_UP: usize = 20_000;

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match &options.alone {
            Some(Alone::Run(run)) => run.run().await,
            None => Stage::new(options)?.race().await,
        }
    })
}

impl Program {
    const ALL: [Self; 5] = [
        Self::Submits,
        Self::Chain,
        Self::Tree,
        Self::MapReduce,
        Self::Graph,
    ];

    /// Its name on command lines.
    fn name(self) -> &'static str {
        match self {
            Self::Submits => "submits",
            Self::Chain => "chain",
            Self::Tree => "tree",
            Self::MapReduce => "map-reduce",
            Self::Graph => "graph",
        }
    }

    /// How many results a task of its tree takes.
    fn fan_in(self) -> usize {
        match self {
            Self::Tree => 8,
            Self::MapReduce => 16,
            Self::Submits | Self::Chain | Self::Graph => 0,
        }
    }

    fn about(self, size: usize) -> String {
        match self {
            Self::Submits => format!("{size} submits in a loop, then gather"),
            Self::Chain => format!("a chain of {size}, each hop"),
            Self::Tree => format!("a tree of {size} leaves by 8"),
            Self::MapReduce => format!("{size} tasks, then a tree by 16"),
            Self::Graph => format!("a drawn graph of {size} tasks"),
        }
    }
}

impl Options {
    fn size(&self, program: Program, contender: Contender) -> usize {
        match (program, contender) {
            (Program::Submits, _) => self.submits,
            (Program::Chain, _) => self.hops,
            (Program::Tree, _) => self.leaves,
            (Program::MapReduce, _) => self.mapped,
            (Program::Graph, Contender::Dask) => self.dask_tasks,
            (Program::Graph, Contender::Embedded | Contender::Fleet) => self.tasks,
        }
    }
}

/// Where contenders meet.
struct Stage {
    options: Options,
    cache: tempfile::TempDir,
    python: Option<PathBuf>,
}

impl Stage {
    fn new(options: Options) -> Result<Self> {
        let scratch = PathBuf::from("target/bench");
        fs::create_dir_all(&scratch)?;
        let cache = tempfile::tempdir_in(&scratch)?;
        let python = if options.without_dask {
            None
        } else {
            match python(&scratch, &["dask[distributed]"]) {
                Ok(python) => Some(python),
                Err(error) => {
                    println!("Dask is skipped, because it cannot be installed: {error:#}");
                    None
                }
            }
        };
        Ok(Self {
            options,
            cache,
            python,
        })
    }

    async fn race(&self) -> Result<()> {
        println!(
            "a fleet of {} workers of {} slots; Dask with two workers of one thread; `add` and \
             `sum` of {}",
            self.options.workers,
            self.options.concurrency,
            self.options.component.display()
        );
        // Compiles the component, so that no measurement does.
        self.client(Program::Submits, WARM_UP, None)?;
        let mut rounds = Rounds::new();
        for _ in 0..self.options.rounds.get() {
            self.measure(&mut rounds, Contender::Embedded, |program, size| {
                self.client(program, size, None)
            })?;
            self.fleet(&mut rounds).await?;
            if let Some(python) = &self.python {
                self.measure(&mut rounds, Contender::Dask, |program, size| {
                    self.dask(python, program, size)
                })?;
            }
        }
        self.tell(&rounds);
        Ok(())
    }

    /// A fleet that is gone when others are measured.
    async fn fleet(&self, rounds: &mut Rounds) -> Result<()> {
        let server = NatsServer::start().await;
        let concurrency = self.options.concurrency.to_string();
        let workers = (0..self.options.workers)
            .map(|_| Worker::start(&server.url(), ["--concurrency", &concurrency]));
        let _workers = workers.collect::<Result<Vec<_>>>()?;
        let url = server.url();
        self.client(Program::Submits, FLEET_WARM_UP, Some(&url))?;
        self.measure(rounds, Contender::Fleet, |program, size| {
            self.client(program, size, Some(&url))
        })
    }

    /// All programs, each in a process of its own.
    fn measure(
        &self,
        rounds: &mut Rounds,
        contender: Contender,
        run: impl Fn(Program, usize) -> Result<Measured>,
    ) -> Result<()> {
        for program in Program::ALL {
            let size = self.options.size(program, contender);
            let measured = run(program, size)
                .with_context(|| format!("{contender:?} failed with {}", program.name()))?;
            println!(
                "  {contender:<8} {:<44} {}",
                program.about(size),
                measured.time()
            );
            let measurements = rounds.entry((program, contender)).or_default();
            measurements.push(measured);
        }
        Ok(())
    }

    fn client(&self, program: Program, size: usize, server: Option<&str>) -> Result<Measured> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["run", program.name(), &size.to_string()])
            .args(["--seed", &self.options.seed.to_string()])
            .arg("--component")
            .arg(&self.options.component)
            .arg("--cache")
            .arg(self.cache.path());
        if let Some(server) = server {
            command.args(["--server", server]);
        }
        measured(&mut command)
    }

    fn dask(&self, python: &Path, program: Program, size: usize) -> Result<Measured> {
        let mut command = Command::new(python);
        command
            .args(["bench/dask_graphs.py", program.name(), &size.to_string()])
            .args([program.fan_in().to_string(), self.options.seed.to_string()])
            // Workers import the script by its name.
            .env("PYTHONPATH", std::env::current_dir()?.join("bench"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        measured(&mut command)
    }

    /// The medians, as a table.
    fn tell(&self, rounds: &Rounds) {
        let contenders = [Contender::Embedded, Contender::Fleet, Contender::Dask];
        row(["", "embedded", "fleet", "Dask", "Dask / fleet"]);
        row(["---"; 5]);
        for program in Program::ALL {
            let [embedded, fleet, dask] =
                contenders.map(|contender| median(rounds, (program, contender), Measured::each));
            let time = |measured: &Option<Measured>| measured.map_or("-".into(), |it| it.time());
            let size = self.options.size(program, Contender::Fleet);
            row([
                &program.about(size),
                &time(&embedded),
                &time(&fleet),
                &time(&dask),
                &ratio(dask.zip(fleet), Measured::each),
            ]);
        }
        let [embedded, fleet, dask] = contenders
            .map(|contender| median(rounds, (Program::Graph, contender), Measured::memory_each));
        let memory = |measured: &Option<Measured>| {
            measured.map_or("-".into(), |it| format!("{:.0} B", it.memory_each()))
        };
        row([
            "its memory in the client, for each task",
            &memory(&embedded),
            &memory(&fleet),
            &memory(&dask),
            &ratio(dask.zip(fleet), Measured::memory_each),
        ]);
        println!(
            "medians of {} rounds; Dask's graph has {} tasks",
            self.options.rounds, self.options.dask_tasks
        );
    }
}

impl Measured {
    /// Seconds for each task.
    fn each(&self) -> f64 {
        self.seconds / self.tasks
    }

    /// Bytes for each task.
    fn memory_each(&self) -> f64 {
        self.memory / self.tasks
    }

    fn time(&self) -> String {
        format!("{:.3} s, {:.1} us each", self.seconds, 1e6 * self.each())
    }
}

impl std::fmt::Display for Contender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Embedded => "embedded",
            Self::Fleet => "fleet",
            Self::Dask => "Dask",
        })
    }
}

fn row(cells: [&str; 5]) {
    let [what, embedded, fleet, dask, ratio] = cells;
    println!("| {what:<40} | {embedded:<26} | {fleet:<26} | {dask:<26} | {ratio:<12} |");
}

fn median(rounds: &Rounds, of: (Program, Contender), by: fn(&Measured) -> f64) -> Option<Measured> {
    let mut sorted = rounds.get(&of)?.clone();
    sorted.sort_by(|a, b| by(a).total_cmp(&by(b)));
    sorted.get(sorted.len() / 2).copied()
}

fn ratio(of: Option<(Measured, Measured)>, by: fn(&Measured) -> f64) -> String {
    of.map_or("-".into(), |(dask, fleet)| {
        format!("{:.1}", by(&dask) / by(&fleet))
    })
}

/// What the process prints last.
fn measured(command: &mut Command) -> Result<Measured> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "it ended with {}: {stderr}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let line: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let number = |name: &str| line[name].as_f64().with_context(|| format!("no `{name}`"));
    Ok(Measured {
        tasks: number("tasks")?,
        seconds: number("seconds")?,
        memory: number("memory")?,
    })
}

impl Run {
    /// In a process of its own: measure, and print it.
    async fn run(&self) -> Result<()> {
        let builder = Client::builder().cache(&self.cache);
        let client = match &self.server {
            Some(server) => builder.connect(Config::new(server, Role::Client)).await?,
            None => builder.start()?,
        };
        let component = client.load(&self.component).await.with_context(|| {
            format!(
                "failed to load `{}`; build it with `cargo xtask guests`",
                self.component.display()
            )
        })?;
        let functions = Functions {
            add: component.function("add")?.memo(Memo::Off),
            sum: component.function("sum")?.memo(Memo::Off),
            client,
        };
        functions.submits(WARM_UP).await?;
        let drawn = match self.program {
            Program::Graph => Drawn::new(self.size, self.seed),
            _ => Drawn::default(),
        };
        let before = restart_peak_memory();
        let (tasks, took) = match self.program {
            Program::Submits => functions.submits(self.size).await?,
            Program::Chain => functions.chain(self.size).await?,
            Program::Tree | Program::MapReduce => {
                functions.tree(self.size, self.program.fan_in()).await?
            }
            Program::Graph => functions.graph(&drawn).await?,
        };
        let memory = peak_memory().saturating_sub(before);
        let line = json!({ "tasks": tasks, "seconds": took.as_secs_f64(), "memory": memory });
        println!("{line}");
        functions.client.flush_jobs().await;
        Ok(())
    }
}

/// The functions that tasks call. Programs return how many tasks there were, and what they took.
struct Functions {
    client: Client,
    add: Function<i64>,
    sum: Function<i64>,
}

impl Functions {
    /// Tasks that take nothing from each other: the numbers from 1.
    async fn leaves(&self, count: usize) -> Result<Vec<TaskFuture<i64>>> {
        let mut leaves = Vec::with_capacity(count);
        for n in 0..count {
            leaves.push(self.client.submit(&self.add, (n, 1)).await?);
        }
        Ok(leaves)
    }

    async fn submits(&self, count: usize) -> Result<(usize, Duration)> {
        let began = Instant::now();
        let results = sortie::gather(self.leaves(count).await?).await;
        let took = began.elapsed();
        for (n, result) in (1..).zip(results) {
            ensure!(result? == n, "a result is not that of its task");
        }
        Ok((count, took))
    }

    async fn chain(&self, hops: usize) -> Result<(usize, Duration)> {
        let began = Instant::now();
        let mut last = self.client.submit(&self.add, (0, 1)).await?;
        for _ in 1..hops {
            last = self.client.submit(&self.add, (last, 1)).await?;
        }
        let result = last.await?;
        let took = began.elapsed();
        ensure!(result == i64::try_from(hops)?, "the chain gave {result}");
        Ok((hops, took))
    }

    async fn tree(&self, leaves: usize, fan_in: usize) -> Result<(usize, Duration)> {
        let fan_in = NonZeroUsize::new(fan_in).context("a tree has a fan-in")?;
        let began = Instant::now();
        let numbers = self.leaves(leaves).await?;
        // Tasks have indices in the order in which they were submitted, and the root is the last.
        let first = numbers.first().context("a tree has leaves")?.index();
        let root = self.client.reduce(&self.sum, numbers, fan_in).await?;
        let tasks = root.index() - first + 1;
        let result = root.await?;
        let took = began.elapsed();
        let expected = i64::try_from(leaves * (leaves + 1) / 2)?;
        ensure!(result == expected, "the tree gave {result}, not {expected}");
        Ok((usize::try_from(tasks)?, took))
    }

    async fn graph(&self, drawn: &Drawn) -> Result<(usize, Duration)> {
        let began = Instant::now();
        let mut futures: Vec<TaskFuture<i64>> = Vec::with_capacity(drawn.inputs.len());
        for inputs in &drawn.inputs {
            let future = match inputs {
                None => self.client.submit(&self.sum, ([1],)).await?,
                Some(inputs) => {
                    let numbers = inputs.map(|input| &futures[input]);
                    self.client.submit(&self.sum, (numbers,)).await?
                }
            };
            futures.push(future);
        }
        let mut sinks = Vec::new();
        for (future, is_taken) in futures.into_iter().zip(&drawn.taken) {
            if !is_taken {
                sinks.push(future);
            }
        }
        let results = sortie::gather(sinks).await;
        let took = began.elapsed();
        let expected = drawn.sinks();
        ensure!(results.len() == expected.len(), "a sink is missing");
        for (result, expected) in results.into_iter().zip(expected) {
            ensure!(result? == expected, "a result is not that of its inputs");
        }
        Ok((drawn.inputs.len(), took))
    }
}
