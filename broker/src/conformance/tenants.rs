//! Checks that tenants are kept apart: what they see, what they wait for, and what they may fill.

use std::sync::Arc;

use sortie_protocol::JobKey;

use super::room::{BUNDLE_BYTES, fill, heavy};
use super::scene::{CREATED, Scene, bundle, failed, indices, job, same};
use super::{Broken, Harness, Verdict};
use crate::traits::Broker;

/// Put a job of a broker's own tenant.
pub(super) async fn put(broker: &Arc<dyn Broker>) -> Result<JobKey, Broken> {
    let mut job = job();
    job.key.tenant = broker.tenant();
    let key = job.key;
    broker.put_job(job, CREATED).await?;
    Ok(key)
}

/// A tenant lists its own jobs and dead letters, and cancelling its own job leaves one of the same
/// name alone.
pub async fn tenants_see_nothing_of_each_other(harness: &dyn Harness) -> Verdict {
    let [one, other] = harness.tenants().await;
    let scene = Scene::of(harness, one.clone());
    let mine = put(&one).await?;
    let theirs = JobKey {
        tenant: other.tenant(),
        ..mine
    };
    let mut twin = job();
    twin.key = theirs;
    other.put_job(twin, CREATED).await?;
    one.publish(bundle(mine, [0])).await?;
    other.publish(bundle(theirs, [0])).await?;
    // Either's worker serves both.
    for _ in 0..2 {
        let lease = scene.pull().await?;
        scene.report(&lease, vec![failed(0)]).await?;
    }
    for (broker, key) in [(&one, mine), (&other, theirs)] {
        let jobs = async || {
            let jobs = broker.jobs(100).await?;
            Ok(jobs.iter().map(|record| record.job.key).collect())
        };
        scene
            .until("the jobs of a tenant", &vec![key], jobs)
            .await?;
        let letters = async || {
            let letters = broker.dead_letters(None, 100).await?;
            Ok(letters.iter().map(|(_, letter)| letter.job()).collect())
        };
        scene
            .until("the letters of a tenant", &vec![Some(key)], letters)
            .await?;
    }
    one.cancel(mine).await?;
    other.publish(bundle(theirs, [1])).await?;
    let lease = scene.pull().await?;
    same("the job that goes on", &lease.job.key, &theirs)
}

/// While one tenant has many bundles, another's is granted in its turn and not behind them.
pub async fn much_work_of_one_tenant_does_not_hold_up_another(harness: &dyn Harness) -> Verdict {
    const MUCH: u64 = 20;
    let [one, other] = harness.tenants().await;
    let scene = Scene::of(harness, one.clone());
    let (busy, small) = (put(&one).await?, put(&other).await?);
    for index in 0..MUCH {
        one.publish(bundle(busy, [index])).await?;
    }
    other.publish(bundle(small, [0])).await?;
    let mut granted = Vec::new();
    // Two in a row may have been on their way when the other's bell rang.
    for _ in 0..4 {
        granted.push(scene.work().await?.job.key);
    }
    super::scene::ensure(granted.contains(&small), || {
        format!("of two tenants one got all of {granted:?}")
    })
}

/// One tenant's queue is full, and another publishes as if it were not there.
pub async fn a_full_queue_of_one_tenant_leaves_room_for_another(harness: &dyn Harness) -> Verdict {
    let [one, other] = harness.tenants_with(8 * BUNDLE_BYTES).await;
    let scene = Scene::of(harness, one.clone());
    let (full, free) = (put(&one).await?, put(&other).await?);
    let waiting = fill(&scene, full).await?;
    scene
        .soon("a publish of another tenant", other.publish(heavy(free, 0)))
        .await??;
    let lease = loop {
        let lease = scene.pull().await?;
        if lease.job.key == free {
            break lease;
        }
        scene.broker.release(lease.id).await?;
    };
    same("the tasks of the other tenant", &indices(&lease), &vec![0])?;
    drop(waiting);
    Ok(())
}

/// An operator empties the queue of one tenant: its bundles are gone, its jobs are not, and no
/// other tenant's bundles are.
pub async fn an_emptied_queue_has_no_bundles_and_its_jobs_are_there(
    harness: &dyn Harness,
) -> Verdict {
    let [one, other] = harness.tenants().await;
    let scene = Scene::of(harness, one.clone());
    let (mine, theirs) = (put(&one).await?, put(&other).await?);
    for index in 0..3 {
        one.publish(bundle(mine, [index])).await?;
    }
    other.publish(bundle(theirs, [0])).await?;
    let listed = async || {
        let queues = one.queues().await?;
        let bundles = queues
            .iter()
            .map(|waiting| (waiting.tenant, waiting.bundles));
        Ok(bundles.collect::<Vec<_>>())
    };
    let (first, second) = (one.tenant(), other.tenant());
    scene
        .until("the queues", &vec![(first, 3), (second, 1)], listed)
        .await?;
    same("what was removed", &one.empty(one.tenant()).await?, &3)?;
    scene
        .until("the queues", &vec![(first, 0), (second, 1)], listed)
        .await?;
    scene.unfinished("of an emptied queue", mine, 0).await?;
    scene.record(mine).await?;
    let lease = scene.work().await?;
    same("the bundle that is left", &lease.job.key, &theirs)?;
    scene.nothing_to_pull(scene.lease / 4).await
}
