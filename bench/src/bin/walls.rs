//! What a worker's walls hold: its memory under work that asks for too much at once, and what an
//! honest tenant has left beside one that attacks.
//!
//! Memory: one worker with a budget, and at the same time stored arguments, tasks with large
//! memories, large results and floods of logs. The number is the most memory that the worker's
//! process held (`VmHWM`); each task has to end as it would alone.
//!
//! Neighbours: one server with the accounts that are deployed, two tenants, one worker. The honest
//! tenant maps tasks of a few milliseconds, first alone and then beside the other, a process of its
//! own that publishes as fast as it may: loops, memory bombs, floods, absurd limits, components
//! that are refused and components that are slow to compile. Server and worker share the cores of
//! this machine. So does the attacker, which would have its own: it has the lowest priority.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use sortie::nats::{Config, Role};
use sortie::protocol::job::Memo;
use sortie::protocol::{ByteSize, Digest, FunctionRef, Location, Signature, TenantId};
use sortie::{Client, Component, Function, Input, TaskError, value};
use sortie_bench::worker::Worker;
use sortie_broker::nats::NatsBroker;
use sortie_broker::{Operate as _, Submit as _};
use sortie_harness::{NatsServer, repository};

/// Measure what the walls of a worker hold.
#[derive(Parser)]
struct Options {
    /// The component, as tests use it.
    #[arg(long, default_value = "target/components/behaviours.wasm")]
    component: PathBuf,
    /// The memory of the worker whose memory is measured.
    #[arg(long, default_value = "1GiB")]
    memory: ByteSize,
    /// Number of tasks with a stored argument of 256 MiB.
    #[arg(long, default_value_t = 16)]
    arguments: u64,
    /// Seconds for which the honest tenant is alone.
    #[arg(long, default_value_t = 30)]
    quiet: u64,
    /// Seconds of the attack; 0 leaves it out.
    #[arg(long, default_value_t = 300)]
    attack: u64,
    /// Only attack this broker: used by a separate process.
    #[arg(long, hide = true)]
    attack_at: Option<String>,
}

const ARGUMENT_BYTES: usize = 256 << 20;
const RESULT_BYTES: u64 = 63 << 20;
const LARGE_MEMORY: ByteSize = ByteSize::mib(600);
/// The memory of a task with a stored argument. Together they take most of a gigabyte; the function
/// itself needs several times its argument, and ends at this limit.
const ARGUMENT_MEMORY: ByteSize = ByteSize::mib(512);
/// Iterations of one honest task: about five milliseconds.
const HONEST_WORK: u64 = 5_000_000;

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if let Some(server) = options.attack_at.clone() {
            return attack(&options, &server).await;
        }
        memory(&options).await?;
        if options.attack > 0 {
            neighbours(&options).await?;
        }
        Ok(())
    })
}

async fn load(client: &Client, path: &Path) -> Result<Component> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(client.load_bytes(bytes).await?)
}

fn function<T>(component: &Component, name: &str) -> Result<Function<T>> {
    Ok(component.function(name)?.memo(Memo::Off))
}

/// How tasks ended, by code.
type Endings = BTreeMap<String, u64>;

/// Map, and count how the tasks ended.
async fn endings<T>(
    client: &Client,
    function: &Function<T>,
    inputs: impl Iterator<Item = Input> + Send + 'static,
) -> Result<Endings>
where
    T: sortie::Decode + Send + 'static,
{
    let mut job = client.map(function, inputs);
    let mut endings = Endings::new();
    while let Some(outcome) = job.next().await {
        let code = match outcome.result {
            Ok(_) => "completed".to_owned(),
            Err(TaskError::Failed(failure)) => failure.code().to_owned(),
            Err(error) => bail!("a task was lost: {error}"),
        };
        *endings.entry(code).or_default() += 1;
    }
    Ok(endings)
}

/// The memory of one worker under all that asks for much.
async fn memory(options: &Options) -> Result<()> {
    let server = NatsServer::start().await;
    let store = tempfile::tempdir()?;
    let place = store.path().to_str().context("a folder's name")?;
    let budget = options.memory.to_string().replace(' ', "");
    let arguments = ["--memory", &budget, "--concurrency", "4", "--store", place];
    let worker = Worker::start(&server.url(), arguments)?;
    let before = worker.peak_memory();
    let client = Client::builder()
        .store(Location::File(store.path().into()))
        .connect(Config::new(server.url(), Role::Client))
        .await?;
    let component = load(&client, &options.component).await?;
    let began = Instant::now();
    let takes = function::<bool>(&component, "opens_file")?.memory(ARGUMENT_MEMORY);
    let argument = |_| value(" ".repeat(ARGUMENT_BYTES));
    let allocates = function::<u64>(&component, "allocates")?.memory(LARGE_MEMORY);
    let returns = function::<Vec<u8>>(&component, "returns_bytes")?.memory(ByteSize::mib(256));
    let floods = function::<()>(&component, "floods_log")?;
    let mut options_of = floods.options().clone();
    options_of.limits.log = ByteSize::mib(16);
    let floods = floods.with_options(options_of);
    let ended = futures::future::try_join4(
        endings(&client, &takes, (0..options.arguments).map(argument)),
        endings(&client, &allocates, (0..16).map(|_| value(500_u64 << 20))),
        endings(&client, &returns, (0..32).map(|_| value(RESULT_BYTES))),
        endings(&client, &floods, (0..64).map(|_| value(200_000_u64))),
    );
    let (arguments, memories, results, logs) = ended.await?;
    println!(
        "a worker with {} under stored arguments of 256 MiB {arguments:?}, tasks of 600 MiB \
         {memories:?}, results of 63 MiB {results:?}, floods of logs {logs:?}:",
        options.memory
    );
    println!(
        "  peak memory {:.0} MiB ({:.0} MiB before it had work), {:.0} s",
        mebibytes(worker.peak_memory()),
        mebibytes(before),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn url(server: &NatsServer, user: &str) -> String {
    let to = format!("nats://{user}:{user}-pw@");
    server.url().replace("nats://", &to)
}

fn tenant(name: &str, server: &str) -> Result<Config> {
    let mut config = Config::new(server.to_owned(), Role::Client);
    config.tenant = name.parse::<TenantId>()?;
    Ok(config)
}

/// A server with the deployed accounts of two tenants.
async fn shared_server() -> Result<NatsServer> {
    let users = ["operator", "acme", "globex", "worker"];
    let builder = NatsServer::builder().deployed(&repository().join("deploy/nats"), "server.conf");
    let builder = users.iter().fold(builder, |builder, user| {
        let variable = format!("SORTIE_{}_PASSWORD", user.to_uppercase());
        builder.variable(&variable, &format!("{user}-pw"))
    });
    let server = builder.start().await;
    let program = std::env::current_exe()?.with_file_name("sortie");
    for name in ["acme", "globex"] {
        sortie_bench::run(
            Command::new(&program)
                .args(["broker", "init", "--tenant", name, "--queue-size", "64MiB"])
                .env("SORTIE_BROKER", url(&server, "operator")),
        )?;
    }
    Ok(server)
}

/// What an honest tenant gets, alone and beside one that attacks.
async fn neighbours(options: &Options) -> Result<()> {
    let server = shared_server().await?;
    let memory = ["--memory", "2GiB", "--concurrency", "4"];
    let worker = Worker::start(&url(&server, "worker"), memory)?;
    let client = Client::fleet(tenant("acme", &url(&server, "acme"))?).await?;
    let component = load(&client, &options.component).await?;
    let works = function::<u64>(&component, "spins_for")?;
    let mut honest = Honest::start(&client, &works);
    honest.for_at_least(Duration::from_secs(5)).await?;
    let quiet = honest
        .for_at_least(Duration::from_secs(options.quiet))
        .await?;
    let attacker = Attacker::start(&url(&server, "globex"), &options.component)?;
    let mut rates = Vec::new();
    let parts = 10;
    for _ in 0..parts {
        let part = Duration::from_secs(options.attack) / parts;
        rates.push(honest.for_at_least(part).await?);
    }
    drop(attacker);
    let after = honest
        .for_at_least(Duration::from_secs(options.quiet))
        .await?;
    let lost = honest.end().await?;
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "an honest tenant: alone {quiet:.0} tasks/s; beside an attack of {} s {mean:.0} ({:.2}), \
         in its worst tenth {least:.0} ({:.2}); afterwards {after:.0}; tasks lost {lost}; peak \
         memory of the worker {:.0} MiB",
        options.attack,
        mean / quiet,
        least / quiet,
        mebibytes(worker.peak_memory())
    );
    Ok(())
}

/// A map that goes on until it is told to stop.
struct Honest {
    job: sortie::Job<u64>,
    goes_on: std::sync::Arc<AtomicBool>,
    completed: u64,
}

impl Honest {
    fn start(client: &Client, works: &Function<u64>) -> Self {
        let goes_on = std::sync::Arc::new(AtomicBool::new(true));
        let more = goes_on.clone();
        let inputs =
            std::iter::from_fn(move || more.load(Ordering::Relaxed).then(|| value(HONEST_WORK)));
        Self {
            job: client.map(works, inputs),
            goes_on,
            completed: 0,
        }
    }

    /// Tasks a second, over at least this time.
    async fn for_at_least(&mut self, time: Duration) -> Result<f64> {
        let (began, before) = (Instant::now(), self.completed);
        while began.elapsed() < time {
            self.job.next().await.context("the map ended")?.result?;
            self.completed += 1;
        }
        Ok((self.completed - before) as f64 / began.elapsed().as_secs_f64())
    }

    /// Let it end. How many tasks have no result.
    async fn end(mut self) -> Result<u64> {
        self.goes_on.store(false, Ordering::Relaxed);
        let mut last = 0;
        while let Some(outcome) = self.job.next().await {
            outcome.result?;
            last = last.max(outcome.index + 1);
            self.completed += 1;
        }
        Ok(last.saturating_sub(self.completed))
    }
}

/// The process that attacks, which ends with its handle.
struct Attacker(Child);

impl Attacker {
    fn start(server: &str, component: &Path) -> Result<Self> {
        let mut attacking = Command::new("nice");
        attacking
            .args(["-n", "19"])
            .arg(std::env::current_exe()?)
            .args(["--attack-at", server, "--component"])
            .arg(component);
        Ok(Self(attacking.spawn()?))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that a tenant can do, for ever.
async fn attack(options: &Options, server: &str) -> Result<()> {
    let config = tenant("globex", server)?;
    let client = Client::fleet(config.clone()).await?;
    let broker = NatsBroker::connect(config).await?;
    let component = load(&client, &options.component).await?;
    let hostile = [
        "spins_forever",
        "grows_memory",
        "overflows_stack",
        "floods_stdout",
    ];
    let mut floods = Vec::new();
    for name in hostile {
        let function = function::<()>(&component, name)?;
        floods.push(flood(client.clone(), function));
    }
    let mut absurd = function::<()>(&component, "empty")?;
    let mut limits = absurd.options().clone();
    limits.limits.log = ByteSize(u64::MAX);
    limits.limits.memory = ByteSize(u64::MAX >> 1);
    absurd = absurd.with_options(limits);
    floods.push(flood(client.clone(), absurd));
    let components = components(&client, &broker);
    let jobs = async {
        // Lists and cancels what it can name.
        loop {
            for record in broker.jobs(100).await? {
                broker.cancel(record.job.key).await?;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    let (floods, components, jobs) =
        futures::join!(futures::future::join_all(floods), components, jobs);
    let floods: Result<Vec<()>> = floods.into_iter().collect();
    floods.and(components).and(jobs)
}

/// Map a function over as much as the queue takes, again and again.
async fn flood(client: Client, function: Function<()>) -> Result<()> {
    loop {
        let mut job = client.map(
            &function,
            std::iter::repeat_with(|| value(())).take(100_000),
        );
        while job.next().await.is_some() {}
    }
}

/// Components without end: some are refused, some take long to compile.
async fn components(client: &Client, broker: &NatsBroker) -> Result<()> {
    for number in 0_u64.. {
        let text = if number % 2 == 0 {
            refused(number)
        } else {
            slow(number)
        };
        let bytes = wat::parse_str(text)?;
        let digest = Digest::of(&bytes);
        broker.put_component(digest, bytes.into()).await?;
        let reference = FunctionRef {
            component: digest,
            name: "none".into(),
        };
        let signature = Signature {
            name: "none".into(),
            doc: String::new(),
            parameters: Vec::new(),
            returns: String::new(),
        };
        let asks: Function<()> = Function::new(reference, signature);
        let mut job = client.map(&asks, [()]);
        // What it did is of no interest; how many are begun is bounded by that.
        let _ = tokio::time::timeout(Duration::from_secs(5), job.next()).await;
    }
    ensure!(false, "numbers ended");
    Ok(())
}

/// A component that does not export the contract.
fn refused(number: u64) -> String {
    format!("(component (core module (global i64 (i64.const {number}))))")
}

/// A component that looks like one of ours, within the bounds of what is looked at before it is
/// compiled: many values that live across many branches.
fn slow(number: u64) -> String {
    const LOCALS: usize = 400;
    let step = |branch: usize| {
        let (to, from) = (branch * 7 % LOCALS, branch * 13 % LOCALS);
        format!(
            "(block (br_if 0 (i64.eqz (local.get {from}))) \
             (local.set {to} (i64.add (local.get {to}) (local.get {from}))))"
        )
    };
    let steps: String = (0..4_000).map(step).collect();
    let sum: String = (0..LOCALS)
        .map(|local| format!("(i64.xor (local.get {local})) "))
        .collect();
    let params = "i64 ".repeat(LOCALS);
    format!(
        "(component (core module (func (param {params}) (result i64) \
         (loop {steps} (br_if 0 (i64.eqz (local.get 0)))) (i64.const {number}) {sum})) \
         (instance $none) (export \"sortie:task/handler@0.2.0\" (instance $none)))"
    )
}
