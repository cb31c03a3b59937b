//! A graph whose client is killed before anything ran, and whose workers are killed after some of it
//! did: every task ends, with the value that it would have had.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use futures::StreamExt as _;
use rustix::process::Signal;
use sortie::nats::{Config, NatsBroker, Role};
use sortie::{Client, Function, JobId, JobKey, TaskFuture, TenantId};
use sortie_broker::{Coordinate as _, Event, Submit as _};
use sortie_harness::{NatsServer, Sortie, until};

use crate::{function, in_time};

/// Names the broker for the process that submits.
const BROKER: &str = "SORTIE_TEST_SUBMITS_TO";
/// Tasks of the graph; the first of them take no results.
const TASKS: usize = 400;
const FIRST: usize = 20;

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
fn graph() -> Vec<Adds> {
    let mut state = 20_261_127_u64;
    let mut below = move |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let adds = |task: usize| match task {
        ..FIRST => Adds::Number(i64::try_from(task).unwrap()),
        _ if task.is_multiple_of(4) => Adds::Before,
        _ => Adds::Three([(); 3].map(|()| below(task / 2))),
    };
    (0..TASKS).map(adds).collect()
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
    let Some(url) = std::env::var_os(BROKER) else {
        return;
    };
    let client = Client::connect(url.to_str().unwrap()).await.unwrap();
    let adds: Function<i64> = function(&client, "add").await;
    let sums: Function<i64> = function(&client, "sum").await;
    let mut futures: Vec<TaskFuture<i64>> = Vec::new();
    for add in graph() {
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

fn submitter(nats: &NatsServer) -> (Child, JobId) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "coordination::submits_until_it_is_killed",
            "--nocapture",
        ])
        .env(BROKER, nats.url())
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

#[test]
fn a_graph_outlives_its_client_and_its_workers() {
    // A worker's handle must not be dropped inside a runtime, so only the waits are in one.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let nats = runtime.block_on(NatsServer::start());
    let (mut submitter, job) = submitter(&nats);
    let key = JobKey {
        tenant: TenantId::default(),
        job,
    };
    let broker = runtime.block_on(async {
        let config = Config::new(nats.url(), Role::Client);
        let broker = NatsBroker::connect(config).await.unwrap();
        until("what waits is at the broker", async || {
            let entries = broker.graph(key).await.unwrap().len();
            let unfinished = broker.unfinished_tasks(key).await.unwrap().len();
            let is_claimed = broker.claimed(key).await.unwrap().is_some();
            // With what the two functions take.
            entries == TASKS - FIRST + 2 && unfinished == FIRST && is_claimed
        })
        .await;
        broker
    });
    submitter.kill().unwrap();
    submitter.wait().unwrap();

    let worker = || {
        let worker = Sortie::new(["worker", "--broker", &nats.url(), "--concurrency", "2"]);
        worker.start()
    };
    let first = worker();
    runtime.block_on(until("some of it is done", async || {
        ended(&broker, key).await > FIRST
    }));
    first.signal(Signal::KILL);
    let _second = worker();
    runtime.block_on(async {
        let client = Client::connect(nats.url()).await.unwrap();
        let attached = client.attach::<i64>(job).await.unwrap();
        let outcomes = in_time(attached.gather()).await.unwrap();
        let results: Vec<i64> = outcomes
            .into_iter()
            .map(|outcome| outcome.result.unwrap())
            .collect();
        assert_eq!(results, values(&graph()));
        until("the graph is dropped", async || {
            broker.claimed(key).await.unwrap().is_none()
        })
        .await;
    });
}
