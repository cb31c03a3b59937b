//! What one isolated task costs: wasmtime alone beside the same guest through `Client::map`, in one
//! run; the round trip of a single `Client::submit`; and the memory of a long map.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use sortie::{Client, Function};

/// Measure dispatch.
#[derive(Parser)]
struct Options {
    /// The component; it must have a function `empty` without parameters.
    #[arg(long, default_value = "target/components/behaviours.wasm")]
    component: PathBuf,
    /// Number of tasks in each measured map.
    #[arg(long, default_value_t = 200_000)]
    tasks: u64,
    /// Rounds of bare loop and map, alternating; the median round counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of single submits.
    #[arg(long, default_value_t = 5_000)]
    submits: usize,
    /// Number of tasks in the long map.
    #[arg(long, default_value_t = 1_000_000)]
    long: u64,
    /// How many tasks run concurrently [default: twice the number of threads].
    #[arg(long)]
    concurrency: Option<NonZeroUsize>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: Options) -> Result<()> {
    let bytes = std::fs::read(&options.component).with_context(|| {
        format!(
            "failed to read `{}`; build it with `cargo xtask guests`",
            options.component.display()
        )
    })?;
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut builder = Client::builder();
    if let Some(concurrency) = options.concurrency {
        builder = builder.concurrency(concurrency);
    }
    let client = builder.start()?;
    let empty: Function<()> = client.load_bytes(bytes.clone()).await?.function("empty")?;
    map(&client, &empty, 20_000).await?;

    println!(
        "{threads} threads; guest `empty` of {}",
        options.component.display()
    );
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let (calls, took) = tokio::task::block_in_place(|| {
            sortie_bench::bare::run(&bytes, "empty", threads, Duration::from_secs(3))
        })?;
        let bare = calls as f64 / took.as_secs_f64();
        let took = map(&client, &empty, options.tasks).await?;
        let sortie = options.tasks as f64 / took.as_secs_f64();
        println!(
            "  bare {bare:>9.0}/s {:>5.1} us   map {sortie:>9.0}/s {:>5.1} us   ratio {:.2}",
            cost(bare, threads),
            cost(sortie, threads),
            sortie / bare
        );
        rounds.push((sortie / bare, bare, sortie));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, bare, sortie) = rounds[rounds.len() / 2];
    println!(
        "median: bare loop {bare:.0} tasks/s, client.map {sortie:.0} tasks/s, ratio {ratio:.2}"
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

    let before = sortie_bench::peak_memory();
    let took = map(&client, &empty, options.long).await?;
    let rate = options.long as f64 / took.as_secs_f64();
    println!(
        "map of {} tasks, streamed: {:.1} s, {rate:.0} tasks/s, peak memory of the process {:.0} \
         MB ({:.0} MB before)",
        options.long,
        took.as_secs_f64(),
        sortie_bench::peak_memory() as f64 / 1e6,
        before as f64 / 1e6
    );
    Ok(())
}

/// Microseconds of one thread that a task takes.
fn cost(rate: f64, threads: usize) -> f64 {
    1e6 * threads as f64 / rate
}

async fn map(client: &Client, function: &Function<()>, tasks: u64) -> Result<Duration> {
    let began = Instant::now();
    let mut job = client.map(function, (0..tasks).map(|_| ()));
    let mut completed = 0;
    while let Some(outcome) = job.next().await {
        outcome.result?;
        completed += 1;
    }
    ensure!(completed == tasks, "{completed} of {tasks} tasks completed");
    Ok(began.elapsed())
}
