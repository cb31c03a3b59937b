//! Checks of dead letters: what is kept of tasks that failed for good.

use sortie_protocol::{
    DeadLetter, FunctionOptions, Job, JobKey, Limits, Outcome, Priority, RetryPolicy, Task,
    TaskIndex,
};

use super::scene::{
    CREATED, Scene, completed, ensure, failed, indices, job_of, labels, puller_with, same, task,
};
use super::{Harness, Verdict};
use crate::traits::LetterId;

fn kept(letters: &[(LetterId, DeadLetter)]) -> Vec<(&Job, &Task, &Outcome)> {
    let kept = letters.iter().filter_map(|(_, letter)| match letter {
        DeadLetter::Task {
            job, task, outcome, ..
        } => Some((job, task, outcome)),
        DeadLetter::Unreadable { .. } => None,
    });
    kept.collect()
}

fn tasks(letters: &[(LetterId, DeadLetter)]) -> Vec<TaskIndex> {
    kept(letters)
        .into_iter()
        .map(|(_, task, _)| task.index)
        .collect()
}

/// Fail one task after the other, each in a bundle of its own.
async fn fail(scene: &Scene, job: JobKey, indices: impl IntoIterator<Item = TaskIndex>) -> Verdict {
    for index in indices {
        scene.publish(job, [index]).await?;
        let lease = scene.pull().await?;
        scene.report(&lease, vec![failed(index)]).await?;
    }
    Ok(())
}

/// A failed task is kept with all that is needed to understand it and to run it again, and its
/// outcome is visible like any other.
pub async fn a_failed_task_is_kept_with_its_arguments(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.pull().await?;
    scene
        .report(&lease, vec![completed(0), failed(1), completed(2)])
        .await?;
    let letters = scene.dead_letters(Some(job), 1).await?;
    let kept: Vec<_> = kept(&letters)
        .into_iter()
        .map(|(of, task, outcome)| (of.key, task.clone(), outcome.clone()))
        .collect();
    same("the dead letters", &kept, &vec![(job, task(1), failed(1))])?;
    scene.follow(job, 0).await?.expect(&[0, 1, 2]).await
}

/// A task that completed is no dead letter, and a report that came second makes none.
pub async fn a_task_that_completed_is_not_kept(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene.report(&holder, vec![completed(0)]).await?;
    scene.report(&late, vec![failed(0)]).await?;
    scene.publish(job, [1]).await?;
    let lease = scene.pull().await?;
    scene.report(&lease, vec![failed(1)]).await?;
    same(
        "the dead letters",
        &tasks(&scene.dead_letters(Some(job), 1).await?),
        &vec![1],
    )
}

/// The newest come first, and as many as were asked for.
pub async fn dead_letters_come_newest_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    fail(&scene, job, 0..4).await?;
    let all = scene.dead_letters(None, 4).await?;
    same("all dead letters", &tasks(&all), &vec![3, 2, 1, 0])?;
    let names: Vec<_> = all.iter().map(|(id, _)| id).collect();
    ensure(names.is_sorted_by(|newer, older| newer > older), || {
        format!("the names of later letters are not greater: {names:?}")
    })?;
    same(
        "the newest two",
        &tasks(&scene.broker.dead_letters(Some(job), 2).await?),
        &vec![3, 2],
    )?;
    same(
        "none of them",
        &tasks(&scene.broker.dead_letters(None, 0).await?),
        &vec![],
    )
}

/// A list of one job's dead letters has no letters of other jobs.
pub async fn dead_letters_of_one_job_are_told_apart(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (one, other) = (scene.job().await?, scene.job().await?);
    for (job, index) in [(one, 0), (other, 1), (one, 2)] {
        fail(&scene, job, [index]).await?;
    }
    same(
        "all dead letters",
        &tasks(&scene.dead_letters(None, 3).await?),
        &vec![2, 1, 0],
    )?;
    same(
        "those of the one job",
        &tasks(&scene.dead_letters(Some(one), 2).await?),
        &vec![2, 0],
    )?;
    same(
        "those of the other job",
        &tasks(&scene.dead_letters(Some(other), 1).await?),
        &vec![1],
    )
}

/// A failure that is visible is also kept, when it came from a worker that had lost its lease.
pub async fn a_failure_in_a_late_report_is_kept_too(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..2).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene.report(&late, vec![failed(0), completed(1)]).await?;
    scene
        .report(
            &holder,
            indices(&holder).into_iter().map(completed).collect(),
        )
        .await?;
    let letters = scene.dead_letters(Some(job), 1).await?;
    same("the dead letters", &tasks(&letters), &vec![0])?;
    same(
        "its arguments",
        &kept(&letters)
            .into_iter()
            .map(|(_, task, _)| task.clone())
            .collect(),
        &vec![task(0)],
    )
}

/// Forgetting a job leaves its dead letters: an operator may look at them later.
pub async fn dead_letters_outlive_their_job(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    scene.report(&lease, vec![failed(0)]).await?;
    scene.dead_letters(Some(job), 1).await?;
    scene.broker.forget(job).await?;
    same(
        "the dead letters",
        &tasks(&scene.dead_letters(Some(job), 1).await?),
        &vec![0],
    )
}

/// A dead letter has its job as it was put, all that it takes to run the task again, also when the
/// job is forgotten.
pub async fn a_dead_letter_has_its_job(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let labels = labels("gpu,region=eu")?;
    let limits = Limits {
        memory: Limits::MEMORY_MAX,
        ..Limits::default()
    };
    let options = FunctionOptions {
        limits,
        retry: RetryPolicy::retries(7),
        priority: Priority::High,
        labels: labels.clone(),
        ..FunctionOptions::default()
    };
    let job = job_of(options);
    scene.broker.put_job(job.clone(), CREATED).await?;
    scene.publish(job.key, [0]).await?;
    let lease = scene.pull_as(&puller_with(1, &labels)).await?;
    scene.report(&lease, vec![failed(0)]).await?;
    let buried = |letters: &[(LetterId, DeadLetter)]| {
        kept(letters)
            .into_iter()
            .map(|(job, _, _)| job.clone())
            .collect::<Vec<_>>()
    };
    same(
        "the job of the dead letter",
        &buried(&scene.dead_letters(Some(job.key), 1).await?),
        &vec![job.clone()],
    )?;
    scene.broker.forget(job.key).await?;
    same(
        "the job of the dead letter, forgotten",
        &buried(&scene.dead_letters(Some(job.key), 1).await?),
        &vec![job],
    )
}

/// A dead letter that was removed is gone, and only it. Removing it again, or one that never was,
/// is no error.
pub async fn a_removed_dead_letter_is_gone(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    fail(&scene, job, 0..3).await?;
    let letters = scene.dead_letters(Some(job), 3).await?;
    let (removed, left): (Vec<_>, Vec<_>) = letters
        .into_iter()
        .partition(|letter| tasks(std::slice::from_ref(letter)) == [1]);
    same("the letters of one task", &removed.len(), &1)?;
    for (id, _) in &removed {
        let is_removed = scene.broker.remove_dead_letter(*id).await?;
        same("whether the letter was there", &is_removed, &true)?;
        scene
            .until("the dead letters of the job", &left, || {
                scene.broker.dead_letters(Some(job), 100)
            })
            .await?;
        let is_removed = scene.broker.remove_dead_letter(*id).await?;
        same("whether it was there again", &is_removed, &false)?;
    }
    let is_removed = scene.broker.remove_dead_letter(LetterId::MAX).await?;
    same("whether a letter of no task was there", &is_removed, &false)?;
    fail(&scene, job, [3]).await?;
    let all = scene.dead_letters(None, 3).await?;
    same("the dead letters of all jobs", &tasks(&all), &vec![3, 2, 0])?;
    let names: Vec<_> = all.iter().chain(&removed).map(|(id, _)| id).collect();
    ensure(
        names.iter().skip(1).all(|name| Some(name) < names.first()),
        || format!("a name was used again: {names:?}"),
    )
}
