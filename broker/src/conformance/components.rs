//! Checks of storing and fetching components.

use bytes::Bytes;
use sortie_protocol::Digest;

use super::scene::{Scene, same};
use super::{Harness, Verdict};

/// A component's bytes are fetched as they were put, whatever their size.
pub async fn a_component_comes_back_as_it_was_put(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    // Larger than one message of any broker that we know.
    for size in [0_usize, 1, 3 << 20] {
        let bytes: Bytes = (0..=u8::MAX).cycle().take(size).collect();
        let digest = Digest::of(&bytes);
        scene.broker.put_component(digest, bytes.clone()).await?;
        let found = scene.broker.component(digest).await?;
        same(
            "whether the component came back as it was put",
            &(found.as_ref() == Some(&bytes)),
            &true,
        )?;
    }
    Ok(())
}

/// A digest under which nothing was put has no component.
pub async fn a_component_that_was_never_put_is_not_there(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    scene
        .broker
        .put_component(Digest::of(b"one"), Bytes::from_static(b"one"))
        .await?;
    same(
        "the component",
        &scene.broker.component(Digest::of(b"other")).await?,
        &None,
    )
}

/// Putting a component that is there is no error.
pub async fn putting_a_component_again_changes_nothing(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (digest, bytes) = (Digest::of(b"component"), Bytes::from_static(b"component"));
    scene.broker.put_component(digest, bytes.clone()).await?;
    scene.broker.put_component(digest, bytes.clone()).await?;
    same(
        "the component",
        &scene.broker.component(digest).await?,
        &Some(bytes),
    )
}
