//! Caches the components of a worker: each is fetched and loaded once, however many slots need it.
//!
//! A slot that needs a component which is being loaded waits for that; others go on. When the slot
//! that loads it loses its lease, the next slot that waits loads it.
//!
//! Bounds: [`COMPONENTS_MAX`], the most recently needed. One that is dropped while tasks run stays
//! until they end.

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::{Broker, Error};
use sortie_objects::failure_episode::FailureEpisode;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Digest, Failure};
use tokio::sync::OnceCell;
use tracing::Instrument as _;

use super::lifecycle::BROKER_PAUSE;
use crate::artifacts::Artifacts;
use crate::clock;
use crate::component::{Component, LoadError};
use crate::engine::Engine;
use crate::metrics::Metrics;

/// Components that are held; each takes a few megabytes of code.
pub const COMPONENTS_MAX: usize = 32;

/// What components are loaded with.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) engine: Arc<Engine>,
    pub(super) artifacts: Option<Artifacts>,
    pub(super) metrics: Arc<Metrics>,
}

/// The components that are held, the most recently needed last.
#[derive(Debug)]
pub(super) struct Components {
    source: Source,
    fetching: FailureEpisode,
    held: Mutex<Vec<Arc<Entry>>>,
}

/// Where one component is, or is going to be.
#[derive(Debug)]
struct Entry {
    digest: Digest,
    component: OnceCell<Component>,
}

/// Why a component cannot be used.
enum Trouble {
    Broker(Error),
    NotThere,
    Refused(LoadError),
}

impl Components {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            fetching: FailureEpisode::new("fetching a component"),
            held: Mutex::default(),
        }
    }

    pub(super) fn add(&self, component: Component) {
        // One that is there is the same: the digest says so.
        let _ = self.entry(component.digest()).component.set(component);
    }

    fn entry(&self, digest: Digest) -> Arc<Entry> {
        let mut held = self.held.lock();
        let entry = match held.iter().position(|entry| entry.digest == digest) {
            Some(position) => held.remove(position),
            None => Arc::new(Entry {
                digest,
                component: OnceCell::new(),
            }),
        };
        if held.len() >= COMPONENTS_MAX {
            held.remove(0);
        }
        held.push(entry.clone());
        entry
    }
}

impl Components {
    /// A component by digest, fetched if need be: again and again while the broker is away. Cancel
    /// safe; a slot that loses its lease drops this.
    pub(super) async fn get(&self, digest: Digest) -> Result<Component, Failure> {
        let entry = self.entry(digest);
        loop {
            match entry.component.get_or_try_init(|| self.load(digest)).await {
                Ok(component) => {
                    self.fetching.works();
                    return Ok(component.clone());
                }
                Err(Trouble::Broker(error)) if error.is_transient() => {
                    self.fetching.fails(&error);
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
                Err(trouble) => return Err(failure(digest, &trouble)),
            }
        }
    }

    async fn load(&self, digest: Digest) -> Result<Component, Trouble> {
        let source = &self.source;
        let bytes = source
            .broker
            .component(digest)
            .await
            .map_err(Trouble::Broker)?
            .ok_or(Trouble::NotThere)?;
        let began = clock::instant();
        let loaded = Component::load(&source.engine, &bytes, source.artifacts.as_ref())
            .instrument(tracing::info_span!("compile", component = %digest))
            .await;
        source.metrics.loaded(clock::instant() - began);
        loaded.map_err(Trouble::Refused)
    }
}

/// What a task's submitter is told.
fn failure(digest: Digest, trouble: &Trouble) -> Failure {
    let (fault, message) = match trouble {
        Trouble::NotThere => (
            PlatformFault::Component,
            format!("component {digest} is not known to the broker"),
        ),
        Trouble::Refused(error) => (
            PlatformFault::Component,
            format!("component {digest} {error}"),
        ),
        Trouble::Broker(error) => (fault(error), error.to_string()),
    };
    Failure::Platform { fault, message }
}

fn fault(error: &Error) -> PlatformFault {
    match error {
        // What the broker holds under this digest is damaged.
        Error::Unsuitable { .. } => PlatformFault::Component,
        Error::Unreachable { .. }
        | Error::Full { .. }
        | Error::Denied { .. }
        | Error::NoSuchJob(_)
        | Error::JobCancelled(_)
        | Error::TooLarge { .. }
        | Error::Empty => PlatformFault::Host,
    }
}
