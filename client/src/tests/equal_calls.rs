//! Calls that are the same: one task, for everybody who holds its future.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sortie_protocol::Grant;
use sortie_protocol::job::Memo;
use tokio::time::timeout;

use super::graph::{Adding, FAILS, is_upstream};
use super::troubled::Troubled;
use super::{client, soon};
use crate::{Client, Function, IntoArguments as _, TaskError, TaskFuture, object, value};

fn sum() -> Function<u64> {
    super::graph::sum().memo(Memo::Use)
}

async fn submit(client: &Client, numbers: impl serde::Serialize) -> TaskFuture<u64> {
    client.submit(&sum(), (numbers,)).await.unwrap()
}

async fn call(client: &Client, function: &Function<u64>) -> TaskFuture<u64> {
    client.submit(function, (1,)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn equal_calls_are_one_task() {
    let broker = Troubled::new();
    let client = client(&broker);
    let (first, again) = (submit(&client, 1).await, submit(&client, 1).await);
    let (sum, same_sum) = (
        submit(&client, (&first, 2)).await,
        submit(&client, (&again, 2)).await,
    );
    let others = [submit(&client, 2).await, submit(&client, (&first, 3)).await];
    assert_eq!((first.index(), again.index()), (0, 0));
    assert_eq!((sum.index(), same_sum.index()), (1, 1));
    assert_eq!(others.each_ref().map(TaskFuture::index), [2, 3]);
    let _adding = Adding::at(&broker);
    assert_eq!((soon(first).await, soon(again).await), (Ok(1), Ok(1)));
    assert_eq!((soon(sum).await, soon(same_sum).await), (Ok(3), Ok(3)));
    for (other, result) in others.into_iter().zip([2, 4]) {
        assert_eq!(soon(other).await, Ok(result));
    }
}

/// The inner futures are dropped at once, as in a program that writes calls in calls.
#[tokio::test(start_paused = true)]
async fn a_task_that_only_others_need_is_still_the_one_that_an_equal_call_is() {
    let broker = Troubled::new();
    let client = client(&broker);
    let nested = async || submit(&client, (submit(&client, 5).await, 1)).await;
    let (one, two) = (nested().await, nested().await);
    assert_eq!((one.index(), two.index()), (1, 1));
    let inner = submit(&client, 5).await;
    assert_eq!(inner.index(), 0);
    let _adding = Adding::at(&broker);
    assert_eq!((soon(one).await, soon(two).await), (Ok(6), Ok(6)));
    assert_eq!(soon(inner).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_wanted_until_the_last_who_called_it_drops_its_future() {
    let broker = Troubled::new();
    let client = client(&broker);
    let (one, two) = (submit(&client, 1).await, submit(&client, 1).await);
    drop(one);
    let adding = Adding::at(&broker);
    assert_eq!(soon(two).await, Ok(1));
    drop(adding);
    let (one, two) = (submit(&client, 1).await, submit(&client, 1).await);
    drop((one, two));
    // Nothing needs it by now, so that it is cancelled and forgotten.
    let third = submit(&client, 1).await;
    assert_eq!(third.index(), 2);
    let fourth = submit(&client, 1).await;
    third.fire_and_forget();
    drop(fourth);
    let fifth = submit(&client, 1).await;
    assert_eq!(fifth.index(), 2);
    let _adding = Adding::at(&broker);
    assert_eq!(soon(fifth).await, Ok(1));
    // It has ended, and nobody holds it.
    assert_eq!(submit(&client, 1).await.index(), 3);
}

/// More than wait for one task in most programs.
#[tokio::test(start_paused = true)]
async fn many_wait_for_one_task_and_none_is_woken_before_its_end() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut futures = FuturesUnordered::new();
    for _ in 0..100 {
        futures.push(submit(&client, 1).await);
    }
    // Time passes, which it does when everybody waits.
    let early = timeout(Duration::from_secs(5), futures.next()).await;
    assert!(early.is_err());
    let _adding = Adding::at(&broker);
    while let Some(result) = soon(futures.next()).await {
        assert_eq!(result, Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_made_anew_when_the_task_has_no_result() {
    let broker = Troubled::new();
    let client = client(&broker);
    let cancelled = submit(&client, 1).await;
    soon(cancelled.cancel()).await.unwrap();
    let anew = submit(&client, 1).await;
    assert_eq!(anew.index(), 1);
    assert_eq!(soon(cancelled).await, Err(TaskError::Cancelled));
    let _adding = Adding::at(&broker);
    assert_eq!(soon(anew).await, Ok(1));
    let failed = submit(&client, FAILS).await;
    assert!(soon(failed.clone()).await.is_err());
    let anew = submit(&client, FAILS).await;
    assert_eq!((failed.index(), anew.index()), (2, 3));
    assert!(soon(anew).await.is_err());
}

/// Nobody is told how it failed, but what waits for it.
#[tokio::test(start_paused = true)]
async fn a_call_is_made_anew_when_the_task_failed_while_nobody_held_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    let below = submit(&client, (submit(&client, FAILS).await, 1)).await;
    assert!(is_upstream(&soon(below.clone()).await, &[0, 1]));
    assert_eq!(submit(&client, FAILS).await.index(), 2);
    drop(below);
}

/// A task that ended is known while one that took its result is, but what it made is dropped:
/// whether or not its future was held until then.
#[tokio::test(start_paused = true)]
async fn a_call_is_made_anew_when_the_result_was_let_go() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _adding = Adding::at(&broker);
    for is_held in [false, true] {
        let above = submit(&client, 7).await;
        let held = is_held.then(|| above.clone());
        let first = above.index();
        let below = submit(&client, (above, 1 + u64::from(is_held))).await;
        assert!(soon(below.clone()).await.is_ok());
        if let Some(held) = held {
            assert_eq!(soon(held).await, Ok(7));
        }
        let anew = submit(&client, 7).await;
        assert_ne!(anew.index(), first);
        assert_eq!(soon(anew).await, Ok(7));
        drop(below);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_may_differ_in_anything_are_tasks_of_their_own() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = call(&client, &sum()).await;
    assert_eq!(call(&client, &sum()).await.index(), first.index());
    // Another name, and other options.
    let named = (1,).into_arguments().named("one");
    let named = client.submit(&sum(), named).await.unwrap();
    assert_eq!(named.index(), 1);
    assert_eq!(call(&client, &sum().retries(7)).await.index(), 2);
    // What may have another result in another run, and what is to run each time.
    let clock = sum().grants([Grant::Clock].into());
    let runs = sum().memo(Memo::Off);
    for (function, indices) in [(clock, [3, 4]), (runs, [5, 6])] {
        let calls = [
            call(&client, &function).await,
            call(&client, &function).await,
        ];
        assert_eq!(calls.map(|call| call.index()), indices);
    }
    // An object that may be another by then. Large values are looked at before they are stored.
    let reads = super::graph::function("reads", sortie_protocol::Kind::Object);
    let mut indices = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        for (function, argument) in [(&reads, object("/a")), (&sum(), value("a".repeat(2 << 20)))] {
            let future = client.submit(function, argument).await.unwrap();
            indices.push(future.index());
            held.push(future);
        }
    }
    assert_eq!(indices, [7, 8, 9, 8]);
}
