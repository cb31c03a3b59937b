//! Sets up a client: what it reaches objects with, where it keeps large values, and, with the
//! feature `embedded`, how many tasks run at once and what is kept on disk.

#[cfg(feature = "embedded")]
use std::num::NonZeroUsize;
#[cfg(feature = "embedded")]
use std::path::PathBuf;
use std::sync::Arc;

use sortie_broker::Broker;
use sortie_broker::nats::{self, NatsBroker};
use sortie_objects::{self as objects, Location, Objects, OutputStore};
use tokio::runtime::Handle;

use crate::api::client::Client;
use crate::api::shared::Shared;
use crate::api::values::Values;
use crate::drive::tracker::TaskTracker;
use crate::drive::window::Window;
#[cfg(feature = "embedded")]
use crate::embedded::loader::{ComponentLoader, Embedded};
use crate::observer::{Event, Observed, Observer};

/// A client could not be connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no tokio runtime to run on.
    #[error("a client needs a tokio runtime: call it from async code")]
    NoRuntime,
    /// The broker cannot be reached, refuses, or cannot be used.
    #[error(transparent)]
    Broker(#[from] sortie_broker::Error),
}

/// Sets up a client.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    #[cfg(feature = "embedded")]
    pub(crate) concurrency: Option<NonZeroUsize>,
    #[cfg(feature = "embedded")]
    pub(crate) cache: Option<PathBuf>,
    pub(crate) store: Option<Location>,
    pub(crate) objects: objects::Config,
    pub(crate) observer: Option<Arc<dyn Observer<Event>>>,
}

impl Builder {
    /// How many tasks are in work at once. Default twice the cores: while some wait for their
    /// inputs, others compute. At most one thread for each core computes. Means nothing for a
    /// client of a fleet.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn concurrency(mut self, tasks: NonZeroUsize) -> Self {
        self.concurrency = Some(tasks);
        self
    }

    /// Keep compiled components and results of deterministic tasks in this folder. Default: nothing
    /// is kept. A client of a fleet keeps compiled components only.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Keep large outputs here, and share results of deterministic tasks with all who use the same
    /// place. Anyone who may write there can forge results. Default: large outputs go to a folder
    /// below the cache folder, and nothing is shared. A client of a fleet keeps large arguments
    /// here, where the fleet's workers fetch them: without it arguments are as large as the broker
    /// takes.
    #[must_use]
    pub fn store(mut self, place: Location) -> Self {
        self.store = Some(place);
        self
    }

    /// How objects are reached. Default: files, web servers, and public buckets at Amazon and
    /// Google.
    #[must_use]
    pub fn objects(mut self, config: objects::Config) -> Self {
        self.objects = config;
        self
    }

    /// Tell this observer what the client's jobs do.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer<Event>>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Connect to the broker of a fleet, on the tokio runtime of the caller. Tasks run on the
    /// fleet's workers. With the feature `embedded` components are compiled and described in this
    /// process, when the first is loaded.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or cannot be used.
    pub async fn connect(self, config: nats::Config) -> Result<Client, ConnectError> {
        let io = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let config = nats::Config {
            role: nats::Role::Client,
            ..config
        };
        let broker: Arc<dyn Broker> = Arc::new(NatsBroker::connect(config).await?);
        let objects = Objects::new(self.objects, io.clone());
        let store = self
            .store
            .map(|place| OutputStore::new(objects.clone(), place));
        Ok(Client {
            shared: Arc::new(Shared {
                broker,
                runtime: io,
                window: Window::fleet(),
                tracker: TaskTracker::default(),
                observed: Observed::by(self.observer),
                values: Values::new(objects, store),
                #[cfg(feature = "embedded")]
                embedded: Some(Embedded {
                    loader: ComponentLoader::empty(self.cache),
                    worker: None,
                }),
            }),
        })
    }
}

impl Client {
    /// Set up a client.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}
