//! Checks of leases: completed, released, extended, expired.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Ending, Failure, LeaseId, Outcome, TaskIndex};
use tokio::time::{Instant, timeout};

use super::scene::{Scene, completed, ensure, indices, puller, same};
use super::{Broken, Harness, Verdict};
use crate::traits::{Extended, Report};

/// A lease that nobody extends goes to another worker under a new name, counted as one more
/// attempt, and not before its time is over.
pub async fn an_expired_lease_is_redelivered_as_the_next_attempt(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let first = scene.pull().await?;
    let granted = Instant::now();
    let second = scene.take_over(&first).await?;
    // A tenth for clocks that differ, and for the way of the first grant.
    ensure(granted.elapsed() >= scene.lease * 9 / 10, || {
        format!("redelivered after {:?}", granted.elapsed())
    })?;
    ensure(first.id != second.id, || {
        format!("both leases are named {:?}", first.id)
    })?;
    same("the attempts", &(first.attempt, second.attempt), &(1, 2))?;
    same(
        "the tasks of the second lease",
        &second.bundle.tasks,
        &first.bundle.tasks,
    )
}

/// A worker that waited already when the other took the bundle gets it when the other dies, without
/// any further call.
pub async fn a_sleeping_worker_takes_over_from_one_that_died(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let (one, other) = (puller(1), puller(2));
    let mut dying = scene.broker.pull(&one, NonZeroUsize::MIN);
    let mut sleeping = scene.broker.pull(&other, NonZeroUsize::MIN);
    ensure(timeout(scene.lease / 8, &mut dying).await.is_err(), || {
        "a pull from an empty broker did not wait".into()
    })?;
    ensure(
        timeout(scene.lease / 8, &mut sleeping).await.is_err(),
        || "a pull from an empty broker did not wait".into(),
    )?;
    scene.publish(job, [0]).await?;
    // Either may get the bundle; the other has to get it next.
    let both = futures::future::join(dying, sleeping);
    let (one, other) = scene
        .soon("a grant to both, one after the other", both)
        .await?;
    let mut attempts: Vec<_> = one?
        .iter()
        .chain(other?.iter())
        .map(|lease| lease.attempt)
        .collect();
    attempts.sort_unstable();
    same("the attempts", &attempts, &vec![1, 2])
}

/// A lease that is extended in time is held for as long as its worker wants.
pub async fn an_extended_lease_is_not_redelivered(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    let mut deadline = lease.deadline;
    for _ in 0..9 {
        scene.nothing_to_pull(scene.lease / 3).await?;
        match scene.broker.extend(lease.id).await? {
            Extended::Until(until) => {
                ensure(until > deadline, || {
                    format!("extended from {deadline} to {until}")
                })?;
                deadline = until;
            }
            Extended::Lost => {
                return Err(Broken::new(
                    "a lease was lost although it was extended in time",
                ));
            }
        }
    }
    let next = scene.take_over(&lease).await?;
    same(
        "the attempt after a lease that was extended",
        &next.attempt,
        &2,
    )
}

/// A worker that extends too late is told so, and does not take the bundle from the worker that has
/// it now.
pub async fn an_expired_lease_cannot_be_extended(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let first = scene.pull().await?;
    let second = scene.take_over(&first).await?;
    same(
        "extending the lease that ran out",
        &scene.broker.extend(first.id).await?,
        &Extended::Lost,
    )?;
    let extended = scene.broker.extend(second.id).await?;
    ensure(matches!(extended, Extended::Until(_)), || {
        "the lease that holds was lost".into()
    })
}

/// A bundle that was given back is granted at once, and the delivery does not count.
pub async fn a_released_bundle_comes_back_and_does_not_count(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    // More often than a bundle may be delivered: a release uses none of the deliveries up.
    for _ in 0..=harness.deliveries_max() {
        let lease = scene.pull().await?;
        same("the attempt", &lease.attempt, &1)?;
        same("the tasks", &indices(&lease), &vec![0, 1, 2])?;
        scene.broker.release(lease.id).await?;
        same(
            "extending a lease that was given back",
            &scene.broker.extend(lease.id).await?,
            &Extended::Lost,
        )?;
    }
    scene.pull().await.map(drop)
}

/// What was completed stays away for good.
pub async fn a_completed_bundle_is_never_granted_again(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.work().await?;
    same(
        "extending a lease that was completed",
        &scene.broker.extend(lease.id).await?,
        &Extended::Lost,
    )?;
    scene.broker.release(lease.id).await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// A lease the broker does not know, or no longer: extending it says so; completing and releasing
/// it do nothing.
pub async fn an_unknown_lease_is_lost_and_ending_it_is_no_error(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let unknown = LeaseId(u64::MAX);
    same(
        "extending it",
        &scene.broker.extend(unknown).await?,
        &Extended::Lost,
    )?;
    scene.broker.release(unknown).await?;
    scene
        .broker
        .complete(unknown, job, Report::default())
        .await?;
    scene.publish(job, [0]).await?;
    scene.work().await.map(drop)
}

/// A bundle that was lost twice comes back in parts, each task alone: one that kills its workers
/// does not take its neighbours down. These complete; it is given up alone.
pub async fn a_bundle_lost_twice_comes_back_task_by_task(harness: &dyn Harness) -> Verdict {
    const POISON: TaskIndex = 1;
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    scene.publish(job, 0..3).await?;
    let first = scene.pull().await?;
    let second = scene.take_over(&first).await?;
    same("the attempt of the second lease", &second.attempt, &2)?;
    let mut alone = Vec::new();
    for _ in 0..3 {
        let lease = scene.pull().await?;
        same("the attempt of a task alone", &lease.attempt, &3)?;
        if indices(&lease) != [POISON] {
            scene
                .report(&lease, indices(&lease).into_iter().map(completed).collect())
                .await?;
        }
        alone.push(indices(&lease));
    }
    alone.sort_unstable();
    same(
        "the bundles after two losses",
        &alone,
        &vec![vec![0], vec![1], vec![2]],
    )?;
    let mut ended: Vec<_> = follower
        .outcomes(2)
        .await?
        .into_iter()
        .map(|(_, outcome)| outcome.index)
        .collect();
    ended.sort_unstable();
    same("the neighbours that completed", &ended, &vec![0, 2])?;
    for attempt in 4..=harness.deliveries_max() {
        let lease = scene.pull().await?;
        same(
            "what is delivered again",
            &(indices(&lease), lease.attempt),
            &(vec![POISON], attempt),
        )?;
    }
    let (_, outcome) = scene.beside_a_pull(follower.outcome_of(POISON)).await?;
    lost(&outcome, harness.deliveries_max())
}

/// A bundle whose every lease ran out is not granted for ever: each task is delivered as often as
/// is allowed, then ends as `worker-lost`, and is a dead letter.
pub async fn a_bundle_is_given_up_when_its_deliveries_are_used_up(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..2).await?;
    let mut follower = scene.follow(job, 0).await?;
    let attempts: Vec<u32> = (1..=harness.deliveries_max()).collect();
    let mut delivered = BTreeMap::from([(0, Vec::new()), (1, Vec::new())]);
    while delivered.values().any(|seen| seen.len() < attempts.len()) {
        let lease = scene.pull().await?;
        for index in indices(&lease) {
            delivered.entry(index).or_default().push(lease.attempt);
        }
    }
    same(
        "the attempts at each task",
        &delivered,
        &BTreeMap::from([(0, attempts.clone()), (1, attempts)]),
    )?;
    let given_up = async {
        Ok((
            follower.outcomes(2).await?,
            scene.dead_letters(Some(job), 2).await?,
        ))
    };
    let (outcomes, letters) = scene.beside_a_pull(given_up).await?;
    for (_, outcome) in outcomes {
        lost(&outcome, harness.deliveries_max())?;
    }
    same("the dead letters", &letters.len(), &2)?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// See that no worker finished this task in so many attempts.
fn lost(outcome: &Outcome, attempts: u32) -> Verdict {
    let lost = matches!(
        &outcome.ending,
        Ending::Failed(Failure::Platform {
            fault: PlatformFault::WorkerLost,
            ..
        })
    );
    ensure(lost, || {
        format!(
            "a task that no worker finished ended with {:?}",
            outcome.ending
        )
    })?;
    same("its attempts", &outcome.attempts, &attempts)
}
