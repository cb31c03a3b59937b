//! Tasks that are tried again. The worker here fails tasks until it is mended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sortie_protocol::{Ending, Failure, Outcome, Task};
use tokio::task::JoinHandle;

use super::graph::{FAILS, added, is_upstream, submit};
use super::troubled::Troubled;
use super::{client, soon};
use crate::{RetryError, TaskError, TaskFuture, TaskStatus};

/// A worker that adds up arguments. A sum of [`FAILS`] fails until it is mended, and is 1 from then
/// on.
struct Mendable {
    is_mended: Arc<AtomicBool>,
    working: JoinHandle<()>,
}

impl Mendable {
    fn at(broker: &Troubled) -> Self {
        let is_mended = Arc::<AtomicBool>::default();
        let (broker, mended) = (broker.clone(), is_mended.clone());
        let work = move |task: &Task| {
            let outcome = added(task);
            match &outcome.ending {
                Ending::Failed(_) if mended.load(Ordering::Relaxed) => Outcome {
                    ending: Ending::Completed(vec![1].into()),
                    ..outcome
                },
                _ => outcome,
            }
        };
        let working = tokio::spawn(async move {
            loop {
                broker.work_on(&work).await;
            }
        });
        Self { is_mended, working }
    }

    fn mend(&self) {
        self.is_mended.store(true, Ordering::Relaxed);
    }
}

impl Drop for Mendable {
    fn drop(&mut self) {
        self.working.abort();
    }
}

async fn has_trapped(future: &TaskFuture<u64>) -> bool {
    matches!(
        soon(future.clone()).await,
        Err(TaskError::Failed(Failure::Trapped { .. }))
    )
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_the_last_task_tries_every_one_again_that_failed_above_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Mendable::at(&broker);
    let good = submit(&client, 10).await;
    let (left, right) = (submit(&client, FAILS).await, submit(&client, FAILS).await);
    let middle = submit(&client, (&left, &good)).await;
    let last = submit(&client, (&middle, &right)).await;
    let beside = submit(&client, (&left, 5)).await;
    assert!(soon(last.clone()).await.is_err());
    assert!(is_upstream(&soon(beside.clone()).await, &[1, 5]));
    let before = broker.published_so_far();

    // What made them fail is still there.
    client.retry(&last).unwrap();
    assert!(!last.has_ended());
    assert!(has_trapped(&left).await && has_trapped(&right).await);
    assert!(is_upstream(&soon(beside.clone()).await, &[1, 5]));
    assert!(soon(last.clone()).await.is_err());
    assert!(broker.published_so_far() > before);

    worker.mend();
    client.retry(&last).unwrap();
    assert_eq!(middle.status(), TaskStatus::Waiting);
    assert_eq!(soon(last.clone()).await, Ok(12));
    // They failed for the same reason.
    assert_eq!(soon(beside).await, Ok(6));
    assert_eq!(soon(middle).await, Ok(11));
    assert_eq!(
        (last.index(), soon(last.outcome()).await.unwrap().index),
        (4, 4)
    );
    drop((good, left, right));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_a_result_or_runs_is_left_alone_by_a_retry() {
    let broker = Troubled::new();
    let (client, other) = (client(&broker), client(&broker));
    let runs = submit(&client, 1).await;
    let waits = submit(&client, (&runs, 1)).await;
    for future in [&runs, &waits] {
        client.retry(future).unwrap();
    }
    assert_eq!(other.retry(&runs), Err(RetryError::Foreign));
    let _worker = Mendable::at(&broker);
    assert_eq!(soon(waits.clone()).await, Ok(2));
    client.retry(&waits).unwrap();
    assert_eq!(soon(waits).await, Ok(2));
    assert_eq!(broker.published_so_far(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_is_tried_again_and_can_be_cancelled_again() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = submit(&client, 1).await;
    let second = submit(&client, (&first, 1)).await;
    broker.published(1).await;
    first.cancel().await.unwrap();
    assert_eq!(soon(second.clone()).await, Err(TaskError::Cancelled));
    client.retry(&second).unwrap();
    broker.published(2).await;
    first.cancel().await.unwrap();
    assert_eq!(soon(second.clone()).await, Err(TaskError::Cancelled));
    client.retry(&first).unwrap();
    let _worker = Mendable::at(&broker);
    assert_eq!(soon(second).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn results_that_were_let_go_are_made_again_for_a_retry() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Mendable::at(&broker);
    let input = submit(&client, FAILS - 1).await;
    let fails = submit(&client, (&input, 1)).await;
    drop(input);
    assert!(has_trapped(&fails).await);
    worker.mend();
    client.retry(&fails).unwrap();
    assert_eq!(soon(fails).await, Ok(1));
    // The input, its dependent, and both again.
    assert_eq!(broker.published_so_far(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_arguments_are_not_kept_says_so_when_it_is_tried_again() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _worker = Mendable::at(&broker);
    // More than are kept of a job.
    let mut large = Vec::new();
    for _ in 0..100 {
        large.push(submit(&client, ("x".repeat(700 << 10), FAILS)).await);
    }
    for future in &large {
        assert!(has_trapped(future).await);
    }
    let below = submit(&client, (&large[98], &large[99])).await;
    client.retry(&below).unwrap();
    assert!(soon(below).await.is_err());
    client.retry(&large[0]).unwrap();
    assert!(has_trapped(&large[0]).await);
    client.retry(&large[99]).unwrap();
    match soon(large[99].clone()).await {
        Err(TaskError::Failed(failure)) => {
            assert!(failure.to_string().contains("not kept"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    // What is kept of others makes room.
    large.truncate(1);
    let late = submit(&client, FAILS).await;
    assert!(has_trapped(&late).await);
    client.retry(&late).unwrap();
    assert!(has_trapped(&late).await);
    drop((large, late));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_flushed_meanwhile_runs_all_that_is_tried_again() {
    let broker = Troubled::new();
    let client = client(&broker);
    let worker = Mendable::at(&broker);
    let first = submit(&client, FAILS).await;
    let second = submit(&client, (&first, 1)).await;
    let third = submit(&client, (&second, 1)).await;
    assert!(soon(third.clone()).await.is_err());
    worker.mend();
    client.retry(&third).unwrap();
    soon(client.flush_jobs()).await;
    assert_eq!(soon(third).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_job_that_takes_no_more_is_submitted_again_instead() {
    let broker = Troubled::new();
    let client = client(&broker);
    let _worker = Mendable::at(&broker);
    let fails = submit(&client, FAILS).await;
    assert!(has_trapped(&fails).await);
    soon(client.flush_jobs()).await;
    assert_eq!(client.retry(&fails), Err(RetryError::Over(fails.job())));
}
