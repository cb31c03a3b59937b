//! Tasks that a worker runs right after the one whose result they take. The worker here adds up all
//! numbers that it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sortie_broker::{Lease, Report, Submit as _, Work as _};
use sortie_protocol::{Ending, Outcome, Output, Part, Task, TaskIndex, filling};

use super::graph::{FAILS, added, is_upstream, submit, sum};
use super::troubled::Troubled;
use super::{client, key, soon};
use crate::{Client, TaskError, TaskFuture, TaskStatus, gather};

/// A task, and what follows it as far as `take` says, each with the result of the one before.
fn run(task: &Task, take: usize) -> Vec<Outcome> {
    let mut outcomes = vec![added(task)];
    for next in task.then.iter().take(take) {
        let Some(Ending::Completed(result)) = outcomes.last().map(|last| &last.ending) else {
            break;
        };
        let result = result.clone();
        let parts: Vec<Part<Output>> = next
            .parts
            .iter()
            .cloned()
            .map(|part| part.map(|_| result.clone()))
            .collect();
        let arguments = filling::fill(sum().signature(), parts).unwrap();
        outcomes.push(added(&Task {
            index: next.index,
            arguments,
            function: next.function,
            input: None,
            then: Vec::new(),
        }));
    }
    outcomes
}

/// Report these outcomes of a leased bundle together.
async fn report(broker: &Troubled, lease: &Lease, outcomes: Vec<Outcome>) {
    let report = Report {
        outcomes,
        retrials: Vec::new(),
    };
    let reporting = broker.inner.complete(lease.id, lease.job.key, report);
    reporting.await.unwrap();
}

/// Lease one bundle, and report on it as a worker does that takes so many followers of each task.
async fn work(broker: &Troubled, take: usize) {
    let lease = broker.lease().await;
    let tasks = lease.bundle.tasks.iter();
    let ran: Vec<Vec<Outcome>> = tasks.map(|task| run(task, take)).collect();
    let first = ran.iter().map(|ran| ran[0].clone());
    let followed = ran.iter().flat_map(|ran| ran[1..].iter().cloned());
    report(broker, &lease, first.chain(followed).collect()).await;
}

/// A sum of ones, each added to the sum before it.
async fn chain(client: &Client, first: u64, links: usize) -> Vec<TaskFuture<u64>> {
    let mut futures = vec![submit(client, first).await];
    for _ in 1..links {
        let next = submit(client, (futures.last().unwrap(), 1)).await;
        futures.push(next);
    }
    futures
}

/// Works for as long as it is held, and counts bundles.
struct Following(tokio::task::JoinHandle<()>, Arc<AtomicUsize>);

impl Following {
    fn at(broker: &Troubled, take: usize) -> Self {
        let (broker, worked) = (broker.clone(), Arc::<AtomicUsize>::default());
        let counted = worked.clone();
        let working = tokio::spawn(async move {
            loop {
                work(&broker, take).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self(working, worked)
    }

    fn bundles(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_ran_where_the_task_before_it_ran_is_not_published() {
    let broker = Troubled::new();
    let client = client(&broker);
    let futures = chain(&client, 1, 100).await;
    let job = key(futures[0].job());
    let working = Following::at(&broker, usize::MAX);
    let sums = soon(gather(futures)).await;
    assert!(sums.into_iter().map(Result::unwrap).eq(1..=100));
    assert!(working.bundles() <= 2, "{} bundles", working.bundles());
    // The job ends, and every task has its outcome.
    soon(client.flush_jobs()).await;
    assert!(broker.inner.job(job).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_did_not_run_there_is_published() {
    for take in [0, 1, 2, 7] {
        let broker = Troubled::new();
        let client = client(&broker);
        let working = Following::at(&broker, take);
        let futures = chain(&client, 1, 50).await;
        let sums = soon(gather(futures)).await;
        assert!(sums.into_iter().map(Result::unwrap).eq(1..=50));
        let bundles = 50_usize.div_ceil(take + 1);
        // The first ones are on their way before others are there to follow them.
        assert!(working.bundles() >= bundles && working.bundles() <= bundles + 8);
        soon(client.flush_jobs()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_comes_apart_from_that_of_the_task_before_it_counts_once() {
    let broker = Troubled::new();
    let client = client(&broker);
    let futures = chain(&client, 1, 3).await;
    let job = key(futures[0].job());
    broker.published(1).await;
    let lease = broker.lease().await;
    let outcomes = run(&lease.bundle.tasks[0], usize::MAX);
    assert_eq!(outcomes.len(), 3);
    // The last comes first, and the one in the middle when it was published for itself.
    broker
        .inner
        .report(job, vec![outcomes[2].clone()])
        .await
        .unwrap();
    assert_eq!(soon(futures[2].clone()).await, Ok(3));
    report(&broker, &lease, vec![outcomes[0].clone()]).await;
    broker.published(2).await;
    broker
        .inner
        .report(job, vec![outcomes[1].clone()])
        .await
        .unwrap();
    work(&broker, 0).await;
    assert_eq!(soon(gather(futures)).await, [Ok(1), Ok(2), Ok(3)]);
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_what_was_to_follow() {
    let broker = Troubled::new();
    let client = client(&broker);
    let futures = chain(&client, FAILS - 1, 5).await;
    let _working = Following::at(&broker, usize::MAX);
    let sums = soon(gather(futures)).await;
    assert_eq!(sums[0], Ok(FAILS - 1));
    assert!(
        matches!(sums[1], Err(TaskError::Failed(_))),
        "{:?}",
        sums[1]
    );
    assert!(is_upstream(&sums[4], &[1, 2, 3, 4]), "{:?}", sums[4]);
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_cancelled_meanwhile_stays_cancelled() {
    let broker = Troubled::new();
    let client = client(&broker);
    let mut futures = chain(&client, 1, 4).await;
    broker.published(1).await;
    let lease = broker.lease().await;
    let outcomes = run(&lease.bundle.tasks[0], usize::MAX);
    futures[2].cancel().await.unwrap();
    assert_eq!(futures[2].status(), TaskStatus::Cancelled);
    // Nobody asks for this one any more.
    drop(futures.remove(3));
    report(&broker, &lease, outcomes).await;
    let ends = soon(gather(futures)).await;
    assert_eq!(ends, [Ok(1), Ok(2), Err(TaskError::Cancelled)]);
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_waits_for_one_task_alone_goes_along_with_it() {
    let broker = Troubled::new();
    let client = client(&broker);
    let first = submit(&client, 1).await;
    let second = submit(&client, (&first, 1)).await;
    // Two take the result of the second, one those of two tasks.
    let third = submit(&client, (&second, 1)).await;
    let fourth = submit(&client, (&second, 2)).await;
    let last = submit(&client, (&third, &fourth)).await;
    broker.published(1).await;
    let lease = broker.lease().await;
    let then: Vec<TaskIndex> = lease.bundle.tasks[0]
        .then
        .iter()
        .map(|next| next.index)
        .collect();
    assert_eq!(then, [1]);
    broker.report_on(lease, added).await;
    let _working = Following::at(&broker, usize::MAX);
    assert_eq!(soon(last).await, Ok(3 + 4));
    drop((first, second, third, fourth));
    soon(client.flush_jobs()).await;
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_function_that_takes_long_do_not_go_along() {
    let broker = Troubled::new();
    let client = client(&broker);
    let slow = |task: &Task| {
        let mut outcome = added(task);
        outcome.function = Some(0);
        outcome.bill.run = std::time::Duration::from_millis(200);
        outcome
    };
    let first = submit(&client, 1).await;
    broker.work_on(slow).await;
    assert_eq!(soon(first).await, Ok(1));
    let futures = chain(&client, 1, 3).await;
    broker.published(2).await;
    let lease = broker.lease().await;
    assert_eq!(lease.bundle.tasks[0].then, []);
    broker.report_on(lease, slow).await;
    let _working = Following::at(&broker, usize::MAX);
    assert_eq!(soon(gather(futures)).await, [Ok(1), Ok(2), Ok(3)]);
}
