//! Work that asks for more than a worker has or grants: it waits its turn, or is refused with the
//! number, and the worker process stays small.

use sortie::protocol::Location;
use sortie::protocol::outcome::Refusal;
use sortie::protocol::{Blame, ByteSize, Digest, FunctionRef, Signature};
use sortie::{Client, Function, TaskError, value};
use sortie_broker::Submit as _;
use sortie_broker::nats::{Config, Role};

use crate::support::{Fleet, LONG, get, soon};

/// What a worker process may take beside what its tasks hold: its code, its caches, its threads.
const BESIDE: u64 = 300 << 20;

fn refusal<T: std::fmt::Debug>(result: &Result<T, TaskError>) -> (Option<Refusal>, String) {
    match result {
        Err(TaskError::Failed(sortie::protocol::Failure::Refused { refusal, message })) => {
            (Some(*refusal), message.clone())
        }
        other => (None, format!("{other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_asks_for_an_absurd_limit_is_refused_with_the_maximum() {
    let fleet = Fleet::start(LONG).await;
    let worker = fleet
        .worker(&["--max-log", "1MiB", "--max-attempts", "9"])
        .await;
    let add: Function<i64> = fleet.function("add").await;
    let mut options = add.options().clone();
    options.limits.log = ByteSize(u64::MAX);
    let absurd = add.clone().with_options(options);
    let outcomes = soon(
        "a refusal",
        fleet.client.map(&absurd, [[value(1), value(2)]]).gather(),
    );
    let outcomes = outcomes.await.unwrap();
    let (kind, message) = refusal(&outcomes[0].result);
    assert_eq!(kind, Some(Refusal::Limit), "{message}");
    assert!(
        message.contains("a log limit of") && message.contains("at most 1 MiB"),
        "{message}"
    );
    let often = add.clone().retries(20);
    let outcomes = soon(
        "a refusal",
        fleet.client.map(&often, [[value(1), value(2)]]).gather(),
    );
    let (kind, message) = refusal(&outcomes.await.unwrap()[0].result);
    assert_eq!(kind, Some(Refusal::Limit), "{message}");
    assert!(
        message.contains("attempts of 21") && message.ends_with("at most 9"),
        "{message}"
    );
    let outcomes = soon(
        "an honest job",
        fleet.client.map(&add, [[value(1), value(2)]]).gather(),
    );
    assert_eq!(outcomes.await.unwrap()[0].result, Ok(3));
    assert!(worker.resident_peak() < BESIDE);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_do_not_fit_together_run_one_after_the_other() {
    let fleet = Fleet::start(LONG).await;
    let worker = fleet
        .worker(&["--memory", "200MB", "--concurrency", "4"])
        .await;
    let takes: Function<u64> = fleet.function("allocates").await;
    let takes = takes.memory("150MB".parse().unwrap());
    let inputs = (0..4).map(|_| value(120_u64 << 20));
    let outcomes = soon("four tasks", fleet.client.map(&takes, inputs).gather());
    let outcomes = outcomes.await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.result.is_ok() && outcome.attempts == 1)
    );
    assert!(worker.resident_peak() < (200 << 20) + BESIDE);
    let never = takes.memory(ByteSize::mib(1024));
    let outcomes = soon(
        "a refusal",
        fleet.client.map(&never, [value(1_u64)]).gather(),
    );
    let (kind, message) = refusal(&outcomes.await.unwrap()[0].result);
    assert_eq!(kind, Some(Refusal::Limit), "{message}");
    assert!(message.contains("this worker has"), "{message}");
}

/// Sixteen tasks of a bundle have their arguments fetched ahead, each slot one bundle.
#[tokio::test(flavor = "multi_thread")]
async fn stored_arguments_are_fetched_as_far_as_there_is_memory() {
    const ARGUMENT: usize = 16 << 20;
    let fleet = Fleet::start(LONG).await;
    let store = tempfile::tempdir().unwrap();
    let place = store.path().to_str().unwrap();
    let worker = fleet
        .worker(&["--memory", "256MiB", "--concurrency", "2", "--store", place])
        .await;
    let config = Config::new(fleet.server.url(), Role::Client);
    let client = Client::builder().store(Location::File(store.path().into()));
    let client = client.connect(config).await.unwrap();
    let takes: Function<bool> = fleet.function("opens_file").await;
    let takes = takes.memory(ByteSize::mib(96));
    // Distinct, as each would be fetched once only otherwise.
    let inputs = (0..48).map(|number| value(format!("{number}{}", " ".repeat(ARGUMENT))));
    let outcomes = soon(
        "tasks with large arguments",
        client.map(&takes, inputs).gather(),
    );
    for outcome in outcomes.await.unwrap() {
        assert_eq!((outcome.result, outcome.attempts), (Ok(false), 1));
    }
    let peak = worker.resident_peak();
    assert!(peak < (256 << 20) + BESIDE, "{} MiB", peak >> 20);
}

/// What a process may open is taken away under its feet, and given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_short_of_descriptors_fails_no_task_for_good() {
    let fleet = Fleet::start(LONG).await;
    let arguments = [
        "--concurrency",
        "1",
        "--files",
        "/",
        "--health",
        "127.0.0.1:0",
    ];
    let mut worker = fleet.worker(&arguments).await;
    let folder = tempfile::tempdir().unwrap();
    let inputs: Vec<_> = (0..4)
        .map(|number| {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, "1\n2\n").unwrap();
            sortie::object(format!("file://{}", path.display()))
        })
        .collect();
    let sums: Function<(u64, u64)> = fleet.function("sum_of").await;
    let before = worker.limit_descriptors(Some(0));
    let mut job = fleet.client.map(&sums.retries(50), inputs);
    worker.said("this machine is short of something").await;
    worker.limit_descriptors(before);
    let (status, text) = get(&worker.health(), "/readyz").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("short of something"), "{text}");
    for _ in 0..4 {
        let outcome = soon("an outcome", job.next()).await.unwrap();
        assert!(outcome.result.is_ok(), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_imports_what_is_not_given_is_its_submitters_doing() {
    let fleet = Fleet::start(LONG).await;
    let _worker = fleet.worker(&["--concurrency", "1"]).await;
    let wat = "(component (import \"wasi:http/types@0.2.0\" (instance)))";
    let bytes = wat::parse_str(wat).unwrap();
    let digest = Digest::of(&bytes);
    fleet
        .broker
        .put_component(digest, bytes.into())
        .await
        .unwrap();
    let asks: Function<()> = Function::new(
        FunctionRef {
            component: digest,
            name: "asks".into(),
        },
        Signature {
            name: "asks".into(),
            doc: String::new(),
            parameters: Vec::new(),
            returns: String::new(),
        },
    );
    // The second is refused by the verdict of the first.
    for _ in 0..2 {
        let job = fleet.client.map(&asks, [()]).gather();
        let outcomes = soon("a refusal", job).await.unwrap();
        let (kind, message) = refusal(&outcomes[0].result);
        assert_eq!(kind, Some(Refusal::Component), "{message}");
        assert!(
            message.contains("needs `wasi:http/types@0.2.0`"),
            "{message}"
        );
        let Err(TaskError::Failed(failure)) = &outcomes[0].result else {
            panic!("{outcomes:?}");
        };
        assert_eq!(
            (failure.blame(), failure.code()),
            (Blame::Guest, "component-unusable")
        );
    }
}
