//! The components that a worker holds, by digest.
//!
//! A bundle that needs a component which is not held waits for its turn to load it (`loads`);
//! meanwhile others go on. When the slot that loads one loses its lease, the next that waits for
//! the same loads it.
//!
//! A component that is refused is not fetched and compiled again for [`VERDICT_TIME`].
//!
//! Bounds: [`COMPONENTS_MAX`] are held, the most recently needed; only a component that was loaded
//! takes the place of another. One that is dropped while tasks run stays until they end. Fetching
//! one takes [`FETCH_TIME_MAX`] at most.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use sortie_broker::{Broker, Error};
use sortie_objects::failure_episode::FailureEpisode;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Digest, Failure, Refusal, TenantId};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::lifecycle::BROKER_PAUSE;
use super::loads::{Loads, Waiting};
use crate::artifacts::Artifacts;
use crate::clock;
use crate::component::{Component, LoadError};
use crate::engine::Engine;
use crate::engine::apart::Compiler;
use crate::metrics::Metrics;
use crate::shortage::Shortages;

/// Components that are held; each takes a few megabytes of code.
pub const COMPONENTS_MAX: usize = 32;

/// How long fetching a component may take, the time included in which the broker is away; its
/// tasks are then tried again.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a component stays refused without a second look: its bytes are the same, but this
/// program may be restarted with another version.
const VERDICT_TIME: Duration = Duration::from_secs(600);
/// Refused components that are remembered.
const VERDICTS_MAX: usize = 1024;

/// What components are loaded with.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) engine: Arc<Engine>,
    pub(super) artifacts: Option<Artifacts>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) compiler: Compiler,
    pub(super) shortages: Arc<Shortages>,
}

/// The components that are held, the most recently needed last.
#[derive(Debug)]
pub(super) struct Components {
    source: Source,
    fetching: FailureEpisode,
    held: Mutex<Vec<Component>>,
    loads: Loads,
    /// Where those are going to be that are being loaded.
    loading: Mutex<HashMap<Digest, Weak<OnceCell<Component>>>>,
    refused: Mutex<HashMap<Digest, (Instant, Failure)>>,
}

/// Why a component cannot be used.
enum Trouble {
    Broker(Error),
    NotThere,
    /// The broker did not give it in time.
    Slow,
    Refused(LoadError),
}

impl Components {
    /// At most `tenant_max` bundles of one tenant wait for components.
    pub(super) fn new(source: Source, tenant_max: usize) -> Self {
        Self {
            source,
            fetching: FailureEpisode::new("fetching a component"),
            held: Mutex::default(),
            loads: Loads::new(tenant_max),
            loading: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn add(&self, component: Component) {
        let mut held = self.held.lock();
        // One that is there is the same: the digest says so.
        held.retain(|other| other.digest() != component.digest());
        if held.len() >= COMPONENTS_MAX {
            held.remove(0);
        }
        held.push(component);
    }

    /// A component, or why its tasks fail, if that is known without waiting.
    pub(super) fn known(&self, digest: Digest) -> Option<Result<Component, Failure>> {
        let mut held = self.held.lock();
        if let Some(position) = held.iter().position(|one| one.digest() == digest) {
            let component = held.remove(position);
            held.push(component.clone());
            return Some(Ok(component));
        }
        drop(held);
        self.verdict(digest).map(Err)
    }

    /// Let a bundle of this tenant wait for its component, unless too many of them do.
    pub(super) fn wait(&self, tenant: TenantId) -> Option<Waiting<'_>> {
        self.loads.wait(tenant)
    }

    /// A component by digest, fetched and compiled if need be. The caller has the turn. Cancel
    /// safe; a slot that loses its lease drops this.
    pub(super) async fn get(&self, digest: Digest) -> Result<Component, Failure> {
        if let Some(known) = self.known(digest) {
            return known;
        }
        let cell = self.cell(digest);
        let loaded = cell.get_or_try_init(|| self.load(digest)).await;
        match loaded {
            Ok(component) => {
                self.add(component.clone());
                Ok(component.clone())
            }
            Err(trouble) => {
                let failure = failure(digest, &trouble);
                match &trouble {
                    Trouble::Refused(error) if error.is_shortage() => {
                        self.source.shortages.note(&failure.to_string());
                    }
                    Trouble::Refused(_) => self.refuse(digest, &failure),
                    Trouble::Broker(_) | Trouble::NotThere | Trouble::Slow => {}
                }
                Err(failure)
            }
        }
    }

    /// Where a component is going to be, for all who load it.
    fn cell(&self, digest: Digest) -> Arc<OnceCell<Component>> {
        let mut loading = self.loading.lock();
        loading.retain(|_, cell| cell.strong_count() > 0);
        if let Some(cell) = loading.get(&digest).and_then(Weak::upgrade) {
            return cell;
        }
        let cell = Arc::new(OnceCell::new());
        loading.insert(digest, Arc::downgrade(&cell));
        cell
    }

    /// Whether this component is among those that are held.
    pub(super) fn holds(&self, digest: Digest) -> bool {
        self.held.lock().iter().any(|one| one.digest() == digest)
    }

    fn verdict(&self, digest: Digest) -> Option<Failure> {
        let refused = self.refused.lock();
        let (at, failure) = refused.get(&digest)?;
        (clock::instant().saturating_duration_since(*at) < VERDICT_TIME).then(|| failure.clone())
    }

    fn refuse(&self, digest: Digest, failure: &Failure) {
        let now = clock::instant();
        let mut refused = self.refused.lock();
        if refused.len() >= VERDICTS_MAX {
            refused.retain(|_, (at, _)| now.saturating_duration_since(*at) < VERDICT_TIME);
        }
        if refused.len() < VERDICTS_MAX {
            refused.insert(digest, (now, failure.clone()));
        }
    }

    async fn load(&self, digest: Digest) -> Result<Component, Trouble> {
        let source = &self.source;
        let fetching = timeout(FETCH_TIME_MAX, self.fetch(digest)).await;
        let bytes = fetching.map_err(|_| Trouble::Slow)??;
        let began = clock::instant();
        let artifacts = source.artifacts.as_ref();
        let loaded = Component::load_by(&source.compiler, &source.engine, &bytes, artifacts)
            .instrument(tracing::info_span!("compile", component = %digest))
            .await;
        source.metrics.loaded(clock::instant() - began);
        loaded.map_err(Trouble::Refused)
    }

    /// The bytes of a component: asked for again and again while the broker is away.
    async fn fetch(&self, digest: Digest) -> Result<Bytes, Trouble> {
        loop {
            match self.source.broker.component(digest).await {
                Ok(bytes) => {
                    self.fetching.works();
                    return bytes.ok_or(Trouble::NotThere);
                }
                Err(error) if error.is_transient() => {
                    self.fetching.fails(&error);
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
                Err(error) => return Err(Trouble::Broker(error)),
            }
        }
    }
}

/// What a task's submitter is told.
fn failure(digest: Digest, trouble: &Trouble) -> Failure {
    let (fault, message) = match trouble {
        Trouble::NotThere => (
            PlatformFault::Component,
            format!("component {digest} is not known to the broker"),
        ),
        Trouble::Refused(error) => {
            let message = format!("component {digest} {error}");
            if !error.is_shortage() {
                return Failure::Refused {
                    refusal: Refusal::Component,
                    message,
                };
            }
            (PlatformFault::Host, message)
        }
        Trouble::Slow => (
            PlatformFault::Host,
            format!("the broker did not give component {digest} within {FETCH_TIME_MAX:?}"),
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
        | Error::Misconfigured { .. }
        | Error::NoSuchJob(_)
        | Error::JobCancelled(_)
        | Error::TooLarge { .. }
        | Error::Empty => PlatformFault::Host,
    }
}
