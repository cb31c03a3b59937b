//! Checks of publishing and pulling bundles.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use sortie_protocol::{Argument, Priority};
use tokio::time::timeout;

use super::scene::{CREATED, Scene, bundle, completed, ensure, indices, puller, same, task};
use super::{Broken, Harness, Verdict};
use crate::traits::Error;

/// A lease has the bundle as it was published, its job as it was put, and is the first attempt.
/// When it was published is the broker's to say: it may know better than a submitter with a wrong
/// clock.
pub async fn what_is_published_is_pulled(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = super::scene::job();
    scene.broker.put_job(job.clone(), CREATED).await?;
    scene.publish(job.key, 0..3).await?;
    let lease = scene.pull().await?;
    same("the job", &*lease.job, &job)?;
    let mut published = bundle(job.key, 0..3);
    published.published = lease.bundle.published;
    same("the bundle", &*lease.bundle, &published)?;
    same("the attempt", &lease.attempt, &1)
}

/// A pull that finds nothing waits, and is answered by the next publish.
pub async fn pull_waits_for_a_publish(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let puller = puller(1);
    let mut pull = scene.broker.pull(&puller, NonZeroUsize::MIN);
    ensure(timeout(scene.lease / 4, &mut pull).await.is_err(), || {
        "a pull from an empty broker did not wait".into()
    })?;
    scene.publish(job, 0..1).await?;
    let leases = scene.soon("a waiting pull", pull).await??;
    same("the leases of the pull that waited", &leases.len(), &1)
}

/// A bundle published after a pull was dropped is granted to the next pull, as the first attempt.
pub async fn a_dropped_pull_takes_no_lease_with_it(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    for index in 0..4 {
        scene.nothing_to_pull(scene.lease / 8).await?;
        scene.publish(job, [index]).await?;
        let lease = scene.pull().await?;
        same("the attempt after a dropped pull", &lease.attempt, &1)?;
        // Ended here, so that its expiry is not mistaken for a bundle of a later round.
        scene.report(&lease, vec![completed(index)]).await?;
    }
    Ok(())
}

/// A pull that is dropped between the publish and its own answer leaves the bundle to another pull,
/// which waits already.
pub async fn a_dropped_pull_leaves_the_bundle_to_the_next(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let (one, other) = (puller(1), puller(2));
    for index in 0..4 {
        let mut dropped = scene.broker.pull(&one, NonZeroUsize::MIN);
        let mut waiting = scene.broker.pull(&other, NonZeroUsize::MIN);
        ensure(
            timeout(scene.lease / 8, &mut dropped).await.is_err(),
            || "a pull from an empty broker did not wait".into(),
        )?;
        ensure(
            timeout(scene.lease / 8, &mut waiting).await.is_err(),
            || "a pull from an empty broker did not wait".into(),
        )?;
        scene.publish(job, [index]).await?;
        drop(dropped);
        // One that the dropped pull kept would come as the next attempt, when its lease is lost.
        let leases = scene.soon("the other pull", waiting).await??;
        same(
            "the attempts, of a bundle that the dropped pull did not keep",
            &leases.iter().map(|lease| lease.attempt).collect::<Vec<_>>(),
            &vec![1],
        )?;
        for lease in &leases {
            scene.report(lease, vec![completed(index)]).await?;
        }
    }
    Ok(())
}

/// No pull gives more leases than it has credits, and with enough pulls every bundle comes.
pub async fn credits_bound_the_leases_of_one_pull(harness: &dyn Harness) -> Verdict {
    const CREDITS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    for index in 0..5 {
        scene.publish(job, [index]).await?;
    }
    let mut granted = BTreeSet::new();
    while granted.len() < 5 {
        let leases = scene
            .soon("a pull", scene.broker.pull(&puller(1), CREDITS))
            .await??;
        ensure((1..=CREDITS.get()).contains(&leases.len()), || {
            format!("a pull with {CREDITS} credits gave {} leases", leases.len())
        })?;
        for lease in &leases {
            same("the attempt", &lease.attempt, &1)?;
            granted.extend(indices(lease));
        }
    }
    scene.nothing_to_pull(scene.lease / 8).await
}

/// Of many pulls that wait, each gets a bundle when as many are published.
pub async fn every_bundle_goes_to_one_of_many_pulls(harness: &dyn Harness) -> Verdict {
    const WORKERS: u8 = 8;
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let pullers: Vec<_> = (0..WORKERS).map(puller).collect();
    let pulls = join_all(
        pullers
            .iter()
            .map(|puller| scene.broker.pull(puller, NonZeroUsize::MIN)),
    );
    let publishing = async {
        for index in 0..u64::from(WORKERS) {
            scene.publish(job, [index]).await?;
        }
        Ok::<_, Broken>(())
    };
    let (pulled, published) = scene
        .soon(
            "a bundle for each pull",
            futures::future::join(pulls, publishing),
        )
        .await?;
    published?;
    let mut granted = Vec::new();
    for leases in pulled {
        granted.extend(leases?.iter().flat_map(indices));
    }
    granted.sort_unstable();
    same(
        "the tasks granted",
        &granted,
        &(0..u64::from(WORKERS)).collect(),
    )
}

/// While bundles wait, those of jobs with a higher priority are granted first, whatever was
/// published first.
pub async fn a_higher_priority_goes_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let mut expected = Vec::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let job = scene.job_with(priority).await?;
        scene.publish(job, [0]).await?;
        expected.insert(0, job);
    }
    let mut granted = Vec::new();
    for _ in 0..3 {
        granted.push(scene.pull().await?.job.key);
    }
    same("the jobs by priority", &granted, &expected)
}

/// A bundle without tasks is refused.
pub async fn an_empty_bundle_is_refused(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    match scene
        .soon("a refusal", scene.broker.publish(bundle(job, [])))
        .await?
    {
        Err(Error::Empty) => scene.nothing_to_pull(scene.lease / 8).await,
        other => Err(Broken::new(format!(
            "publishing an empty bundle gave {other:?}"
        ))),
    }
}

/// A bundle above the limit is refused at once, not kept waiting for room that can never be; one
/// below it is taken.
pub async fn a_bundle_that_is_too_heavy_is_refused(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut heavy = bundle(job, []);
    let mut argument = task(0);
    argument.arguments = vec![Argument::Value(Bytes::from(vec![
        0_u8;
        harness.weight_max()
    ]))];
    heavy.tasks.push(argument);
    let weight_heavy = heavy.weight();
    match scene.soon("a refusal", scene.broker.publish(heavy)).await? {
        Err(Error::TooLarge { weight, limit }) => {
            same("the weight in the error", &weight, &weight_heavy)?;
            ensure(limit < weight, || {
                format!("the limit in the error is {limit}, not below {weight}")
            })?;
        }
        other => {
            return Err(Broken::new(format!(
                "publishing {weight_heavy} bytes gave {other:?}"
            )));
        }
    }
    scene.nothing_to_pull(Duration::ZERO).await?;
    scene.publish(job, [0]).await?;
    scene.pull().await.map(drop)
}
