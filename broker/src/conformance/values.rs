//! Checks of keeping values that are too large for a message.

use bytes::Bytes;
use sortie_protocol::{BrokerRef, Digest};

use super::scene::{Scene, same};
use super::tenants::put;
use super::{Broken, Harness, Verdict};

/// Bytes that differ from those of another `seed`.
fn bytes(size: usize, seed: u8) -> Bytes {
    let all = (0..=u8::MAX).cycle();
    all.map(|byte| byte ^ seed).take(size).collect()
}

async fn is(scene: &Scene, kept: BrokerRef, expected: Option<&Bytes>) -> Verdict {
    let tenant = scene.broker.tenant();
    let found = scene.broker.value(tenant, kept).await?;
    same(
        "whether a value is kept as it was put",
        &(found.is_some(), found.as_ref() == expected),
        &(expected.is_some(), true),
    )
}

/// A value is fetched as it was put, whatever its size, by all who know its name.
pub async fn a_kept_value_comes_back_as_it_was_put(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    // Larger than one message of any broker that we know.
    for (size, task) in [(1_usize, None), (1 << 20, Some(7)), (3 << 20, Some(8))] {
        let value = bytes(size, 0);
        let kept = scene.broker.put_value(job, task, value.clone()).await?;
        let expected = BrokerRef {
            job: job.job,
            digest: Digest::of(&value),
            size: size as u64,
            task,
        };
        same("what a kept value is called", &kept, &expected)?;
        // By two attempts of a task.
        let again = scene.broker.put_value(job, task, value.clone()).await?;
        same("the same value, put again", &again, &kept)?;
        is(&scene, kept, Some(&value)).await?;
    }
    let missing = BrokerRef {
        job: job.job,
        digest: Digest::of(b"missing"),
        size: 7,
        task: None,
    };
    is(&scene, missing, None).await
}

/// A task's values are dropped with it, all values of a job with the job, and nothing else.
pub async fn kept_values_are_dropped_with_their_task_and_their_job(
    harness: &dyn Harness,
) -> Verdict {
    let [broker, other] = harness.tenants().await;
    let scene = Scene::of(harness, broker.clone());
    let (job, stays) = (put(&broker).await?, put(&broker).await?);
    let value = bytes(600 << 10, 0);
    let keep = async |job, task, value: &Bytes| {
        let kept = broker.put_value(job, task, value.clone()).await;
        kept.map_err(Broken::from)
    };
    // Two attempts of a task gave different results, and another task the result of one of them.
    let attempts = [
        keep(job, Some(1), &value).await?,
        keep(job, Some(1), &bytes(600 << 10, 1)).await?,
    ];
    let equal = keep(job, Some(11), &value).await?;
    let argument = keep(job, None, &value).await?;
    let beside = keep(stays, Some(1), &value).await?;
    broker.drop_values(job, vec![1, 5]).await?;
    for kept in attempts {
        is(&scene, kept, None).await?;
    }
    for kept in [equal, argument, beside] {
        is(&scene, kept, Some(&value)).await?;
    }
    broker.forget(job).await?;
    for kept in [equal, argument] {
        is(&scene, kept, None).await?;
    }
    is(&scene, beside, Some(&value)).await?;
    same(
        "another tenant's value",
        &other.value(other.tenant(), beside).await?,
        &None,
    )
}
