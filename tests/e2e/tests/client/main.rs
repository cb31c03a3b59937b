//! The client library over real components: futures, jobs, back-pressure, cancel, limits and bills,
//! as a program sees them. Each test runs twice: with everything in this process, and over a fleet
//! with a real broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use sortie::protocol::job::Memo;
use sortie::{
    Blame, ByteSize, CallError, Client, Function, Grant, IntoArguments as _, Priority, SubmitError,
    TaskError, object, value,
};
use sortie_e2e::Place;

const HOUR: Duration = Duration::from_secs(60 * 60);

async fn function<T>(client: &Client, name: &str) -> Function<T> {
    let component = client
        .load(sortie_harness::component("behaviours"))
        .await
        .unwrap();
    component.function(name).unwrap()
}

/// The function that never ends by itself, nor by a limit within the time of a test: only what
/// stops it does. Each call is a task.
async fn endless(client: &Client) -> Function<()> {
    let spins: Function<()> = function(client, "spins_forever").await;
    spins.timeout(HOUR).cpu_time(HOUR).memo(Memo::Off)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    sortie_harness::within("the end", future).await
}

macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Place::Embedded).await;
            })*
        }

        mod fleet {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::Place::Fleet).await;
            })*
        }
    };
}

mod coordination;
mod graph;
mod intermediates;
mod large;
mod shown;
mod slim;
mod stored;
mod subtasks;

over_both! {
    a_job_whose_inputs_end_after_all_outcomes_came_ends,
    a_submitted_task_resolves_to_its_typed_result,
    a_wrong_call_is_refused_before_anything_is_queued,
    tuples_are_arguments_and_inputs_may_be_borrowed,
    outcomes_have_the_name_of_their_input,
    gather_keeps_the_order_and_as_completed_the_positions,
    a_map_resolves_every_input_once_with_its_bill,
    cancelling_ends_a_loop_and_everything_that_waits,
    a_dropped_future_frees_its_slot,
    a_failure_that_asks_for_it_is_tried_again_as_often_as_allowed,
    options_reach_the_sandbox,
    inputs_that_cannot_be_opened_fail_their_task_only,
    a_result_of_another_type_is_an_error_and_not_a_panic,
}

async fn a_submitted_task_resolves_to_its_typed_result(place: Place) {
    let client = place.client(None).await;
    let add: Function<i64> = function(&client, "add").await;
    let sum = client.submit(&add, [value(2), value(40)]).await.unwrap();
    assert_eq!(in_time(sum).await, Ok(42));
}

async fn tuples_are_arguments_and_inputs_may_be_borrowed(place: Place) {
    let client = place.client(None).await;
    let add: Function<i64> = function(&client, "add").await;
    let sum = client.submit(&add, (2, 40)).await.unwrap();
    assert_eq!(in_time(sum).await, Ok(42));
    let echo: Function<String> = function(&client, "echo").await;
    let lines: Vec<String> = (0..3000).map(|n| format!("line {n}")).collect();
    let job = client.map_borrowed(&echo, lines.iter().map(|line| (line,)));
    let echoed = in_time(job.gather()).await.unwrap();
    let echoed = echoed.into_iter().map(|outcome| outcome.result.unwrap());
    assert!(echoed.eq(lines.iter().cloned()));
    // Whoever has enough reads no further, and takes no further inputs.
    let taken = AtomicU64::new(0);
    let endless = (0..).map(|n| {
        taken.fetch_add(1, Ordering::Relaxed);
        (n, 1)
    });
    let mut job = client.map_borrowed(&add, endless);
    assert!(in_time(job.next()).await.unwrap().result.is_ok());
    drop(job);
    assert!(taken.load(Ordering::Relaxed) < 100_000);
}

async fn outcomes_have_the_name_of_their_input(place: Place) {
    let client = place.client(None).await;
    let fails: Function<()> = function(&client, "fails").await;
    let inputs = ["first", "second"].map(|name| ("code", "message").into_arguments().named(name));
    let outcomes = in_time(client.map(&fails, inputs).gather()).await.unwrap();
    let names: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.input.as_deref())
        .collect();
    assert_eq!(names, [Some("first"), Some("second")]);
}

async fn a_wrong_call_is_refused_before_anything_is_queued(place: Place) {
    let client = place.client(None).await;
    let add: Function<i64> = function(&client, "add").await;
    let error = client.submit(&add, value(2)).await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Call(CallError::Mismatch(_))),
        "{error}"
    );
    assert!(error.to_string().contains("takes 2 arguments"), "{error}");
    let component = client
        .load(sortie_harness::component("behaviours"))
        .await
        .unwrap();
    assert!(
        component
            .function::<()>("emty")
            .unwrap_err()
            .to_string()
            .contains("`empty`")
    );
}

async fn gather_keeps_the_order_and_as_completed_the_positions(place: Place) {
    let client = place.client(None).await;
    let add: Function<i64> = function(&client, "add").await;
    let mut futures = Vec::new();
    for n in 0..50 {
        futures.push(client.submit(&add, [value(n), value(100)]).await.unwrap());
    }
    let sums: Vec<i64> = in_time(sortie::gather(futures))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(sums, (100..150).collect::<Vec<_>>());

    let mut futures = Vec::new();
    for n in 0..50 {
        futures.push(client.submit(&add, [value(n), value(0)]).await.unwrap());
    }
    let completed: Vec<_> = in_time(sortie::as_completed(futures).collect()).await;
    assert_eq!(completed.len(), 50);
    assert!(
        completed
            .into_iter()
            .all(|(position, sum)| sum == Ok(i64::try_from(position).unwrap()))
    );
}

async fn a_map_resolves_every_input_once_with_its_bill(place: Place) {
    let client = place.client(None).await;
    let echo: Function<String> = function(&client, "echo").await;
    let outcomes = in_time(
        client
            .map(&echo, (0..5_000).map(|n| value(n.to_string())))
            .gather(),
    )
    .await
    .unwrap();
    assert_eq!(outcomes.len(), 5_000);
    for (n, outcome) in (0..).zip(&outcomes) {
        assert_eq!(
            (outcome.index, outcome.result.as_deref()),
            (n, Ok(n.to_string().as_str()))
        );
        let bill = outcome.bill;
        assert!(
            bill.run > Duration::ZERO
                && bill.cpu > Duration::ZERO
                && bill.memory_peak > ByteSize(0)
                && !bill.cached
        );
    }
}

async fn a_job_whose_inputs_end_after_all_outcomes_came_ends(place: Place) {
    let client = place.client(None).await;
    let empty: Function<()> = function(&client, "empty").await;
    assert_eq!(
        in_time(client.map(&empty, std::iter::empty::<()>()).gather())
            .await
            .unwrap(),
        []
    );
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let inputs = futures::stream::once(async {})
        .chain(futures::stream::once(ended).filter_map(async |_| None));
    let mut job = client.map_stream(&empty, inputs);
    assert_eq!(in_time(job.next()).await.unwrap().result, Ok(()));
    end.send(()).unwrap();
    assert_eq!(in_time(job.next()).await, None);
    assert!(job.progress().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_taken_only_as_fast_as_outcomes_are_read() {
    // Bundles that are out, batches that wait to be read, and what is in between: each at most 1024
    // tasks.
    const AHEAD_MAX: u64 = 64 * 1024;
    let client = Client::embedded().unwrap();
    let empty: Function<()> = function(&client, "empty").await;
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let inputs = (0..u64::MAX).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut job = client.map(&empty, inputs);
    for read in 0..3 * AHEAD_MAX {
        in_time(job.next()).await.unwrap().result.unwrap();
        let ahead = taken.load(Ordering::Relaxed).saturating_sub(read);
        assert!(
            ahead < AHEAD_MAX,
            "{ahead} inputs were taken ahead of what was read"
        );
    }
}

async fn cancelling_ends_a_loop_and_everything_that_waits(place: Place) {
    let client = place.client(None).await;
    let spins = endless(&client).await;
    let job = client.map(&spins, (0..20).map(|_| ()));
    in_time(async {
        while job.progress().submitted < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    job.cancel();
    let outcomes = in_time(job.gather()).await.unwrap();
    assert!(!outcomes.is_empty());
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.result == Err(TaskError::Cancelled))
    );
    // The slots are free again.
    let empty: Function<()> = function(&client, "empty").await;
    assert_eq!(
        in_time(client.submit(&empty, ()).await.unwrap()).await,
        Ok(())
    );
}

async fn a_dropped_future_frees_its_slot(place: Place) {
    let client = place.client(Some(1)).await;
    let spins = endless(&client).await;
    drop(client.submit(&spins, ()).await.unwrap());
    let cancelled = client.submit(&spins, ()).await.unwrap();
    cancelled.cancel().await.unwrap();
    assert_eq!(in_time(cancelled).await, Err(TaskError::Cancelled));
    let add: Function<i64> = function(&client, "add").await;
    assert_eq!(
        in_time(client.submit(&add, [value(1), value(1)]).await.unwrap()).await,
        Ok(2)
    );
}

async fn a_failure_that_asks_for_it_is_tried_again_as_often_as_allowed(place: Place) {
    let client = place.client(None).await;
    let failing: Function<()> = function(&client, "fails_and_wants_retry").await;
    let future = client.submit(&failing.retries(2), value(1)).await.unwrap();
    let outcome = in_time(future.outcome()).await.unwrap();
    assert_eq!(outcome.attempts, 3);
    let sortie::Ending::Failed(failure) = outcome.ending else {
        panic!("{outcome:?}")
    };
    assert_eq!((failure.code(), failure.blame()), ("not-now", Blame::Guest));
}

async fn options_reach_the_sandbox(place: Place) {
    let client = place.client(None).await;
    let clock: Function<(u64, u64)> = function(&client, "reads_clock").await;
    let (seconds, _) = in_time(client.submit(&clock, ()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(seconds, 946_684_800);
    let granted = clock.grants([Grant::Clock].into());
    let (seconds, _) = in_time(client.submit(&granted, ()).await.unwrap())
        .await
        .unwrap();
    assert!(seconds > 1_700_000_000, "{seconds}");
    let large: Function<()> = function(&client, "returns_bytes").await;
    let tight = large.memory(ByteSize::mib(16)).priority(Priority::High);
    let error = in_time(client.submit(&tight, value(64 << 20)).await.unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, TaskError::Failed(failure) if failure.code() == "memory-limit"),
        "{error}"
    );
}

async fn inputs_that_cannot_be_opened_fail_their_task_only(place: Place) {
    let client = place.client(None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("there");
    std::fs::write(&path, [1, 2, 3]).unwrap();
    let sum: Function<(u64, u64)> = function(&client, "sum_of").await;
    let paths = [path.clone(), folder.path().join("missing"), path];
    let inputs = paths.map(|path| object(path.to_str().unwrap()));
    let outcomes = in_time(client.map(&sum, inputs).gather()).await.unwrap();
    assert_eq!(
        (&outcomes[0].result, &outcomes[2].result),
        (&Ok((3, 6)), &Ok((3, 6)))
    );
    assert!(
        matches!(
            &outcomes[1].result,
            Err(TaskError::Failed(failure)) if failure.code() == "input-missing"
        ),
        "{outcomes:?}"
    );
}

async fn a_result_of_another_type_is_an_error_and_not_a_panic(place: Place) {
    let client = place.client(None).await;
    let echo: Function<u64> = function(&client, "echo").await;
    let error = in_time(client.submit(&echo, value("text")).await.unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            TaskError::Decode {
                expected: "u64",
                ..
            }
        ),
        "{error}"
    );
}
