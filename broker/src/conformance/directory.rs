//! Checks of the names that tasks are published with.

use sortie_protocol::{JobId, Published, TaskIndex};

use super::scene::{Scene, same};
use super::{Broken, Harness, Verdict};

fn published(name: &str, index: TaskIndex) -> Result<Published, Broken> {
    let name = name.parse().map_err(|_| Broken::new("a name is refused"))?;
    let job = JobId::from_bytes([7; 16]);
    Ok(Published { name, job, index })
}

/// A name finds the task that was published with it last, of the same tenant.
pub async fn a_published_task_is_found_by_its_name(harness: &dyn Harness) -> Verdict {
    let [one, other] = harness.tenants().await;
    let scene = Scene::of(harness, one.clone());
    let (first, second) = (published("b c/d", 1)?, published("a", 2)?);
    one.publish_name(first.clone()).await?;
    one.publish_name(second.clone()).await?;
    same(
        "a name",
        &one.published(&first.name).await?,
        &Some(first.clone()),
    )?;
    let again = Published {
        index: 3,
        ..first.clone()
    };
    one.publish_name(again.clone()).await?;
    same(
        "a name that was given again",
        &one.published(&first.name).await?,
        &Some(again.clone()),
    )?;
    let all = async || Ok(one.all_published().await?);
    scene
        .until("all names", &vec![second.clone(), again], all)
        .await?;
    same(
        "another tenant's name",
        &other.published(&first.name).await?,
        &None,
    )?;
    one.unpublish(&first.name).await?;
    one.unpublish(&first.name).await?;
    same(
        "a name that was taken away",
        &one.published(&first.name).await?,
        &None,
    )?;
    let all = async || Ok(one.all_published().await?);
    scene
        .until("the names that are left", &vec![second], all)
        .await
}
