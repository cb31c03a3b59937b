//! Configures clients: object access, the store for large values, and, with the feature `embedded`,
//! concurrency and the cache folder.

#[cfg(feature = "embedded")]
use std::num::NonZeroUsize;
#[cfg(feature = "embedded")]
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::Broker;
use sortie_broker::nats::{self, NatsBroker};
use sortie_objects::{self as objects, Location, Objects, OutputStore};
#[cfg(feature = "embedded")]
use sortie_protocol::ByteSize;
use tokio::runtime::Handle;

use crate::api::client::Client;
use crate::api::shared::{Shared, new_holder};
use crate::drive::open_job::OpenJobs;
use crate::drive::tracker::TaskTracker;
use crate::drive::values::Values;
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
    /// The broker cannot be reached, refuses the connection, or cannot be used.
    #[error(transparent)]
    Broker(#[from] sortie_broker::Error),
}

/// Configures and starts a client.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    #[cfg(feature = "embedded")]
    pub(crate) concurrency: Option<NonZeroUsize>,
    #[cfg(feature = "embedded")]
    pub(crate) memory: Option<ByteSize>,
    #[cfg(feature = "embedded")]
    pub(crate) cache: Option<PathBuf>,
    pub(crate) store: Option<Location>,
    pub(crate) objects: objects::Config,
    pub(crate) observer: Option<Arc<dyn Observer<Event>>>,
}

impl Builder {
    /// How many tasks run concurrently. Default twice the number of cores: while some wait for
    /// their inputs, others compute, on at most one thread per core. Ignored by a client of a
    /// fleet.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn concurrency(mut self, tasks: NonZeroUsize) -> Self {
        self.concurrency = Some(tasks);
        self
    }

    /// The memory that tasks, their inputs and their results may take together; a task that needs
    /// more is refused. Default three quarters of what the machine or the control group has.
    /// Ignored by a client of a fleet.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn memory(mut self, bytes: ByteSize) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Cache compiled components and results of deterministic tasks in this folder. Default: no
    /// cache. A client of a fleet caches compiled components only.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Store large outputs here, and share results of deterministic tasks with all clients and
    /// workers that use the same location. Users with write access can forge results. Default:
    /// large outputs go to a folder below the cache folder, and nothing is shared. A client of a
    /// fleet stores large arguments here, and the fleet's workers fetch them: without it, the
    /// broker's message size limits arguments.
    #[must_use]
    pub fn store(mut self, place: Location) -> Self {
        self.store = Some(place);
        self
    }

    /// Configure access to objects. Default: files, web servers, and public buckets at Amazon and
    /// Google.
    #[must_use]
    pub fn objects(mut self, config: objects::Config) -> Self {
        self.objects = config;
        self
    }

    /// Pass the events of the client's jobs to this observer.
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
    /// When the broker cannot be reached, refuses the connection, or cannot be used.
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
            .map(|place| OutputStore::new(objects.clone(), place).of(broker.tenant()));
        Ok(Client {
            shared: Arc::new(Shared {
                runtime: io,
                window: Window::fleet(),
                tracker: TaskTracker::default(),
                observed: Observed::by(self.observer),
                values: Values::new(objects, store, broker.clone()),
                broker,
                open: OpenJobs::default(),
                holder: new_holder(),
                published: Mutex::default(),
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
    /// Configure a client.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}
