//! `sortie worker` as processes at a real broker: what they finish, what they give back, and what
//! they leave to others when they die.

mod compiling;
mod support;
mod walls;

use std::path::Path;

use rustix::process::Signal;
use sortie::protocol::Labels;
use sortie::{Client, Function, TaskError, object, value};
use sortie_broker::Operate as _;
use sortie_harness::{HabitServer, TcpProxy};

use support::{Fleet, LONG, SHORT, WorkerProcess, check_each_once, get, soon, sortie, until};

/// Tasks of a job in the middle of which something happens.
const TASKS: u64 = 200;
/// Rounds of a task that takes some ten milliseconds, so that a job lasts for seconds.
const ROUNDS: u64 = 8_000_000;

fn inputs() -> impl Iterator<Item = sortie::Input> + Send {
    (0..TASKS).map(|n| value(ROUNDS + n))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_complete_a_job_and_are_listed() {
    let fleet = Fleet::start(LONG).await;
    let (code, records, said) =
        sortie(&["worker", "list", "--json", "--broker", &fleet.server.url()]).await;
    assert_eq!((code, records.len()), (Some(0), 0));
    assert!(
        said.starts_with("there are no workers at nats://127.0.0.1:"),
        "{said}"
    );

    let mut one = fleet.worker(&["--concurrency", "3"]).await;
    let two = fleet
        .worker(&["--concurrency", "2", "--labels", "region=eu,gpu"])
        .await;
    let said = one.said("ready").await;
    assert!(
        said.contains(&format!(
            ": 3 slots at {}, labels none; ready\n",
            fleet.server.url()
        )),
        "{said}"
    );

    let add: Function<i64> = fleet.function("add").await;
    let outcomes = soon(
        "a job",
        fleet
            .client
            .map(&add, (0..TASKS).map(|n| [value(n), value(1)]))
            .gather(),
    )
    .await
    .unwrap();
    check_each_once(&outcomes, TASKS);
    assert!(
        (1..)
            .zip(&outcomes)
            .all(|(sum, outcome)| outcome.result == Ok(sum))
    );

    until("two workers", async || {
        fleet.broker.workers().await.unwrap().len() == 2
    })
    .await;
    let (code, mut records, _) =
        sortie(&["worker", "list", "--json", "--broker", &fleet.server.url()]).await;
    records.sort_by_key(|record| record["slots"].as_u64());
    assert_eq!((code, records.len()), (Some(0), 2));
    assert_eq!(
        (&records[0]["labels"], &records[0]["slots"]),
        (&serde_json::json!(["gpu", "region=eu"]), &2.into())
    );
    drop(two);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_reports_all_it_has() {
    let fleet = Fleet::start(LONG).await;
    let spins: Function<u64> = fleet.function("spins_for").await;
    let (one, _two) = (
        fleet.worker(&["--concurrency", "2"]).await,
        fleet.worker(&["--concurrency", "2"]).await,
    );
    let mut job = fleet.client.map(&spins, inputs());
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.extend(soon("an outcome", job.next()).await);
    }
    one.signal(Signal::TERM);
    let (code, said) = one.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("draining") && said.lines().any(|line| line.ends_with(": drained")),
        "{said}"
    );
    outcomes.extend(soon("the rest of the job", job.gather()).await.unwrap());
    check_each_once(&outcomes, TASKS);
    let tried = outcomes
        .iter()
        .filter(|outcome| outcome.attempts != 1)
        .count();
    assert_eq!(tried, 0, "tasks were tried again although nothing was lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_in_the_grace_period_goes_to_others_at_once() {
    // With leases this long, only giving the work back lets another have it.
    let fleet = Fleet::start(LONG).await;
    let spins = fleet.endless().await;
    let one = fleet
        .worker(&["--concurrency", "1", "--grace", "100ms"])
        .await;
    let task = fleet.client.submit(&spins, ()).await.unwrap();
    fleet.until_busy(&one, 1).await;
    let two = fleet.worker(&["--concurrency", "1"]).await;
    one.signal(Signal::INT);
    let (code, said) = one.ended().await;
    assert_eq!(code, Some(0), "{said}");
    fleet.until_busy(&two, 1).await;
    // And a cancellation ends it there.
    drop(task);
    fleet.until_busy(&two, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_worker_at_once() {
    let fleet = Fleet::start(LONG).await;
    let spins = fleet.endless().await;
    let mut one = fleet.worker(&["--concurrency", "1", "--grace", "1h"]).await;
    let _task = fleet.client.submit(&spins, ()).await.unwrap();
    fleet.until_busy(&one, 1).await;
    one.signal(Signal::TERM);
    one.said("draining").await;
    one.signal(Signal::TERM);
    let (code, said) = one.ended().await;
    assert_eq!(code, Some(130), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_end_before_it_reached_the_broker_ends_in_peace() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", silent.local_addr().unwrap());
    let worker = WorkerProcess::start(&[
        "worker",
        "--broker",
        &url,
        "--connect-timeout",
        "1h",
        "--cache",
        "off",
    ]);
    // It waits for a word by now.
    let _connection = soon("a connection", silent.accept()).await.unwrap();
    worker.signal(Signal::TERM);
    let (code, said) = worker.ended().await;
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.contains("stopped before"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_killed_worker_goes_to_the_other() {
    let fleet = Fleet::start(SHORT).await;
    let spins: Function<u64> = fleet.function("spins_for").await;
    let (one, _two) = (
        fleet.worker(&["--concurrency", "2"]).await,
        fleet.worker(&["--concurrency", "2"]).await,
    );
    let mut job = fleet.client.map(&spins, inputs());
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.extend(soon("an outcome", job.next()).await);
    }
    one.signal(Signal::KILL);
    assert_eq!(one.ended().await.0, None);
    outcomes.extend(soon("the rest of the job", job.gather()).await.unwrap());
    check_each_once(&outcomes, TASKS);
    assert!(
        outcomes.iter().all(|outcome| outcome.result.is_ok()),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_slept_past_its_leases_does_no_harm_and_works_on() {
    let fleet = Fleet::start(SHORT).await;
    let spins: Function<u64> = fleet.function("spins_for").await;
    // Two slots: while one works and the process sleeps, what the other asked for is on its way.
    let (mut one, two) = (
        fleet.worker(&["--concurrency", "2"]).await,
        fleet.worker(&["--concurrency", "2"]).await,
    );
    let mut job = fleet.client.map(&spins, inputs());
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.extend(soon("an outcome", job.next()).await);
    }
    one.signal(Signal::STOP);
    outcomes.extend(soon("the rest of the job", job.gather()).await.unwrap());
    check_each_once(&outcomes, TASKS);
    assert!(
        outcomes.iter().all(|outcome| outcome.result.is_ok()),
        "{outcomes:?}"
    );

    one.signal(Signal::CONT);
    // Else what it announced before it slept would be taken for what it does next.
    fleet.until_busy(&one, 0).await;

    // The same with a task without end, which another has by the time the sleeper wakes.
    let endless = fleet.endless().await;
    two.signal(Signal::KILL);
    let task = fleet.client.submit(&endless, ()).await.unwrap();
    fleet.until_busy(&one, 1).await;
    one.signal(Signal::STOP);
    let three = fleet.worker(&["--concurrency", "1"]).await;
    fleet.until_busy(&three, 1).await;
    one.signal(Signal::CONT);
    one.said("a lease was lost; stopping its tasks here").await;
    fleet.until_busy(&one, 0).await;
    drop(task);
    fleet.until_busy(&three, 0).await;

    three.signal(Signal::KILL);
    let empty: Function<()> = fleet.function("empty").await;
    assert_eq!(
        soon(
            "a task of the one that slept",
            fleet.client.submit(&empty, ()).await.unwrap()
        )
        .await,
        Ok(())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_for_labels_runs_where_they_are() {
    let fleet = Fleet::start(LONG).await;
    let (plain, gpu) = (
        fleet.worker(&["--concurrency", "2"]).await,
        fleet
            .worker(&["--concurrency", "2", "--labels", "gpu"])
            .await,
    );
    let labels: Labels = "gpu".parse().unwrap();
    let spins = fleet.endless().await.labels(labels.clone());
    let mut tasks = Vec::new();
    for _ in 0..2 {
        tasks.push(fleet.client.submit(&spins, ()).await.unwrap());
    }
    fleet.until_busy(&gpu, 2).await;
    assert_eq!(fleet.presence(&gpu).await.unwrap().labels, labels);
    // A third has to wait for it, although the other has nothing to do: what asks for nothing runs
    // there.
    let mut waiting = fleet
        .client
        .submit(&fleet.function::<()>("empty").await.labels(labels), ())
        .await
        .unwrap();
    let any: Function<()> = fleet.function("empty").await;
    assert_eq!(
        soon(
            "a task without labels",
            fleet.client.submit(&any, ()).await.unwrap()
        )
        .await,
        Ok(())
    );
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(fleet.presence(&plain).await.unwrap().busy, 0);
    drop(tasks);
    assert_eq!(soon("a task with labels", waiting).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_broker() {
    let fleet = Fleet::start(SHORT).await;
    let worker = fleet
        .worker(&[
            "--health",
            "127.0.0.1:0",
            "--concurrency",
            "1",
            "--input-disk",
            "1GiB",
        ])
        .await;
    let address = worker.health();
    assert_eq!(get(&address, "/healthz").await, (200, "ok\n".into()));
    let (status, metrics) = get(&address, "/metrics").await;
    assert_eq!(status, 200);
    for metric in [
        "object_fetched_bytes_total",
        "object_disk_hits_total",
        "object_disk_held_bytes",
    ] {
        assert!(
            metrics.contains(&format!("\nsortie_{metric} 0\n")),
            "{metrics}"
        );
    }
    assert_eq!(get(&address, "/readyz").await, (200, "ready\n".into()));
    assert_eq!(get(&address, "/").await.0, 404);

    fleet.server.kill();
    until("not ready", async || {
        get(&address, "/readyz").await == (503, "not connected to the broker\n".into())
    })
    .await;
    assert_eq!(get(&address, "/healthz").await.0, 200);
    fleet.server.restart().await;
    until("ready again", async || {
        get(&address, "/readyz").await.0 == 200
    })
    .await;
    let empty: Function<()> = fleet.function("empty").await;
    assert_eq!(
        soon(
            "a task after the outage",
            fleet.client.submit(&empty, ()).await.unwrap()
        )
        .await,
        Ok(())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_drains_is_not_ready() {
    let fleet = Fleet::start(LONG).await;
    let worker = fleet
        .worker(&["--health", "127.0.0.1:0", "--concurrency", "1"])
        .await;
    let address = worker.health();
    let spins = fleet.endless().await;
    let task = fleet.client.submit(&spins, ()).await.unwrap();
    fleet.until_busy(&worker, 1).await;
    worker.signal(Signal::TERM);
    until("draining", async || {
        get(&address, "/readyz").await == (503, "draining\n".into())
    })
    .await;
    drop(task);
    assert_eq!(worker.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_outlive_an_outage_of_the_broker() {
    let fleet = Fleet::start(SHORT).await;
    let spins: Function<u64> = fleet.function("spins_for").await;
    let _worker = fleet.worker(&["--concurrency", "2"]).await;
    let mut job = fleet.client.map(&spins, inputs());
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.extend(soon("an outcome", job.next()).await);
    }
    fleet.server.kill();
    fleet.server.restart().await;
    outcomes.extend(soon("the rest of the job", job.gather()).await.unwrap());
    check_each_once(&outcomes, TASKS);
    assert!(
        outcomes.iter().all(|outcome| outcome.result.is_ok()),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_while_the_component_loads_frees_the_slot() {
    let fleet = Fleet::start(LONG).await;
    let proxy = TcpProxy::for_nats(fleet.server.address());
    let worker = fleet.worker_at(&proxy.url(), &["--concurrency", "1"]).await;
    let spins = fleet.endless().await;
    // No component comes through.
    proxy.swallow("$JS.API.DIRECT.GET.sortie-components");
    let task = fleet.client.submit(&spins, ()).await.unwrap();
    proxy.wait_until_swallowed(1).await;
    fleet.until_busy(&worker, 1).await;
    drop(task);
    fleet.until_busy(&worker, 0).await;
    proxy.mend();
    let empty: Function<()> = fleet.function("empty").await;
    assert_eq!(
        soon(
            "a task in the slot",
            fleet.client.submit(&empty, ()).await.unwrap()
        )
        .await,
        Ok(())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_comes_late_fails_no_task() {
    let fleet = Fleet::start(LONG).await;
    let proxy = TcpProxy::for_nats(fleet.server.address());
    let mut worker = fleet
        .worker_at(
            &proxy.url(),
            &["--concurrency", "1", "--outage-timeout", "100ms"],
        )
        .await;
    let empty: Function<()> = fleet.function("empty").await;
    proxy.swallow("$JS.API.DIRECT.GET.sortie-components");
    let task = fleet.client.submit(&empty, ()).await.unwrap();
    worker
        .said("fetching a component fails; trying again")
        .await;
    proxy.mend();
    assert_eq!(soon("a task", task).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_said_in_one_line() {
    // Nothing listens there: the port is for discarding.
    let worker =
        WorkerProcess::start(&["worker", "--broker", "nats://127.0.0.1:9", "--cache", "off"]);
    let (code, said) = worker.ended().await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.starts_with("error: the broker at nats://127.0.0.1:9 does not answer: ")
            && said.lines().count() == 1,
        "{said}"
    );
    // One that takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", silent.local_addr().unwrap());
    let worker = WorkerProcess::start(&[
        "worker",
        "--broker",
        &url,
        "--connect-timeout",
        "300ms",
        "--cache",
        "off",
    ]);
    let (code, said) = worker.ended().await;
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("does not answer") && said.lines().count() == 1,
        "{said}"
    );
    let (code, said) = WorkerProcess::start(&["worker"]).ended().await;
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("--broker") && said.lines().count() == 1,
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_disk_is_read_only_where_its_operator_says() {
    let fleet = Fleet::start(LONG).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("open")).unwrap();
    for name in ["open/file", "closed"] {
        std::fs::write(folder.path().join(name), [1, 2, 3]).unwrap();
    }
    std::os::unix::fs::symlink(
        folder.path().join("closed"),
        folder.path().join("open/link"),
    )
    .unwrap();
    let sum: Function<(u64, u64)> = fleet.function("sum_of").await;
    let read = async |path: &str| {
        let task = fleet
            .client
            .submit(&sum, object(folder.path().join(path).to_str().unwrap()))
            .await
            .unwrap();
        match soon("a task", task).await {
            Ok(sum) => Ok(sum),
            Err(TaskError::Failed(failure)) => {
                Err((failure.code().to_owned(), failure.to_string()))
            }
            Err(error) => panic!("{error}"),
        }
    };
    let closed = fleet.worker(&[]).await;
    let (code, text) = read("open/file").await.unwrap_err();
    assert_eq!(code, "input-denied");
    assert!(text.contains("its operator can name folders"), "{text}");
    closed.signal(Signal::TERM);
    assert_eq!(closed.ended().await.0, Some(0));

    let open = folder.path().join("open");
    let _open = fleet.worker(&["--files", open.to_str().unwrap()]).await;
    assert_eq!(read("open/file").await, Ok((3, 6)));
    for path in ["closed", "open/link", "open/../closed"] {
        assert_eq!(read(path).await.unwrap_err().0, "input-denied", "{path}");
    }
    assert_eq!(read("open/missing").await.unwrap_err().0, "input-missing");
}

/// How a task over this object ended.
async fn sum(client: &Client, function: &Function<(u64, u64)>, path: &Path) -> Result<(), Ended> {
    let task = client.submit(function, object(path.to_str().unwrap()));
    match soon("a task", task.await.unwrap()).await {
        Ok(_) => Ok(()),
        Err(TaskError::Failed(failure)) => Err((failure.code().to_owned(), failure.to_string())),
        Err(error) => panic!("{error}"),
    }
}

/// A failure's code and text.
type Ended = (String, String);

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_nothing_is_the_same_on_a_worker_as_in_this_process() {
    let fleet = Fleet::start(LONG).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("open")).unwrap();
    for (target, link) in [("none", "open/link"), ("../none", "open/out")] {
        std::os::unix::fs::symlink(target, at(link)).unwrap();
    }
    let here = Client::builder().start().unwrap();
    let component = here.load(sortie_harness::component("behaviours")).await;
    let embedded = component.unwrap().function("sum_of").unwrap();
    let _open = fleet
        .worker(&["--files", at("open").to_str().unwrap()])
        .await;
    let remote = fleet.function("sum_of").await;
    let ended = sum(&fleet.client, &remote, &at("open/link")).await;
    assert_eq!(ended, sum(&here, &embedded, &at("open/link")).await);
    let (code, text) = ended.unwrap_err();
    assert_eq!(code, "input-missing");
    assert!(text.contains("leads to nothing"), "{text}");
    // Whether something is outside is not told.
    let (code, text) = sum(&fleet.client, &remote, &at("open/out"))
        .await
        .unwrap_err();
    assert_eq!(code, "input-denied");
    assert!(text.contains("outside"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_servers_are_read_in_networks_that_the_operator_allows() {
    let fleet = Fleet::start(LONG).await;
    let server = HabitServer::start();
    let sum: Function<(u64, u64)> = fleet.function("sum_of").await;
    let read = async || {
        let url = server.url("plain/small");
        let task = fleet.client.submit(&sum, object(&url)).await.unwrap();
        match soon("a task", task).await {
            Ok((len, _)) => Ok(len),
            Err(TaskError::Failed(failure)) => {
                Err((failure.code().to_owned(), failure.to_string()))
            }
            Err(error) => panic!("{error}"),
        }
    };
    let strict = fleet.worker(&[]).await;
    let (code, text) = read().await.unwrap_err();
    assert_eq!(code, "input-denied");
    assert!(text.contains("can allow networks"), "{text}");
    strict.signal(Signal::TERM);
    assert_eq!(strict.ended().await.0, Some(0));
    assert_eq!(server.asked(), [""; 0]);

    let _open = fleet.worker(&["--allow-network", "127.0.0.0/8"]).await;
    assert_eq!(read().await, Ok(12));
}
