//! The components that a worker holds, each loaded once however many slots need it.
//!
//! A slot that needs a component which is being loaded waits for that; others go on. Loading that
//! was given up, because whoever did it lost its lease, is taken over by the next who waits.
//!
//! Bounds: [`COMPONENTS_MAX`], the most recently needed. One that is dropped while tasks run stays
//! until they end.

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::Error;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Digest, Failure};
use tokio::sync::OnceCell;

use super::{BROKER_PAUSE, Shared};
use crate::artifacts::Artifacts;
use crate::component::{Component, LoadError};
use crate::engine::Engine;

/// Components that are held; each takes a few megabytes of code.
pub const COMPONENTS_MAX: usize = 32;

/// The components that are held, the most recently needed last.
#[derive(Debug)]
pub(super) struct Components {
    engine: Arc<Engine>,
    artifacts: Option<Artifacts>,
    held: Mutex<Vec<Arc<Place>>>,
}

/// Where one component is, or is going to be.
#[derive(Debug)]
struct Place {
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
    pub(super) fn new(engine: Arc<Engine>, artifacts: Option<Artifacts>) -> Self {
        Self {
            engine,
            artifacts,
            held: Mutex::default(),
        }
    }

    pub(super) fn add(&self, component: Component) {
        // One that is there is the same: the digest says so.
        let _ = self.place(component.digest()).component.set(component);
    }

    fn place(&self, digest: Digest) -> Arc<Place> {
        let mut held = self.held.lock();
        let place = match held.iter().position(|place| place.digest == digest) {
            Some(position) => held.remove(position),
            None => Arc::new(Place {
                digest,
                component: OnceCell::new(),
            }),
        };
        if held.len() >= COMPONENTS_MAX {
            held.remove(0);
        }
        held.push(place.clone());
        place
    }
}

impl Shared {
    /// A component by digest, fetched if need be: again and again while the broker is away. Cancel
    /// safe; whoever loses the lease drops this.
    pub(super) async fn component(&self, digest: Digest) -> Result<Component, Failure> {
        let place = self.components.place(digest);
        loop {
            match place.component.get_or_try_init(|| self.load(digest)).await {
                Ok(component) => {
                    self.fetching.works();
                    return Ok(component.clone());
                }
                Err(Trouble::Broker(error)) if error.passes() => {
                    self.fetching.fails(&error);
                    tokio::time::sleep(BROKER_PAUSE).await;
                }
                Err(trouble) => return Err(failure(digest, &trouble)),
            }
        }
    }

    async fn load(&self, digest: Digest) -> Result<Component, Trouble> {
        let bytes = self
            .broker
            .component(digest)
            .await
            .map_err(Trouble::Broker)?
            .ok_or(Trouble::NotThere)?;
        let Components {
            engine, artifacts, ..
        } = &self.components;
        Component::load(engine, &bytes, artifacts.as_ref())
            .await
            .map_err(Trouble::Refused)
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
        | Error::Denied { .. }
        | Error::NoSuchJob(_)
        | Error::JobCancelled(_)
        | Error::TooLarge { .. }
        | Error::Empty => PlatformFault::Host,
    }
}
