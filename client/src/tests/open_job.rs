//! Tasks that are submitted one by one go to one job, which a client keeps open.

use std::sync::atomic::Ordering;

use futures::StreamExt as _;
use sortie_broker::{Cancellation, Operate as _, Submit as _, Work as _};
use sortie_protocol::{Ending, JobState, Outcome, Priority};

use super::troubled::Troubled;
use super::{Working, client, completed, function, key, soon};
use crate::{TaskError, as_completed, gather};

#[tokio::test(start_paused = true)]
async fn a_thousand_submits_are_one_job_with_a_table_of_functions_and_one_feed() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    let urgent = function().priority(Priority::High);
    let mut futures = Vec::new();
    for number in 0..1000 {
        let called = if number % 3 == 0 {
            &urgent
        } else {
            &function()
        };
        futures.push(client.submit(called, ()).await.unwrap());
    }
    let job = futures[0].job();
    assert!(
        futures
            .iter()
            .enumerate()
            .all(|(number, future)| future.job() == job && future.index() == number as u64)
    );
    let results = soon(gather(futures)).await;
    assert!(results.len() == 1000 && results.iter().all(|result| *result == Ok(7)));
    assert_eq!(broker.followed.load(Ordering::Relaxed), 1);
    let bundles = broker.published_so_far();
    assert!(bundles < 500, "{bundles} bundles");
    let jobs = broker.inner.jobs(10).await.unwrap();
    assert_eq!(jobs.len(), 1);
    let priorities = jobs[0].job.functions.iter();
    let priorities: Vec<_> = priorities.map(|called| called.options.priority).collect();
    assert_eq!(priorities, [Priority::High, Priority::Normal]);
    // When nothing is left of it, the broker need not know it any more.
    soon(client.flush_jobs()).await;
    assert!(broker.inner.jobs(10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_flushed_opens_another_job() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _working = Working::at(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    let job = first.job();
    assert_eq!(soon(first).await, Ok(7));
    soon(client.flush_jobs()).await;
    let second = client.submit(&function(), ()).await.unwrap();
    assert_ne!(second.job(), job);
    assert_eq!(soon(second).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_future_of_a_task_cancels_it_and_no_other() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = client.submit(&function(), ()).await.unwrap();
    let second = client.submit(&function(), ()).await.unwrap();
    let copy = second.clone();
    broker.published(2).await;
    let job = key(first.job());
    let mut told = broker.inner.cancellations().await.unwrap();
    drop(second);
    drop(first);
    assert_eq!(
        soon(told.next()).await,
        Some(Cancellation::Tasks(job, [0].into()))
    );
    broker.work(completed).await;
    assert_eq!(soon(copy).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_cancelled_resolves_so_and_all_its_clones_do() {
    let broker = Troubled::new();
    let client = client(&broker);
    let future = client.submit(&function(), ()).await.unwrap();
    let (copy, other) = (
        future.clone(),
        client.submit(&function(), ()).await.unwrap(),
    );
    future.cancel().await.unwrap();
    assert_eq!(soon(future).await, Err(TaskError::Cancelled));
    assert_eq!(soon(copy).await, Err(TaskError::Cancelled));
    let _working = Working::at(&broker);
    assert_eq!(soon(other.clone()).await, Ok(7));
    // It has ended.
    other.cancel().await.unwrap();
    assert_eq!(soon(other).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_somebody_else_cancels_ends_its_futures_and_the_next_task_has_another() {
    let broker = Troubled::new();
    let client = client(&broker);
    let future = client.submit(&function(), ()).await.unwrap();
    let job = future.job();
    broker.published(1).await;
    broker.inner.cancel(key(job)).await.unwrap();
    assert_eq!(soon(future).await, Err(TaskError::Cancelled));
    let _working = Working::at(&broker);
    let next = client.submit(&function(), ()).await.unwrap();
    assert_ne!(next.job(), job);
    assert_eq!(soon(next).await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_dropped_leaves_nothing_when_its_futures_have_ended() {
    let broker = Troubled::new();
    let client = client(&broker);
    let future = client.submit(&function(), ()).await.unwrap();
    let job = future.job();
    drop(client);
    let state = async || broker.inner.job(key(job)).await.unwrap().map(|it| it.state);
    assert_eq!(state().await, Some(JobState::Open));
    broker.work(completed).await;
    assert_eq!(soon(future).await, Ok(7));
    let forgotten = async {
        while state().await.is_some() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    soon(forgotten).await;
}

#[tokio::test(start_paused = true)]
async fn results_come_as_tasks_complete() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut submitted = Vec::new();
    for _ in 0..3 {
        submitted.push(client.submit(&function(), ()).await.unwrap());
        broker.published(submitted.len()).await;
    }
    let mut results = std::pin::pin!(as_completed(submitted));
    for place in 0..3 {
        let counted = |index| Outcome {
            ending: Ending::Completed(vec![u8::try_from(index).unwrap()].into()),
            ..completed(index)
        };
        broker.work(counted).await;
        assert_eq!(soon(results.next()).await, Some((place, Ok(place as u64))));
    }
    assert_eq!(soon(results.next()).await, None);
}
