//! Checks of outcomes: which are stored, and which followers see them.

use super::scene::{Scene, completed, completed_with, indices, same};
use super::{Harness, Verdict};

/// Of two workers that report on the same task, the first report counts, also if the other worker
/// holds the lease.
pub async fn the_first_outcome_of_a_task_wins(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene
        .report(&holder, vec![completed_with(0, "first")])
        .await?;
    scene
        .report(&late, vec![completed_with(0, "second")])
        .await?;
    // What is stored after the late report comes right after the first outcome.
    scene.publish(job, [1]).await?;
    scene.work().await?;
    let mut follower = scene.follow(job, 0).await?;
    let outcomes: Vec<_> = follower
        .outcomes(2)
        .await?
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect();
    same(
        "the outcomes",
        &outcomes,
        &vec![completed_with(0, "first"), completed(1)],
    )
}

/// A report under a lost lease counts if it is the first.
pub async fn a_late_report_is_taken_if_it_is_the_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene
        .report(&late, vec![completed_with(0, "first")])
        .await?;
    scene
        .report(&holder, vec![completed_with(0, "second")])
        .await?;
    scene.publish(job, [1]).await?;
    scene.work().await?;
    let mut follower = scene.follow(job, 0).await?;
    let outcomes: Vec<_> = follower
        .outcomes(2)
        .await?
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect();
    same(
        "the outcomes",
        &outcomes,
        &vec![completed_with(0, "first"), completed(1)],
    )
}

/// When a bundle comes back, the tasks that ended meanwhile are no longer in it; without any other,
/// it does not come back.
pub async fn what_a_late_report_ended_is_not_granted_again(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let late = scene.pull().await?;
    let second = scene.take_over(&late).await?;
    scene
        .report(&late, vec![completed(0), completed(2)])
        .await?;
    // The second worker dies as well.
    let third = scene.pull().await?;
    same("the tasks left", &indices(&third), &vec![1])?;
    same("the attempt", &third.attempt, &3)?;
    scene.broker.release(third.id).await?;
    scene.report(&second, vec![completed(1)]).await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// A worker that gave its bundle back and reports nevertheless is late like any other.
pub async fn what_was_reported_after_a_release_is_not_granted_again(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.pull().await?;
    scene.broker.release(lease.id).await?;
    scene.report(&lease, vec![completed(1)]).await?;
    same(
        "the tasks left",
        &indices(&scene.pull().await?),
        &vec![0, 2],
    )
}

/// A task that is in neither list of a report is not lost: it comes back, as after a lease that ran
/// out.
pub async fn a_task_that_a_report_leaves_out_comes_back(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.pull().await?;
    scene.report(&lease, vec![completed(1)]).await?;
    let rest = scene.pull().await?;
    same("the tasks left", &indices(&rest), &vec![0, 2])?;
    same("the attempt", &rest.attempt, &2)?;
    scene
        .report(&rest, vec![completed(0), completed(2)])
        .await?;
    scene.follow(job, 0).await?.expect(&[1, 0, 2]).await
}

/// A follower that comes late sees everything from position 0, in the order in which it was stored.
pub async fn outcomes_replay_from_the_start(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    scene.publish(job, 3..5).await?;
    scene.work().await?;
    scene.work().await?;
    let mut follower = scene.follow(job, 0).await?;
    let outcomes = follower.outcomes(5).await?;
    same(
        "the first position",
        &outcomes.first().map(|(position, _)| *position),
        &Some(0),
    )?;
    // Bundles of one job may be granted in any order.
    let mut tasks: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.index).collect();
    tasks.sort_unstable();
    same("the tasks", &tasks, &(0..5).collect())?;
    let again = scene.follow(job, 0).await?.outcomes(5).await?;
    same("a second replay", &again, &outcomes)
}

/// A follower that starts at a position sees what lies there and after it, even from within a
/// report.
pub async fn outcomes_replay_from_the_middle(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    scene.publish(job, 3..6).await?;
    scene.work().await?;
    scene.work().await?;
    let all = scene.follow(job, 0).await?.outcomes(6).await?;
    for (skip, (from, _)) in all.iter().enumerate() {
        let mut follower = scene.follow(job, *from).await?;
        let rest = follower.outcomes(all.len() - skip).await?;
        same(
            "what follows from a position",
            &rest,
            &all.iter().skip(skip).cloned().collect(),
        )?;
    }
    Ok(())
}

/// A follower that is there already sees each report when it is stored.
pub async fn a_follower_sees_outcomes_as_they_are_stored(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    for index in 0..5 {
        scene.publish(job, [index]).await?;
        let (_, seen) = futures::future::try_join(scene.work(), follower.outcomes(1)).await?;
        same(
            "the outcome seen live",
            &seen.into_iter().map(|(_, outcome)| outcome.index).collect(),
            &vec![index],
        )?;
    }
    Ok(())
}

/// Followers do not take outcomes from each other, whether they were there first or came later.
pub async fn two_followers_see_the_same(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut early = scene.follow(job, 0).await?;
    scene.publish(job, 0..3).await?;
    scene.work().await?;
    let mut late = scene.follow(job, 0).await?;
    scene.publish(job, 3..5).await?;
    let (_, early, late) =
        futures::future::try_join3(scene.work(), early.outcomes(5), late.outcomes(5)).await?;
    same("what the second follower saw", &late, &early)
}

/// Trimming may drop what lies before its position and nothing else; what comes later has the
/// positions it would have had.
pub async fn trim_forgets_nothing_from_its_position_on(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    scene.publish(job, 3..6).await?;
    scene.work().await?;
    scene.work().await?;
    let all = scene.follow(job, 0).await?.outcomes(6).await?;
    for (skip, (position, _)) in all.iter().enumerate() {
        scene.broker.trim(job, *position).await?;
        let rest = scene
            .follow(job, *position)
            .await?
            .outcomes(all.len() - skip)
            .await?;
        same(
            "what is left from the position on",
            &rest,
            &all.iter().skip(skip).cloned().collect(),
        )?;
    }
    let end = all.last().map_or(0, |(position, _)| position + 1);
    scene.broker.trim(job, end).await?;
    scene.publish(job, [6]).await?;
    scene.work().await?;
    let next = scene.follow(job, end).await?.outcomes(1).await?;
    same(
        "the task stored after a trim",
        &next.iter().map(|(_, outcome)| outcome.index).collect(),
        &vec![6],
    )?;
    // From the start, whatever was kept comes first, and what came after the trim has the same
    // position.
    let newest = scene.follow(job, 0).await?.outcome_of(6).await?;
    same(
        "what was stored after a trim, read from the start",
        &Some(&newest),
        &next.first(),
    )
}

/// Outcomes that are reported without a lease count if they are the first of their tasks, and not
/// once the job is cancelled.
pub async fn a_report_without_a_lease_counts_if_it_is_the_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    scene.broker.report(job, vec![completed(0)]).await?;
    follower.expect(&[0]).await?;
    let both = vec![completed(0), completed(1)];
    scene.broker.report(job, both).await?;
    follower.expect(&[1]).await?;
    scene.broker.cancel(job).await?;
    scene.broker.report(job, vec![completed(2)]).await?;
    follower.expect_cancelled().await
}

/// A follower that comes when everything is over is told all of it: the outcomes, the seal once,
/// and that there is no more up to the mark.
pub async fn a_late_follower_is_told_of_the_seal_and_that_it_has_caught_up(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    scene.work().await?;
    scene.broker.seal(job, 3).await?;
    scene.broker.seal(job, 4).await?;
    let through = scene.broker.unfinished(job).await?.through;
    for _ in 0..2 {
        let (sealed, mut tasks) = scene.follow(job, 0).await?.read_to(through).await?;
        tasks.sort_unstable();
        same("the seal", &sealed, &Some(3))?;
        same("the tasks that ended", &tasks, &vec![0, 1, 2])?;
    }
    Ok(())
}

/// A bundle that does not count as unfinished any more has its outcomes before the mark that comes
/// with the count.
pub async fn what_was_counted_before_a_mark_is_told_before_it(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut follower = scene.follow(job, 0).await?;
    for index in 0..3 {
        scene.publish(job, [index]).await?;
        scene.work().await?;
        scene.unfinished("when it is worked off", job, 0).await?;
        let through = scene.broker.unfinished(job).await?.through;
        let (_, tasks) = follower.read_to(through).await?;
        same("the tasks that ended", &tasks, &vec![index])?;
    }
    Ok(())
}
