//! Graphs whose client is killed before anything ran, and whose workers and server are killed after
//! some of it did: every task ends, with the value that it would have had.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;
use rustix::process::Signal;
use sortie::nats::{Config, NatsBroker, Role};
use sortie::{Client, Function, JobId, JobKey, TaskFuture, TenantId};
use sortie_broker::{Coordinate as _, Event, Submit as _};
use sortie_harness::{NatsServer, Sortie, until_asked};
use tokio::runtime::Runtime;

use crate::{function, in_time};

/// Names the broker for the process that submits, and how many tasks.
const BROKER: &str = "SORTIE_TEST_SUBMITS_TO";
const TASKS_VARIABLE: &str = "SORTIE_TEST_SUBMITS_TASKS";
/// Tasks of the graph that is killed as a whole; the first of each graph take no results.
const TASKS: usize = 400;
const FIRST: usize = 20;
/// Tasks of the graph under faults.
const MANY: usize = 2000;
/// The pause between two faults.
const FAULT_PAUSE: Duration = Duration::from_secs(2);

/// What a task of the graph adds up.
#[derive(Debug, Clone, Copy)]
enum Adds {
    /// A number and one.
    Number(i64),
    /// The result of the task before, and one.
    Before,
    /// The results of three tasks.
    Three([usize; 3]),
}

/// The graph, the same in each process: chains, and sums of tasks far before.
fn graph(tasks: usize) -> Vec<Adds> {
    let mut below = dice();
    let adds = |task: usize| match task {
        ..FIRST => Adds::Number(i64::try_from(task).unwrap()),
        _ if task.is_multiple_of(4) => Adds::Before,
        _ => Adds::Three([(); 3].map(|()| below(task / 2))),
    };
    (0..tasks).map(adds).collect()
}

/// Numbers below a bound, the same in each process.
fn dice() -> impl FnMut(usize) -> usize {
    let mut state = 20_261_127_u64;
    move |bound| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    }
}

fn values(graph: &[Adds]) -> Vec<i64> {
    let mut values: Vec<i64> = Vec::new();
    for adds in graph {
        values.push(match adds {
            Adds::Number(number) => number + 1,
            Adds::Before => values[values.len() - 1] + 1,
            Adds::Three(tasks) => tasks.iter().map(|task| values[*task]).sum(),
        });
    }
    values
}

/// The process that submits: only where it was started for that.
#[tokio::test]
async fn submits_until_it_is_killed() {
    let Ok(url) = std::env::var(BROKER) else {
        return;
    };
    let tasks = std::env::var(TASKS_VARIABLE).unwrap().parse().unwrap();
    let client = Client::connect(url).await.unwrap();
    let adds: Function<i64> = function(&client, "add").await;
    let sums: Function<i64> = function(&client, "sum").await;
    let mut futures: Vec<TaskFuture<i64>> = Vec::new();
    for add in graph(tasks) {
        let future = match add {
            Adds::Number(number) => client.submit(&adds, (number, 1)).await,
            Adds::Before => client.submit(&adds, (&futures[futures.len() - 1], 1)).await,
            Adds::Three(tasks) => {
                let tasks = tasks.map(|task| &futures[task]).to_vec();
                client.submit(&sums, (tasks,)).await
            }
        };
        futures.push(future.unwrap());
    }
    println!("submitted {}", futures[0].job());
    std::future::pending::<()>().await;
}

fn submitter(nats: &NatsServer, tasks: usize) -> (Child, JobId) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "coordination::submits_until_it_is_killed",
            "--nocapture",
        ])
        .env(BROKER, nats.url())
        .env(TASKS_VARIABLE, tasks.to_string())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let job = lines
        .map(Result::unwrap)
        .find_map(|line| Some(line.split_once("submitted ")?.1.parse().unwrap()))
        .unwrap();
    (child, job)
}

/// How many tasks of a job have outcomes at the broker.
async fn ended(broker: &NatsBroker, job: JobKey) -> usize {
    let mut events = broker.follow(job, 0).await.unwrap();
    let mut ended = 0;
    loop {
        match events.next().await {
            Some(Event::Outcomes(_, outcomes)) => ended += outcomes.len(),
            Some(Event::CaughtUp(_)) | None => return ended,
            Some(_) => {}
        }
    }
}

/// All results of a job, once it is over.
async fn results(nats: &NatsServer, job: JobId) -> Vec<i64> {
    let client = Client::connect(nats.url()).await.unwrap();
    let attached = client.attach::<i64>(job).await.unwrap();
    let outcomes = in_time(attached.gather()).await.unwrap();
    let results = outcomes.into_iter().map(|outcome| outcome.result.unwrap());
    results.collect()
}

/// A graph of which everything is at the broker, and nothing ran, when its submitter is killed.
fn left_by_its_submitter(
    runtime: &Runtime,
    nats: &NatsServer,
    tasks: usize,
) -> (JobKey, NatsBroker) {
    let (mut submitter, job) = submitter(nats, tasks);
    let job = JobKey {
        tenant: TenantId::default(),
        job,
    };
    let broker = runtime.block_on(async {
        let config = Config::new(nats.url(), Role::Client);
        let broker = NatsBroker::connect(config).await.unwrap();
        until_asked("what waits is at the broker", async || {
            let entries = broker.graph(job).await.unwrap().len();
            let unfinished = broker.unfinished_tasks(job).await.unwrap().len();
            let is_claimed = broker.claimed(job).await.unwrap().is_some();
            // With what the two functions take.
            entries == tasks - FIRST + 2 && unfinished == FIRST && is_claimed
        })
        .await;
        broker
    });
    submitter.kill().unwrap();
    submitter.wait().unwrap();
    (job, broker)
}

#[test]
fn a_graph_outlives_its_client_and_its_workers() {
    // A worker's handle must not be dropped inside a runtime, so only the waits are in one.
    let runtime = Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let (job, broker) = left_by_its_submitter(&runtime, &nats, TASKS);
    let worker = || {
        let worker = Sortie::new(["worker", "--broker", &nats.url(), "--concurrency", "2"]);
        worker.start()
    };
    let first = worker();
    runtime.block_on(until_asked("some of it is done", async || {
        ended(&broker, job).await > FIRST
    }));
    first.signal(Signal::KILL);
    let _second = worker();
    runtime.block_on(async {
        assert_eq!(results(&nats, job.job).await, values(&graph(TASKS)));
        until_asked("the graph is dropped", async || {
            broker.claimed(job).await.unwrap().is_none()
        })
        .await;
    });
}

/// Every few seconds something is killed or stopped: a worker, which may coordinate the graph, or
/// the server. The client went first.
#[test]
fn a_graph_survives_whatever_is_killed_or_stopped_meanwhile() {
    let runtime = Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let (job, broker) = left_by_its_submitter(&runtime, &nats, MANY);
    let worker = || {
        let worker = Sortie::new(["worker", "--broker", &nats.url(), "--concurrency", "2"]);
        worker.start()
    };
    let mut workers = [worker(), worker()];
    let mut dice = dice();
    let mut turn = 0;
    loop {
        let is_over = runtime.block_on(async {
            tokio::time::sleep(FAULT_PAUSE).await;
            ended(&broker, job).await >= MANY
        });
        if is_over {
            break;
        }
        match dice(4) {
            0 => runtime.block_on(async {
                nats.kill();
                nats.restart().await;
            }),
            1 => {
                workers[turn].signal(Signal::STOP);
                runtime.block_on(async { tokio::time::sleep(FAULT_PAUSE).await });
                workers[turn].signal(Signal::CONT);
            }
            2 => {
                workers[turn].signal(Signal::KILL);
                workers[turn] = worker();
            }
            _ => {}
        }
        turn = 1 - turn;
    }
    let results = runtime.block_on(results(&nats, job.job));
    assert_eq!(results, values(&graph(MANY)));
}
