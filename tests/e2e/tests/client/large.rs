//! Values that are too large for a message, where there is no store.

use sortie::nats::{Config, NatsBroker, Role};
use sortie::protocol::{BrokerRef, JobKey, Output};
use sortie::{Ending, Function, value};
use sortie_broker::{KeepValues as _, Submit as _};
use sortie_e2e::{Fleet, Place};
use sortie_harness::until_asked;

use crate::{function, in_time};

over_both! {
    large_values_need_no_store,
}

fn text(seed: char) -> String {
    seed.to_string().repeat(1 << 20)
}

async fn large_values_need_no_store(place: Place) {
    let client = place.client(None).await;
    let echo: Function<String> = function(&client, "echo").await;
    let mirrors: Function<Vec<String>> = function(&client, "mirrors").await;
    // An argument, a result, the result as an argument, and results in an argument.
    let a = client.submit(&echo, (text('a'),)).await.unwrap();
    let again = client.submit(&echo, (&a,)).await.unwrap();
    let b = client.submit(&echo, (text('b'),)).await.unwrap();
    let both = client.submit(&mirrors, (vec![&again, &b],)).await.unwrap();
    drop(b);
    assert_eq!(in_time(both).await, Ok(vec![text('a'), text('b')]));
    // Once more: the worker knows the result, which the broker kept for another task.
    let known = client.submit(&echo, (&again,)).await.unwrap();
    assert_eq!(in_time(known).await, Ok(text('a')));
    // More than the job of the submits would be allowed to keep, if nothing were dropped.
    let texts: Vec<String> = (0..20).map(|n| text(char::from(b'c' + n))).collect();
    let job = client.map(&echo, texts.clone().into_iter().map(value));
    let outcomes = in_time(job.gather()).await.unwrap();
    let echoed = outcomes.into_iter().map(|outcome| outcome.result.unwrap());
    assert!(echoed.eq(texts));
    // A job that is over keeps what somebody can still ask for.
    in_time(client.flush_jobs()).await;
    assert_eq!(in_time(again).await, Ok(text('a')));
}

/// What the broker keeps under this name.
async fn is_kept(broker: &NatsBroker, kept: BrokerRef) -> bool {
    let value = broker.value(broker.tenant(), kept).await.unwrap();
    value.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_drops_large_values_with_their_readers() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let config = Config::new(fleet.url(), Role::Client);
    let broker = NatsBroker::connect(config).await.unwrap();
    let echo: Function<String> = function(&client, "echo").await;
    let kept_of = |ending: &Ending| match ending {
        Ending::Completed(Output::AtBroker(kept)) => *kept,
        other => panic!("{other:?}"),
    };
    // The only reader of a map has it once.
    let mut job = client.map(&echo, [value(text('a'))]);
    let outcome = in_time(job.next_outcome()).await.unwrap();
    let kept = kept_of(&outcome.ending);
    assert!(is_kept(&broker, kept).await);
    let fetched = in_time(job.fetched(outcome.clone())).await;
    assert!(matches!(
        fetched.ending,
        Ending::Completed(Output::Value(_))
    ));
    assert!(!is_kept(&broker, kept).await);
    let gone = in_time(job.fetched(outcome)).await;
    let Ending::Failed(failure) = gone.ending else {
        panic!("{gone:?}")
    };
    assert_eq!(failure.code(), "result-lost");
    drop(job);
    // An intermediate result goes when nothing takes it any more, and its job does not.
    let first = client.submit(&echo, (text('b'),)).await.unwrap();
    let second = client.submit(&echo, (&first,)).await.unwrap();
    let outcome = in_time(first.outcome()).await.unwrap();
    let kept = kept_of(&outcome.ending);
    let outcome = in_time(second.clone().outcome()).await.unwrap();
    let last = kept_of(&outcome.ending);
    until_asked("the first result is dropped", async || {
        !is_kept(&broker, kept).await
    })
    .await;
    assert!(is_kept(&broker, last).await);
    assert_eq!(in_time(second).await, Ok(text('b')));
    in_time(client.flush_jobs()).await;
    assert!(!is_kept(&broker, last).await);
    tokio::task::spawn_blocking(move || drop(worker))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_vanished_from_the_broker_are_computed_again() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let config = Config::new(fleet.url(), Role::Client);
    let broker = NatsBroker::connect(config).await.unwrap();
    let echo: Function<String> = function(&client, "echo").await;
    let first = client.submit(&echo, (text('a'),)).await.unwrap();
    let second = client.submit(&echo, (&first,)).await.unwrap();
    let mut lost = Vec::new();
    for future in [&first, &second] {
        let outcome = in_time(future.clone().outcome()).await.unwrap();
        match outcome.ending {
            Ending::Completed(Output::AtBroker(kept)) => lost.push(kept),
            other => panic!("{other:?}"),
        }
    }
    for kept in lost {
        let key = JobKey {
            tenant: broker.tenant(),
            job: kept.job,
        };
        let tasks = kept.task.into_iter().collect();
        in_time(broker.drop_values(key, tasks)).await.unwrap();
        assert!(!is_kept(&broker, kept).await);
    }
    // One that takes the second in a value, one that takes it as it is, and whoever waits for both.
    let mirrors: Function<Vec<String>> = function(&client, "mirrors").await;
    let within = client.submit(&mirrors, (vec![&second],)).await.unwrap();
    let whole = client.submit(&echo, (&second,)).await.unwrap();
    assert_eq!(in_time(within).await, Ok(vec![text('a')]));
    assert_eq!(in_time(whole).await, Ok(text('a')));
    assert_eq!(in_time(second).await, Ok(text('a')));
    assert_eq!(in_time(first).await, Ok(text('a')));
    in_time(client.flush_jobs()).await;
    tokio::task::spawn_blocking(move || drop(worker))
        .await
        .unwrap();
}
