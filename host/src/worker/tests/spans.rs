//! Which spans an attempt has.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, registry};

use super::scene::Scene;

/// Records each span of this crate as its parent's name and its own.
#[derive(Debug, Clone, Default)]
struct Spans(Arc<Mutex<BTreeSet<(&'static str, &'static str)>>>);

impl<S: tracing::Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !attributes.metadata().target().starts_with("sortie_host") {
            return;
        }
        let parent = context.span(id).and_then(|span| span.parent());
        let parent = parent.map_or("", |parent| parent.name());
        self.0.lock().insert((parent, attributes.metadata().name()));
    }
}

// The only test that installs a subscriber, which is for the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_a_span_and_its_steps_are_the_children() {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(registry().with(spans.clone())).unwrap();
    let scene = Scene::start(1);
    let job = scene.job("echo", 0).await;
    scene.publish(job, &["one".into()]).await;
    scene.outcomes(job, 1).await;
    let seen = spans.0.lock().clone();
    for span in [
        ("", "compile"),
        ("", "attempt"),
        ("attempt", "fetch"),
        ("attempt", "instantiate"),
        ("attempt", "run"),
        ("attempt", "keep"),
    ] {
        assert!(seen.contains(&span), "{span:?} is not among {seen:?}");
    }
}
