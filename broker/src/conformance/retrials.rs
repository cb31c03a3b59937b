//! Checks of retrials: tasks that are to be tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::scene::{Scene, completed, ensure, indices, retrial, same, task};
use super::{Harness, Verdict};
use crate::traits::Report;

/// A task to be tried again comes back without its neighbours that ended, with every attempt so far
/// counted, and the neighbours' outcomes are visible before it does.
pub async fn a_retrial_comes_back_without_what_ended_as_the_next_attempt(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    scene.publish(job, 0..3).await?;
    let first = scene.pull().await?;
    let report = Report {
        outcomes: vec![completed(0), completed(2)],
        retrials: vec![retrial(1, scene.lease / 4)],
    };
    scene.report_on(&first, report).await?;
    follower.expect(&[0, 2]).await?;
    let second = scene.pull().await?;
    same("the tasks", &second.bundle.tasks, &vec![task(1)])?;
    same("the attempt", &second.attempt, &2)?;
    // A second retrial, after a delivery that ran out.
    let third = scene.take_over(&second).await?;
    same("the attempt", &third.attempt, &3)?;
    scene
        .report_on(
            &third,
            Report {
                outcomes: Vec::new(),
                retrials: vec![retrial(1, Duration::ZERO)],
            },
        )
        .await?;
    let fourth = scene.pull().await?;
    same("the attempt", &fourth.attempt, &4)?;
    scene.report(&fourth, vec![completed(1)]).await?;
    follower.expect(&[1]).await
}

/// A task to be tried again comes back after its delay, not before it, and not only when something
/// else happens.
pub async fn a_retrial_waits_for_its_delay(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    let (after, reported) = (scene.lease / 2, Instant::now());
    // The worker waits already when the retrial is asked for.
    let report = scene.report_on(
        &lease,
        Report {
            outcomes: Vec::new(),
            retrials: vec![retrial(0, after)],
        },
    );
    let (again, ()) = futures::future::try_join(scene.pull(), report).await?;
    let waited = reported.elapsed();
    same("the attempt", &again.attempt, &2)?;
    // A tenth for clocks that differ. Up to a lease late is slow; later than that, it was an expiry
    // that found it.
    ensure(waited >= after * 9 / 10, || {
        format!("a retrial asked for after {after:?} came after {waited:?}")
    })?;
    ensure(waited < after + scene.lease, || {
        format!("a retrial asked for after {after:?} came only after {waited:?}")
    })
}

/// While a task waits to be tried again, other bundles are granted.
pub async fn a_retrial_holds_up_nobody(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    scene
        .report_on(
            &lease,
            Report {
                outcomes: Vec::new(),
                // Far longer than the rest of this takes, on however busy a machine.
                retrials: vec![retrial(0, scene.lease * 100)],
            },
        )
        .await?;
    scene.publish(job, [1]).await?;
    same(
        "the bundle granted meanwhile",
        &indices(&scene.pull().await?),
        &vec![1],
    )?;
    scene.publish(job, [2]).await?;
    same(
        "the bundle granted meanwhile",
        &indices(&scene.pull().await?),
        &vec![2],
    )
}

/// Several tasks of one bundle to be tried again come back, together or apart, each once and as the
/// next attempt.
pub async fn each_retrial_of_a_report_comes_back_once(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.pull().await?;
    let retrials = (0..3)
        .map(|index| retrial(index, scene.lease / 8))
        .collect();
    scene
        .report_on(
            &lease,
            Report {
                outcomes: Vec::new(),
                retrials,
            },
        )
        .await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let lease = scene.work().await?;
        same("the attempt", &lease.attempt, &2)?;
        seen.extend(indices(&lease));
    }
    seen.sort_unstable();
    same("the tasks", &seen, &vec![0, 1, 2])?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// Tasks of one report that are to be tried again after different delays come back when they are
/// due, each as its next attempt, however long the others wait or run.
pub async fn retrials_with_different_delays_come_back_each_in_time(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    scene.publish(job, 0..4).await?;
    let lease = scene.pull().await?;
    let (reported, late) = (Instant::now(), scene.lease * 3 / 2);
    let report = Report {
        outcomes: vec![completed(3)],
        retrials: vec![
            retrial(0, Duration::ZERO),
            retrial(1, late),
            retrial(2, scene.lease / 4),
        ],
    };
    scene.report_on(&lease, report).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let lease = scene.work().await?;
        same("the attempt", &lease.attempt, &2)?;
        // A tenth for clocks that differ.
        ensure(
            !indices(&lease).contains(&1) || reported.elapsed() >= late * 9 / 10,
            || {
                format!(
                    "a retrial asked for after {late:?} came after {:?}",
                    reported.elapsed()
                )
            },
        )?;
        seen.extend(indices(&lease));
    }
    same("the task that waited longest", &seen.last(), &Some(&1))?;
    let mut ended = follower.outcomes(4).await?;
    ended.sort_by_key(|(_, outcome)| outcome.index);
    let ended: Vec<_> = ended.iter().map(|(_, outcome)| outcome.index).collect();
    same("the tasks that ended", &ended, &vec![0, 1, 2, 3])
}

/// A worker that lost its lease has no say in what is tried again: the bundle is with somebody
/// else.
pub async fn a_retrial_in_a_late_report_is_ignored(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene
        .report_on(
            &late,
            Report {
                outcomes: Vec::new(),
                retrials: vec![retrial(0, Duration::ZERO)],
            },
        )
        .await?;
    scene.nothing_to_pull(scene.lease / 4).await?;
    scene.report(&holder, vec![completed(0)]).await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// A task that has an outcome is not tried again, nor is one that was not in the bundle.
pub async fn a_retrial_of_a_task_that_ended_is_ignored(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    let retrials = vec![retrial(0, Duration::ZERO), retrial(7, Duration::ZERO)];
    scene
        .report_on(
            &lease,
            Report {
                outcomes: vec![completed(0)],
                retrials,
            },
        )
        .await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}
