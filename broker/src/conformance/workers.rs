//! Checks of labels and of the list of workers.

use std::num::NonZeroUsize;

use sortie_protocol::{Labels, Presence};
use tokio::time::timeout;

use super::scene::{CREATED, Scene, completed, ensure, labels, puller, puller_with, same, worker};
use super::{Harness, Verdict};

/// A bundle whose job asks for labels is granted only to a worker that has all of them, also if
/// another waited first. A bundle without labels is granted to any worker.
pub async fn a_job_that_asks_for_labels_goes_only_to_a_worker_that_has_them(
    harness: &dyn Harness,
) -> Verdict {
    let scene = Scene::new(harness).await;
    let gpu = labels("gpu")?;
    let (asking, any) = (scene.job_asking(&gpu).await?, scene.job().await?);
    let (plain, able) = (puller(1), puller_with(2, &labels("gpu,region=eu")?));

    // Both wait already; the one that may not take it came first.
    let mut unserved = scene.broker.pull(&plain, NonZeroUsize::MIN);
    let mut served = scene.broker.pull(&able, NonZeroUsize::MIN);
    ensure(
        timeout(scene.lease / 8, &mut unserved).await.is_err(),
        || "a pull from an empty broker did not wait".into(),
    )?;
    ensure(timeout(scene.lease / 8, &mut served).await.is_err(), || {
        "a pull from an empty broker did not wait".into()
    })?;
    scene.publish(asking, [0]).await?;
    let leases = scene
        .soon("a grant to the waiting worker with the labels", served)
        .await??;
    same(
        "the jobs it got",
        &leases.iter().map(|lease| lease.job.key).collect::<Vec<_>>(),
        &vec![asking],
    )?;
    for lease in &leases {
        scene.report(lease, vec![completed(0)]).await?;
    }
    ensure(
        timeout(scene.lease / 4, &mut unserved).await.is_err(),
        || "a worker without labels got a job that asks for one".into(),
    )?;
    scene.publish(any, [0]).await?;
    let leases = scene
        .soon("a grant to the waiting worker without labels", unserved)
        .await??;
    same(
        "the jobs it got",
        &leases.iter().map(|lease| lease.job.key).collect::<Vec<_>>(),
        &vec![any],
    )?;
    for lease in &leases {
        scene.report(lease, vec![completed(0)]).await?;
    }

    // It is there before any worker pulls.
    scene.publish(asking, [1]).await?;
    scene.nothing_to_pull_as(&plain, scene.lease / 4).await?;
    scene
        .nothing_to_pull_as(&puller_with(3, &labels("region=eu")?), scene.lease / 4)
        .await?;
    let lease = scene.pull_as(&able).await?;
    same(
        "the job of the worker with the labels",
        &(lease.job.key, lease.attempt),
        &(asking, 1),
    )?;
    scene.report(&lease, vec![completed(1)]).await?;
    scene.publish(any, [1]).await?;
    let lease = scene.pull_as(&able).await?;
    same(
        "the job of the worker with the labels",
        &lease.job.key,
        &any,
    )?;
    scene.report(&lease, vec![completed(1)]).await
}

/// A worker that announced itself is listed with what it said last, in the order of names.
pub async fn an_announced_worker_is_listed(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let presence = |number, labels: &Labels, busy| Presence {
        worker: worker(number),
        machine: format!("machine-{number}"),
        process: 4711,
        version: "1.2.3".into(),
        labels: labels.clone(),
        slots: 4,
        busy,
        draining: false,
        started: CREATED,
        said: CREATED,
        store: None,
    };
    let gpu = labels("gpu")?;
    let listed = async |what: &str, should: Vec<Presence>| {
        scene.until(what, &should, || scene.broker.workers()).await
    };
    listed("the workers of a new broker", Vec::new()).await?;
    let (one, two) = (presence(1, &Labels::default(), 0), presence(2, &gpu, 1));
    scene.broker.announce(two.clone()).await?;
    scene.broker.announce(one.clone()).await?;
    listed("the workers", vec![one.clone(), two.clone()]).await?;
    let draining = Presence {
        draining: true,
        ..presence(2, &gpu, 3)
    };
    scene.broker.announce(draining.clone()).await?;
    listed(
        "the workers when one announced itself again",
        vec![one, draining],
    )
    .await
}
