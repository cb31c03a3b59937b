//! Checks of a broker that is full: who is told, and what goes on all the same.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use sortie_protocol::{Argument, Bundle, JobKey, TaskIndex};

use super::scene::{Scene, bundle, completed, indices, retrial, same};
use super::{Broken, Harness, Verdict};
use crate::traits::{Error, Report};

/// What one bundle of these checks takes, about.
pub(super) const BUNDLE_BYTES: usize = 64 << 10;
/// More bundles than fit into any queue of these checks.
const MANY: TaskIndex = 64;

/// A bundle of one task with a large argument.
pub(super) fn heavy(job: JobKey, index: TaskIndex) -> Bundle {
    let mut heavy = bundle(job, [index]);
    for task in &mut heavy.tasks {
        task.arguments = vec![Argument::Value(Bytes::from(vec![7; BUNDLE_BYTES]))];
    }
    heavy
}

type Publishing<'s> = BoxFuture<'s, Result<(), Error>>;

/// Publish until there is no room and the broker says so. The publish that waits comes back.
pub(super) async fn fill<'s>(scene: &'s Scene, job: JobKey) -> Result<Publishing<'s>, Broken> {
    for index in 0..MANY {
        let mut publishing: Publishing<'s> = scene.broker.publish(heavy(job, index));
        let told = scene.until("that the broker is full", &true, || {
            std::future::ready(Ok(scene.broker.full().is_some()))
        });
        tokio::select! {
            biased;
            published = &mut publishing => published?,
            told = told => {
                told?;
                return Ok(publishing);
            }
        }
    }
    Err(Broken::new("a narrow queue took everything"))
}

async fn full(harness: &dyn Harness) -> Result<(Scene, JobKey), Broken> {
    let broker = harness.narrow_broker(8 * BUNDLE_BYTES).await;
    let scene = Scene::of(harness, broker);
    let job = scene.job().await?;
    Ok((scene, job))
}

/// A broker says that it is full while a publish waits for room, and no more when there is room.
pub async fn a_broker_that_is_full_says_so_until_there_is_room(harness: &dyn Harness) -> Verdict {
    let (scene, job) = full(harness).await?;
    same(
        "whether an empty broker is full",
        &scene.broker.full(),
        &None,
    )?;
    let waiting = fill(&scene, job).await?;
    scene.work().await?;
    scene
        .soon("a publish when there is room", waiting)
        .await??;
    same("whether it is still full", &scene.broker.full(), &None)
}

/// Retrials and releases need no room: a queue that is full is worked off.
pub async fn a_full_queue_takes_back_what_is_released_or_tried_again(
    harness: &dyn Harness,
) -> Verdict {
    let (scene, job) = full(harness).await?;
    let mut waiting = fill(&scene, job).await?;
    let lease = scene.pull().await?;
    let again = Report {
        outcomes: Vec::new(),
        retrials: indices(&lease)
            .into_iter()
            .map(|index| retrial(index, Duration::ZERO))
            .collect(),
    };
    // What was pulled may have made room, and the next publish may have taken it.
    let first = tokio::time::timeout(scene.lease / 4, &mut waiting).await;
    let refilled = match first {
        Ok(published) => {
            published?;
            fill(&scene, job).await?
        }
        Err(_) => waiting,
    };
    scene.report_on(&lease, again).await?;
    let released = scene.pull().await?;
    scene
        .soon("a release", scene.broker.release(released.id))
        .await??;
    drop(refilled);
    let mut left = scene.broker.unfinished(job).await?.bundles;
    let mut tried = false;
    while left > 0 {
        let worked = scene.pull().await?;
        tried |= worked.attempt == 2 && indices(&worked) == indices(&lease);
        let outcomes = indices(&worked).into_iter().map(completed).collect();
        scene.report(&worked, outcomes).await?;
        left -= 1;
    }
    same("whether the task was tried again", &tried, &true)?;
    scene.unfinished("when all is worked off", job, 0).await
}

/// Bundles of a cancelled job that wait are gone at once, also where no worker asks for any.
pub async fn cancel_makes_room_without_a_worker(harness: &dyn Harness) -> Verdict {
    let (scene, job) = full(harness).await?;
    let waiting = fill(&scene, job).await?;
    drop(waiting);
    scene.broker.cancel(job).await?;
    room_for_all(&scene).await
}

/// As for a cancelled job.
pub async fn forget_makes_room_without_a_worker(harness: &dyn Harness) -> Verdict {
    let (scene, job) = full(harness).await?;
    let waiting = fill(&scene, job).await?;
    drop(waiting);
    scene.broker.forget(job).await?;
    room_for_all(&scene).await
}

/// As many bundles fit as into an empty queue.
async fn room_for_all(scene: &Scene) -> Verdict {
    let other = scene.job().await?;
    for index in 0..6 {
        scene
            .soon("a publish", scene.broker.publish(heavy(other, index)))
            .await??;
    }
    Ok(())
}
