//! What is kept of tasks that failed for good.

use sortie_protocol::TaskIndex;

use super::scene::{Scene, completed, failed, indices, same, task};
use super::{Harness, Verdict};
use crate::broker::DeadLetter;

fn tasks(letters: &[DeadLetter]) -> Vec<TaskIndex> {
    letters.iter().map(|letter| letter.task.index).collect()
}

/// A failed task is kept with all that is needed to understand it and to run it again, and its outcome is visible like any other.
pub async fn a_failed_task_is_kept_with_its_arguments(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..3).await?;
    let lease = scene.pull().await?;
    scene.report(&lease, vec![completed(0), failed(1), completed(2)]).await?;
    let letters = scene.dead_letters(Some(job), 1).await?;
    let kept: Vec<_> = letters.into_iter().map(|letter| (letter.job, letter.task, letter.outcome)).collect();
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
    same("the dead letters", &tasks(&scene.dead_letters(Some(job), 1).await?), &vec![1])
}

/// The newest come first, and as many as were asked for.
pub async fn dead_letters_come_newest_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    for index in 0..4 {
        scene.publish(job, [index]).await?;
        let lease = scene.pull().await?;
        scene.report(&lease, vec![failed(index)]).await?;
    }
    same("all dead letters", &tasks(&scene.dead_letters(None, 4).await?), &vec![3, 2, 1, 0])?;
    same("the newest two", &tasks(&scene.broker.dead_letters(Some(job), 2).await?), &vec![3, 2])?;
    same("none of them", &tasks(&scene.broker.dead_letters(None, 0).await?), &vec![])
}

/// Who asks for one job's dead letters gets that job's only.
pub async fn dead_letters_of_one_job_are_told_apart(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (one, other) = (scene.job().await?, scene.job().await?);
    for (job, index) in [(one, 0), (other, 1), (one, 2)] {
        scene.publish(job, [index]).await?;
        let lease = scene.pull().await?;
        scene.report(&lease, vec![failed(index)]).await?;
    }
    same("all dead letters", &tasks(&scene.dead_letters(None, 3).await?), &vec![2, 1, 0])?;
    same("those of the one job", &tasks(&scene.dead_letters(Some(one), 2).await?), &vec![2, 0])?;
    same("those of the other job", &tasks(&scene.dead_letters(Some(other), 1).await?), &vec![1])
}

/// A failure that is visible is also kept, when it came from a worker that had lost its lease.
pub async fn a_failure_in_a_late_report_is_kept_too(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..2).await?;
    let late = scene.pull().await?;
    let holder = scene.take_over(&late).await?;
    scene.report(&late, vec![failed(0), completed(1)]).await?;
    scene.report(&holder, indices(&holder).into_iter().map(completed).collect()).await?;
    let letters = scene.dead_letters(Some(job), 1).await?;
    same("the dead letters", &tasks(&letters), &vec![0])?;
    same("its arguments", &letters.into_iter().map(|letter| letter.task).collect(), &vec![task(0)])
}

/// Forgetting a job leaves its dead letters: they are for whoever looks later.
pub async fn dead_letters_outlive_their_job(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    scene.report(&lease, vec![failed(0)]).await?;
    scene.dead_letters(Some(job), 1).await?;
    scene.broker.forget(job).await?;
    same("the dead letters", &tasks(&scene.dead_letters(Some(job), 1).await?), &vec![0])
}
