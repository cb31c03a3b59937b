//! Tasks that take results of others. The worker here adds up all numbers that it is given.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use ciborium::Value;
use futures::StreamExt as _;
use sortie_protocol::job::Memo;
use sortie_protocol::{
    Argument, Bill, Digest, Ending, Failure, FunctionRef, Kind, Location, Outcome, OutputObject,
    Parameter, Signature, StoredRef, Task,
};
use tokio::task::JoinHandle;

use super::troubled::Troubled;
use super::{client, soon};
use crate::{
    Client, Function, SubmitError, TaskError, TaskFuture, WaitFor, as_completed, gather, wait,
};

/// A sum that no worker can make.
pub(super) const FAILS: u64 = 999_983;

/// A function of one argument of this kind.
pub(super) fn function(name: &str, kind: Kind) -> Function<u64> {
    let signature = Signature {
        name: name.into(),
        doc: String::new(),
        parameters: vec![Parameter {
            name: "numbers".into(),
            kind,
            type_name: "any".into(),
        }],
        returns: "u64".into(),
    };
    let component = Digest::of(b"component");
    Function::new(
        FunctionRef {
            component,
            name: name.into(),
        },
        signature,
    )
}

/// The sum. Each call is a task.
pub(super) fn sum() -> Function<u64> {
    function("sum", Kind::Value).memo(Memo::Off)
}

pub(super) fn total(value: &Value) -> u64 {
    match value {
        Value::Integer(number) => u64::try_from(*number).unwrap(),
        Value::Array(items) => items.iter().map(total).sum(),
        Value::Map(items) => items.iter().map(|(_, item)| total(item)).sum(),
        _ => 0,
    }
}

/// A worker that adds up arguments. A sum of [`FAILS`] fails, one of 1000 is an object, and one
/// that is given an object is 5.
pub(super) struct Adding(JoinHandle<()>);

impl Adding {
    pub(super) fn at(broker: &Troubled) -> Self {
        let broker = broker.clone();
        Self(tokio::spawn(async move {
            loop {
                broker.work_on(added).await;
            }
        }))
    }
}

impl Drop for Adding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn added(task: &Task) -> Outcome {
    let sum = match &task.arguments[..] {
        [Argument::Value(bytes)] => total(&ciborium::from_reader(&bytes[..]).unwrap()),
        [Argument::Object(_) | Argument::Objects(_)] => 5,
        other => panic!("{other:?}"),
    };
    let ending = match sum {
        FAILS => Ending::Failed(Failure::trapped("it fails")),
        1000 => Ending::Completed(sortie_protocol::Output::Object(OutputObject {
            stored: StoredRef {
                digest: Digest::of(b"thousand"),
                size: 1000,
                location: Location::File("/thousand".into()),
            },
            content_type: None,
        })),
        sum => {
            let mut bytes = Vec::new();
            ciborium::into_writer(&sum, &mut bytes).unwrap();
            Ending::Completed(bytes.into())
        }
    };
    Outcome {
        index: task.index,
        attempts: 1,
        ending,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

pub(super) async fn submit(client: &Client, numbers: impl serde::Serialize) -> TaskFuture<u64> {
    client.submit(&sum(), (numbers,)).await.unwrap()
}

pub(super) fn is_upstream(result: &Result<u64, TaskError>, path: &[u64]) -> bool {
    let Err(TaskError::Failed(failure)) = result else {
        return false;
    };
    let is_code = failure.code() == "upstream-failed" && failure.to_string().contains("it fails");
    is_code && matches!(failure, Failure::Upstream { path: way, .. } if way == path)
}

#[tokio::test(start_paused = true)]
async fn results_are_put_wherever_their_futures_are_in_an_argument() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let one = submit(&client, 1).await;
    let two = submit(&client, (&one, 1)).await;
    let map: BTreeMap<&str, _> = [("a", vec![&one, &two]), ("b", vec![])].into();
    let four = submit(&client, (map, Some(&one))).await;
    // The future alone, by value; that of the first is dropped by now.
    let five = client
        .submit(&sum(), (vec![one, four.clone()],))
        .await
        .unwrap();
    let same = client.submit(&sum(), &five).await.unwrap();
    assert_eq!(soon(two).await, Ok(2));
    assert_eq!(soon(four).await, Ok(4));
    assert_eq!(soon(five).await, Ok(5));
    assert_eq!(soon(same).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_and_a_tree_come_to_their_ends() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let mut last = submit(&client, 0).await;
    for _ in 0..500 {
        last = submit(&client, (last, 1)).await;
    }
    assert_eq!(soon(last).await, Ok(500));
    let mut leaves = Vec::new();
    for number in 0..1000 {
        leaves.push(submit(&client, number).await);
    }
    let fan_in = NonZeroUsize::new(8).unwrap();
    let root = client.reduce(&sum(), leaves, fan_in).await.unwrap();
    assert_eq!(soon(root).await, Ok(499_500));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_fails_what_takes_its_result_and_nothing_below_runs() {
    let broker = Troubled::new();
    let client = client(&broker);
    let fails = submit(&client, FAILS).await;
    let good = submit(&client, 1).await;
    let child = submit(&client, vec![&good, &fails]).await;
    let grandchild = submit(&client, (&child, 1)).await;
    let _adding = Adding::at(&broker);
    assert!(is_upstream(&soon(child.clone()).await, &[0, 2]));
    assert!(is_upstream(&soon(grandchild).await, &[0, 2, 3]));
    assert!(matches!(
        soon(fails).await,
        Err(TaskError::Failed(Failure::Trapped { .. }))
    ));
    assert_eq!(soon(good).await, Ok(1));
    // What comes after the failure is told of it as well.
    let late = submit(&client, (&child, 2)).await;
    assert!(is_upstream(&soon(late).await, &[0, 2, 4]));
    // The broker has an outcome of every task, also of those that never went out: without them the
    // job would not end.
    drop(child);
    soon(client.flush_jobs()).await;
    assert_eq!(broker.published_so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn cancelling_a_task_cancels_what_takes_its_result() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = submit(&client, 1).await;
    let second = submit(&client, (&first, 1)).await;
    let third = submit(&client, (&second, 1)).await;
    second.cancel().await.unwrap();
    assert_eq!(soon(second).await, Err(TaskError::Cancelled));
    assert_eq!(soon(third).await, Err(TaskError::Cancelled));
    let fourth = submit(&client, (&first, 1)).await;
    broker.published(1).await;
    first.cancel().await.unwrap();
    assert_eq!(soon(first).await, Err(TaskError::Cancelled));
    assert_eq!(soon(fourth).await, Err(TaskError::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn what_only_a_dropped_future_needed_is_not_run() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = submit(&client, 1).await;
    let second = submit(&client, (first, 1)).await;
    let third = submit(&client, (second, 1)).await;
    broker.published(1).await;
    drop(third);
    let kept = submit(&client, 2).await;
    let _adding = Adding::at(&broker);
    assert_eq!(soon(kept).await, Ok(2));
    soon(client.flush_jobs()).await;
    // Neither the second nor the third ever went out.
    assert_eq!(broker.published_so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_left_runs_to_its_end_without_its_future() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = submit(&client, 1).await;
    submit(&client, (first, 1)).await.fire_and_forget();
    let _adding = Adding::at(&broker);
    soon(client.flush_jobs()).await;
    assert_eq!(broker.published_so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_does_not_fit_its_parameter_fails_the_task_that_takes_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let object = submit(&client, 1000).await;
    let number = submit(&client, 7).await;
    let takes_object = function("open", Kind::Object);
    let fits = client.submit(&takes_object, &object).await.unwrap();
    assert_eq!(soon(fits).await, Ok(5));
    let refused = [
        client.submit(&takes_object, &number).await.unwrap(),
        client.submit(&sum(), &object).await.unwrap(),
        submit(&client, (1, &object)).await,
    ];
    for (future, why) in refused.into_iter().zip([
        "parameter `numbers` of `open` takes an object, but the result of the task that it is \
         given is an ordinary value",
        "takes an ordinary value, but the result of the task that it is given is an object",
        "an object is an argument of its own",
    ]) {
        match soon(future).await {
            Err(TaskError::Failed(failure)) => {
                assert_eq!(failure.code(), "input-malformed");
                assert!(failure.to_string().contains(why), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn futures_of_other_clients_and_values_that_look_like_references_are_refused() {
    let broker = Troubled::new();
    let (client, other) = (client(&broker), client(&broker));
    let foreign = submit(&other, 1).await;
    let error = client.submit(&sum(), (&foreign, 1)).await.unwrap_err();
    assert!(
        matches!(error, SubmitError::Call(_)),
        "two arguments: {error}"
    );
    let error = client.submit(&sum(), ((&foreign, 1),)).await.unwrap_err();
    assert!(matches!(error, SubmitError::Foreign), "{error}");
    let own = submit(&client, 1).await;
    let forged = Value::Tag(sortie_protocol::reference::RESULT, Box::new(Value::from(0)));
    let error = client.submit(&sum(), ((&own, forged),)).await.unwrap_err();
    assert!(error.to_string().contains("reserved"), "{error}");
    let elsewhere = ciborium::into_writer(&own, Vec::new()).unwrap_err();
    assert!(
        elsewhere.to_string().contains("in an argument of a task"),
        "{elsewhere}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_may_take_results_of_an_earlier_job_of_its_client() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let before = submit(&client, 2).await;
    assert_eq!(soon(before.clone()).await, Ok(2));
    soon(client.flush_jobs()).await;
    let after = submit(&client, (&before, 3)).await;
    assert_ne!(after.job(), before.job());
    assert_eq!(soon(after).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn a_map_takes_results_as_they_come() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let mut firsts = Vec::new();
    for number in [1, FAILS, 3] {
        firsts.push(submit(&client, number).await);
    }
    let job = client.map(&sum(), firsts.into_iter().map(|first| (vec![first],)));
    let results: Vec<_> = soon(job.gather())
        .await
        .unwrap()
        .into_iter()
        .map(|outcome| outcome.result)
        .collect();
    assert_eq!((&results[0], &results[2]), (&Ok(1), &Ok(3)));
    assert!(is_upstream(&results[1], &[1]), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_first_that_ended_or_failed_or_when_the_time_is_over() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut futures = Vec::new();
    for number in [1, FAILS, 3] {
        futures.push(submit(&client, number).await);
        broker.published(futures.len()).await;
    }
    let second = Some(Duration::from_secs(1));
    let waited = wait(futures.clone(), WaitFor::All, second).await;
    assert_eq!((waited.ended.len(), waited.pending.len()), (0, 3));
    broker.work_on(added).await;
    let waited = soon(wait(futures.clone(), WaitFor::FirstEnded, None)).await;
    assert_eq!((waited.ended.len(), waited.pending.len()), (1, 2));
    assert_eq!(waited.ended[0].index(), 0);
    let failing = tokio::spawn({
        let broker = broker.clone();
        async move { broker.work_on(added).await }
    });
    let waited = soon(wait(futures.clone(), WaitFor::FirstFailed, None)).await;
    assert_eq!((waited.ended.len(), waited.pending.len()), (2, 1));
    failing.await.unwrap();
    broker.work_on(added).await;
    let waited = soon(wait(futures, WaitFor::All, None)).await;
    assert_eq!(waited.ended.len(), 3);
    let results = soon(gather(waited.ended)).await;
    assert!(results[1].is_err() && results[2] == Ok(3));
}

#[tokio::test(start_paused = true)]
async fn futures_are_added_while_results_come() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let mut results = as_completed([submit(&client, 1).await]);
    let mut seen = Vec::new();
    while let Some((place, result)) = soon(results.next()).await {
        let number = result.unwrap();
        seen.push((place, number));
        if number < 8 {
            results.push(submit(&client, (number, number)).await);
        }
    }
    assert_eq!(seen, [(0, 1), (1, 2), (2, 4), (3, 8)]);
    assert!(results.is_empty());
}

#[tokio::test(start_paused = true)]
async fn results_come_back_in_the_places_of_their_futures() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let one = submit(&client, 1).await;
    let two = submit(&client, (&one, 1)).await;
    let nested = BTreeMap::from([("x", (&one, vec![&two, &one])), ("y", (&two, vec![]))]);
    let expected = BTreeMap::from([
        ("x".to_owned(), (1, vec![2, 1])),
        ("y".to_owned(), (2, vec![])),
    ]);
    assert_eq!(soon(client.gather(&nested)).await, Ok(expected));
    assert_eq!(soon(client.gather(&two)).await, Ok(2));
    assert_eq!(soon(client.gather(&[&one, &two])).await, Ok([1, 2]));
    assert_eq!(
        soon(client.gather(&("none", 5))).await,
        Ok(("none".to_owned(), 5))
    );
    // The futures stay, and what is of another type or an object is said.
    let fails = submit(&client, FAILS).await;
    let failed: Result<Vec<u64>, _> = soon(client.gather(&[&two, &fails])).await;
    assert!(matches!(failed, Err(TaskError::Failed(_))), "{failed:?}");
    let text: Result<String, _> = soon(client.gather(&two)).await;
    assert!(matches!(text, Err(TaskError::Decode { .. })), "{text:?}");
    let object = submit(&client, 1000).await;
    let object: Result<Vec<u64>, _> = soon(client.gather(&[&object])).await;
    assert!(format!("{object:?}").contains("/thousand"), "{object:?}");
    assert_eq!(soon(two).await, Ok(2));
}
