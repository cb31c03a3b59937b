//! What a task costs through a broker: tasks a second through one nats-server and worker processes,
//! with and without bundles, beside what the server can do by itself; the round trip of a single
//! `Client::submit`; and a map of a million tasks.
//!
//! Client, server and workers share this machine's cores. Tasks without bundles are driven through
//! the broker, as a client does it whose bundles hold one task; those with bundles through
//! `Client::map`. The long map has a server and workers of its own, whose memory and disk are
//! looked at.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie::protocol::job::Memo;
use sortie::protocol::{
    Argument, Bundle, FunctionOptions, FunctionRef, Job, JobId, JobKey, Task, TenantId, Timestamp,
};
use sortie::{Client, Function};
use sortie_bench::worker::Worker;
use sortie_broker::nats::{Config, NatsBroker, Role};
use sortie_broker::{Event, Submit as _};
use sortie_harness::NatsServer;

/// Measure a fleet on this machine.
#[derive(Parser)]
struct Options {
    /// The component; it must have a function `empty` without parameters.
    #[arg(long, default_value = "target/components/behaviours.wasm")]
    component: PathBuf,
    /// Number of worker processes.
    #[arg(long, default_value_t = 2)]
    workers: u64,
    /// How many bundles each worker processes concurrently.
    #[arg(long, default_value = "4")]
    concurrency: NonZeroUsize,
    /// Number of tasks in each measured map.
    #[arg(long, default_value_t = 200_000)]
    tasks: u64,
    /// Number of tasks in the runs without bundling, and of messages to the bare server.
    #[arg(long, default_value_t = 20_000)]
    single: u64,
    /// Rounds of all three contenders, one after another; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of single submits.
    #[arg(long, default_value_t = 2_000)]
    submits: usize,
    /// Number of tasks in the long map.
    #[arg(long, default_value_t = 1_000_000)]
    long: u64,
    /// Only run the long map against this broker: used by a separate process, so that its memory
    /// can be measured.
    #[arg(long, hide = true)]
    long_against: Option<String>,
}

/// How often the server's folder is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Bundles of one task that are being published at once.
const PUBLISHES_AT_ONCE: usize = 64;

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match options.long_against.clone() {
            Some(server) => long(&options, &server).await,
            None => measure(&options).await,
        }
    })
}

async fn measure(options: &Options) -> Result<()> {
    race(options).await?;
    long_beside(options).await
}

async fn start(options: &Options) -> Result<(NatsServer, Vec<Worker>)> {
    let server = NatsServer::start().await;
    let workers = (0..options.workers)
        .map(|_| {
            let concurrency = options.concurrency.to_string();
            Worker::start(&server.url(), ["--concurrency", &concurrency])
        })
        .collect::<Result<Vec<_>>>()?;
    Ok((server, workers))
}

/// The bare server, tasks one by one and in bundles in turn; then single submits.
async fn race(options: &Options) -> Result<()> {
    let (server, workers) = start(options).await?;
    let broker = NatsBroker::connect(Config::new(server.url(), Role::Client)).await?;
    let (client, empty, reference) = connect(&server.url(), &options.component).await?;
    println!(
        "one nats-server, {} workers of {} slots; guest `empty` of {}",
        workers.len(),
        options.concurrency,
        options.component.display()
    );
    map(&client, &empty, 20_000).await?;

    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let raw = rate(
            options.single,
            sortie_bench::raw::run(&server.url(), options.single, options.workers).await?,
        );
        let single = rate(
            options.single,
            singles(&broker, &reference, options.single).await?,
        );
        let (took, _) = map(&client, &empty, options.tasks).await?;
        let bundled = rate(options.tasks, took);
        println!(
            "  bare server {raw:>8.0} messages/s   without bundles {single:>8.0} tasks/s   with \
             bundles {bundled:>8.0} tasks/s"
        );
        rounds.push((bundled, single, raw));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (bundled, single, raw) = rounds[rounds.len() / 2];
    println!(
        "median: bare server {raw:.0} messages/s, without bundles {single:.0} tasks/s ({:.2}), \
         with {bundled:.0} tasks/s",
        single / raw
    );

    let mut trips = Vec::with_capacity(options.submits);
    for _ in 0..options.submits {
        let began = Instant::now();
        client.submit(&empty, ()).await?.await?;
        trips.push(began.elapsed());
    }
    let (p50, p99) = (
        sortie_bench::percentile(&mut trips, 50),
        sortie_bench::percentile(&mut trips, 99),
    );
    println!(
        "submit to result, one at a time, {} tasks: p50 {p50:?}, p99 {p99:?}",
        options.submits
    );
    Ok(())
}

/// The long map in a process of its own, with a server that has done nothing else.
async fn long_beside(options: &Options) -> Result<()> {
    let (server, _workers) = start(options).await?;
    let mut mapping = Command::new(std::env::current_exe()?)
        .args([
            "--long-against",
            &server.url(),
            "--long",
            &options.long.to_string(),
            "--component",
        ])
        .arg(&options.component)
        .spawn()?;
    let mut disk = 0;
    let status = loop {
        disk = disk.max(size_of(&server.folder().join("store")));
        match mapping.try_wait()? {
            Some(status) => break status,
            None => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    };
    ensure!(status.success(), "the long map failed");
    let pid = server.pid().context("the server is gone")?;
    let memory = sortie_bench::peak_memory_of(&pid.to_string());
    println!(
        "the server at most: {:.0} MB of memory, {:.0} MB on disk",
        megabytes(memory),
        megabytes(disk)
    );
    Ok(())
}

async fn connect(server: &str, component: &Path) -> Result<(Client, Function<()>, FunctionRef)> {
    let bytes = std::fs::read(component).with_context(|| {
        format!(
            "failed to read `{}`; build it with `cargo xtask guests`",
            component.display()
        )
    })?;
    let client = Client::connect(server).await?;
    let component = client.load_bytes(bytes).await?;
    let reference = FunctionRef {
        component: component.digest(),
        name: "empty".into(),
    };
    let empty: Function<()> = component.function("empty")?;
    Ok((client, empty.memo(Memo::Off), reference))
}

/// A map in a process of its own.
async fn long(options: &Options, server: &str) -> Result<()> {
    let (client, empty, _) = connect(server, &options.component).await?;
    let (took, first) = map(&client, &empty, options.long).await?;
    println!(
        "map of {} tasks, streamed: first outcome after {first:?}, {:.1} s, {:.0} tasks/s, peak \
         memory of the client {:.0} MB",
        options.long,
        took.as_secs_f64(),
        rate(options.long, took),
        megabytes(sortie_bench::peak_memory())
    );
    Ok(())
}

/// How long a map takes, and how long until its first outcome.
async fn map(client: &Client, function: &Function<()>, tasks: u64) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    let mut first = None;
    let mut job = client.map(function, (0..tasks).map(|_| ()));
    let mut completed = 0;
    while let Some(outcome) = job.next().await {
        outcome.result?;
        first.get_or_insert_with(|| began.elapsed());
        completed += 1;
    }
    ensure!(completed == tasks, "{completed} of {tasks} tasks completed");
    let took = began.elapsed();
    drop(job);
    // What the broker forgets now is not to be a part of what is measured next.
    client.flush_jobs().await;
    Ok((took, first.unwrap_or_default()))
}

/// How long tasks take of which each travels alone.
async fn singles(broker: &NatsBroker, function: &FunctionRef, tasks: u64) -> Result<Duration> {
    let mut name = [0; 16];
    name[..8].copy_from_slice(
        &u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_nanos())?.to_be_bytes(),
    );
    let key = JobKey {
        tenant: TenantId::default(),
        job: JobId::from_bytes(name),
    };
    let options = FunctionOptions {
        memo: Memo::Off,
        ..FunctionOptions::default()
    };
    broker
        .put_job(
            Job::of(key, function.clone(), options),
            Timestamp::default(),
        )
        .await?;
    let mut events = broker.follow(key, 0).await?;
    let began = Instant::now();
    let publishing = async {
        let bundle = |index| Bundle {
            job: key,
            attempts_before: 0,
            lost_before: 0,
            published: Timestamp::default(),
            tasks: vec![Task {
                index,
                function: 0,
                arguments: Vec::<Argument>::new(),
                input: None,
                then: Vec::new(),
            }],
        };
        let publishing = stream::iter(0..tasks).map(|index| broker.publish(bundle(index)));
        publishing
            .buffer_unordered(PUBLISHES_AT_ONCE)
            .try_collect::<()>()
            .await
            .map_err(anyhow::Error::from)
    };
    let following = async {
        let mut ended = 0;
        while ended < tasks {
            match events.next().await {
                Some(Event::Outcomes(_, outcomes)) => ended += outcomes.len() as u64,
                Some(Event::CaughtUp(_) | Event::Submitting | Event::Sealed(_)) => {}
                other => bail!("the outcomes ended with {other:?}"),
            }
        }
        Ok(())
    };
    futures::future::try_join(publishing, following).await?;
    let took = began.elapsed();
    broker.forget(key).await?;
    Ok(took)
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What a folder takes on disk. What goes away while this looks does not count.
fn size_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_of(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
