//! Checks of what a client does with a job that it keeps open: add functions, cancel single tasks.

use std::time::Duration;

use futures::StreamExt as _;
use sortie_protocol::{
    Bundle, Ending, FunctionIndex, FunctionOptions, JobFunction, Outcome, Part, Priority, Task,
    WaitingTask,
};

use super::scene::{CREATED, Scene, bundle, completed, ensure, indices, job, job_of, same, task};
use super::{Broken, Harness, Verdict};
use crate::traits::{Cancellation, Report, Retrial};

/// A function that differs from others by its priority.
fn function(priority: Priority) -> JobFunction {
    let options = FunctionOptions {
        priority,
        ..FunctionOptions::default()
    };
    let mut functions = job_of(options).functions;
    functions.remove(0)
}

fn calling(function: FunctionIndex, task: Task) -> Task {
    Task { function, ..task }
}

/// A worker that got tasks of the job before gets the added function with the first task that calls
/// it.
pub async fn a_function_that_is_added_can_be_called(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    scene.work().await?;
    let added = function(Priority::High);
    let functions = vec![added.clone()];
    scene.broker.add_functions(job, 1, functions).await?;
    let published = Bundle {
        tasks: vec![calling(1, task(1))],
        ..bundle(job, [])
    };
    scene.broker.publish(published).await?;
    let lease = scene.pull().await?;
    same(
        "the function of the leased task",
        &lease.job.function(1),
        &Some(&added),
    )?;
    scene.report(&lease, vec![completed(1)]).await?;
    scene.follow(job, 0).await?.expect(&[0, 1]).await
}

/// What is asked twice is done once; a place beyond the end of the table stays empty; a job that is
/// sealed, cancelled or not there gets none.
pub async fn functions_are_added_once_and_without_gaps(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let known = job();
    let key = known.key;
    let add = async |first, priorities: &[Priority]| {
        let functions = priorities.iter().copied().map(function).collect();
        scene.broker.add_functions(key, first, functions).await
    };
    ensure(add(1, &[Priority::Low]).await.is_err(), || {
        "functions were added to a job that is not there".into()
    })?;
    scene.broker.put_job(known.clone(), CREATED).await?;
    add(1, &[Priority::High, Priority::Low]).await?;
    add(1, &[Priority::Low]).await?;
    add(2, &[Priority::High, Priority::Normal]).await?;
    add(9, &[Priority::Low]).await?;
    let table: Vec<JobFunction> = known
        .functions
        .into_iter()
        .chain([Priority::High, Priority::Low, Priority::Normal].map(function))
        .collect();
    same("the table", &scene.record(key).await?.job.functions, &table)?;
    scene.broker.seal(key, 0).await?;
    add(4, &[Priority::Low]).await?;
    same(
        "the table of a sealed job",
        &scene.record(key).await?.job.functions,
        &table,
    )
}

/// A task that waits ends as cancelled at once, for all followers; the others of its bundle run.
pub async fn a_cancelled_task_ends_and_leaves_its_bundle(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut cancelled = scene.broker.cancellations().await?;
    scene.publish(job, [0, 1, 2]).await?;
    scene.publish(job, [3]).await?;
    scene.broker.cancel_tasks(job, vec![1, 3]).await?;
    same(
        "what workers are told",
        &scene.soon("a cancellation", cancelled.next()).await?,
        &Some(Cancellation::Tasks(job, [1, 3].into())),
    )?;
    let mut follower = scene.follow(job, 0).await?;
    let ended = follower.outcomes(2).await?;
    let endings: Vec<_> = ended
        .iter()
        .map(|(_, outcome)| (outcome.index, &outcome.ending))
        .collect();
    let cancelled = vec![(1, &Ending::Cancelled), (3, &Ending::Cancelled)];
    same("how the cancelled tasks ended", &endings, &cancelled)?;
    let lease = scene.pull().await?;
    same(
        "the tasks of the first bundle",
        &indices(&lease),
        &vec![0, 2],
    )?;
    scene
        .report(&lease, vec![completed(0), completed(2)])
        .await?;
    scene.nothing_to_pull(scene.lease / 8).await?;
    scene.unfinished("after the end", job, 0).await?;
    follower.expect(&[0, 2]).await
}

/// The first outcome counts.
pub async fn a_task_that_ended_is_not_cancelled(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    scene.work().await?;
    scene.broker.cancel_tasks(job, vec![0]).await?;
    scene.publish(job, [1]).await?;
    scene.work().await?;
    let outcomes = scene.follow(job, 0).await?.outcomes(2).await?;
    let endings: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    same("the outcomes", &endings, &vec![completed(0), completed(1)])
}

/// A worker that stops a cancelled task reports it as cancelled, with the others: its lease ends,
/// and nothing comes back.
pub async fn a_running_task_that_is_cancelled_ends_with_its_lease(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0, 1]).await?;
    let lease = scene.pull().await?;
    same("before", &scene.broker.cancelled(&lease), &None)?;
    let mut cancelled = scene.broker.cancellations().await?;
    scene.broker.cancel_tasks(job, vec![1]).await?;
    let told = scene.soon("a cancellation", cancelled.next()).await?;
    same("what is told", &scene.broker.cancelled(&lease), &told)?;
    let stopped = Outcome {
        ending: Ending::Cancelled,
        ..completed(1)
    };
    scene.report(&lease, vec![completed(0), stopped]).await?;
    let mut follower = scene.follow(job, 0).await?;
    let outcomes = follower.outcomes(2).await?;
    let cancelled = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.ending == Ending::Cancelled)
        .map(|(_, outcome)| outcome.index);
    same("the cancelled tasks", &cancelled.collect(), &vec![1])?;
    scene.nothing_to_pull(scene.lease / 8).await?;
    scene.unfinished("after the end", job, 0).await
}

/// A client cancels a task whose bundle is still on its way.
pub async fn a_cancelled_task_that_was_not_published_yet_is_not_run(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut cancelled = scene.broker.cancellations().await?;
    scene.broker.cancel_tasks(job, vec![1]).await?;
    match scene.soon("a cancellation", cancelled.next()).await? {
        Some(Cancellation::Tasks(..)) => {}
        other => return Err(Broken::new(format!("workers are told {other:?}"))),
    }
    scene.publish(job, [0, 1]).await?;
    let lease = scene.pull().await?;
    same("the tasks of the bundle", &indices(&lease), &vec![0])
}

/// A worker runs what follows a task under the lease of that, though no bundle has it. It travels
/// with its task, also when that is tried again, and nobody gets it for itself.
pub async fn what_followed_a_task_is_reported_with_it(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let then = vec![WaitingTask {
        index: 7,
        function: 0,
        parts: vec![Part::Result(1)],
        input: None,
        repeatable: true,
    }];
    let followed = Task {
        then: then.clone(),
        ..task(1)
    };
    let published = Bundle {
        tasks: vec![task(0), followed],
        ..bundle(job, [])
    };
    scene.broker.publish(published).await?;
    let lease = scene.pull().await?;
    let again = Report {
        outcomes: vec![completed(0)],
        retrials: vec![Retrial {
            index: 1,
            after: Duration::ZERO,
        }],
    };
    scene.broker.complete(lease.id, job, again).await?;
    let lease = scene.pull().await?;
    same("the tasks that are left", &indices(&lease), &vec![1])?;
    let travelled = lease.bundle.tasks.first().map(|task| &task.then);
    same("what follows", &travelled, &Some(&then))?;
    scene
        .report(&lease, vec![completed(1), completed(7)])
        .await?;
    scene.unfinished("after the end", job, 0).await?;
    let outcomes = scene.follow(job, 0).await?.outcomes(3).await?;
    let order: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome.index).collect();
    same("the outcomes", &order, &vec![0, 1, 7])?;
    scene.nothing_to_pull(scene.lease / 8).await
}
