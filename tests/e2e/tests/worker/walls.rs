//! Work that asks for more than a worker has or grants: it waits its turn, or is refused with the
//! number, and the worker process stays small.

use sortie::protocol::outcome::Refusal;
use sortie::protocol::{Blame, ByteSize, Digest, FunctionRef, Signature};
use sortie::{Function, TaskError, value};
use sortie_broker::Submit as _;

use crate::support::{Fleet, LONG, soon};

/// What a worker process may take beside what its tasks hold: its code, its caches, its threads.
const BESIDE: u64 = 300 << 20;

/// The function, with these limits.
fn limited<T>(function: &Function<T>, limits: sortie::Limits) -> Function<T>
where
    Function<T>: Clone,
{
    let options = sortie::FunctionOptions {
        limits,
        ..function.options().clone()
    };
    function.clone().with_options(options)
}

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
    let absurd = limited(
        &add,
        sortie::Limits {
            log: ByteSize(u64::MAX),
            ..sortie::Limits::default()
        },
    );
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
    let memory: ByteSize = "150MB".parse().unwrap();
    let within = sortie::Limits {
        memory,
        ..sortie::Limits::default()
    };
    let takes: Function<u64> = fleet.function("allocates").await;
    let takes = limited(&takes, within);
    let inputs = (0..4).map(|_| value(120_u64 << 20));
    let outcomes = soon("four tasks", fleet.client.map(&takes, inputs).gather());
    let outcomes = outcomes.await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.result.is_ok() && outcome.attempts == 1)
    );
    assert!(worker.resident_peak() < (200 << 20) + BESIDE);
    let never = limited(
        &takes,
        sortie::Limits {
            memory: ByteSize::mib(1024),
            ..sortie::Limits::default()
        },
    );
    let outcomes = soon(
        "a refusal",
        fleet.client.map(&never, [value(1_u64)]).gather(),
    );
    let (kind, message) = refusal(&outcomes.await.unwrap()[0].result);
    assert_eq!(kind, Some(Refusal::Limit), "{message}");
    assert!(message.contains("this worker has"), "{message}");
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
