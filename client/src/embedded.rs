//! Setting up a client: with everything in one process (a broker in memory, a host, and the client
//! in front of them), or over a fleet's broker with only what it takes to look into components and
//! to list inputs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use sortie_broker::memory::MemoryBroker;
use sortie_broker::nats::{self, NatsBroker};
use sortie_broker::{Broker, Serves};
use sortie_host::objects::{self, Location, Objects};
use sortie_host::setup::{self, Identity, Prepared, StoreAt};
use sortie_host::{Setup, Store, artifacts, engine};
use sortie_protocol::WorkerId;
use tokio::runtime::Handle;

use crate::client::{Client, Shared};
use crate::connect::ConnectError;
use crate::courtesies::Courtesies;
use crate::local::{Local, Workshop};
use crate::values::Values;
use crate::window::Window;

/// An embedded client could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no tokio runtime to run on.
    #[error("an embedded client needs a tokio runtime: call it from async code")]
    NoRuntime,
    /// The WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The cache folder.
    #[error(transparent)]
    Cache(#[from] artifacts::Error),
    /// The computing threads.
    #[error("failed to start the worker")]
    Worker(#[source] std::io::Error),
}

impl From<setup::Error> for StartError {
    fn from(error: setup::Error) -> Self {
        match error {
            setup::Error::Engine(error) => Self::Engine(error),
            setup::Error::Cache(error) => Self::Cache(error),
        }
    }
}

/// Sets up a client.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    concurrency: Option<NonZeroUsize>,
    cache: Option<PathBuf>,
    store: Option<Location>,
    objects: objects::Config,
}

impl Builder {
    /// How many tasks are in work at once. Default twice the cores: while some wait for their
    /// inputs, others compute. No more than the cores' number of threads compute. Means nothing
    /// for a client of a fleet.
    #[must_use]
    pub fn concurrency(mut self, tasks: NonZeroUsize) -> Self {
        self.concurrency = Some(tasks);
        self
    }

    /// Keep compiled components and results of deterministic tasks in this folder. Default: nothing
    /// is kept. A client of a fleet keeps compiled components only.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Keep large outputs here, and share results of deterministic tasks through it with all who
    /// use the same place. Whoever may write there can forge results. Default: large outputs go
    /// to a folder below the cache folder, and nothing is shared. A client of a fleet keeps large
    /// arguments here, where the fleet's workers fetch them: without it arguments are as large
    /// as the broker takes.
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

    /// Start the host and its client, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies address space or threads.
    pub fn start(self) -> Result<Client, StartError> {
        let io = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let store = self.store.map_or(StoreAt::Cache, StoreAt::Shared);
        let setup = Setup {
            concurrency: self.concurrency,
            cache: self.cache,
            store,
            objects: self.objects,
        };
        let prepared = setup.prepare(io.clone())?;
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::default());
        let identity = Identity {
            id: WorkerId::from_bytes([0; 16]),
            serves: Serves::Everything,
            introduction: None,
        };
        let worker = prepared
            .start(identity, broker.clone(), None)
            .map_err(StartError::Worker)?;
        let Prepared {
            host,
            artifacts,
            slots,
            ..
        } = prepared;
        let values = Values::new(host.objects.clone(), host.store);
        let local = Some(Local {
            objects: host.objects,
            workshop: Workshop::equipped(host.engine, artifacts),
            worker: Some(worker),
        });
        let (window, courtesies) = (Window::Own(slots), Courtesies::default());
        Ok(Client {
            shared: Arc::new(Shared {
                broker,
                runtime: io,
                window,
                courtesies,
                values,
                local,
            }),
        })
    }

    /// Connect to the broker of a fleet, on the tokio runtime of the caller. Tasks run on the
    /// fleet's workers; components are looked into here, when the first is loaded.
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or cannot be used.
    pub async fn connect(self, config: nats::Config) -> Result<Client, ConnectError> {
        let io = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        let broker: Arc<dyn Broker> = Arc::new(
            NatsBroker::connect(nats::Config {
                role: nats::Role::Client,
                ..config
            })
            .await?,
        );
        let objects = Objects::new(self.objects, io.clone());
        let values = Values::new(
            objects.clone(),
            self.store.map(|place| Store::new(objects.clone(), place)),
        );
        let local = Some(Local {
            objects,
            workshop: Workshop::empty(self.cache),
            worker: None,
        });
        let (window, courtesies) = (Window::fleet(), Courtesies::default());
        Ok(Client {
            shared: Arc::new(Shared {
                broker,
                runtime: io,
                window,
                courtesies,
                values,
                local,
            }),
        })
    }
}

impl Client {
    /// A client with everything in this process, and nothing kept on disk. Call it within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When the system denies address space or threads.
    pub fn embedded() -> Result<Self, StartError> {
        Builder::default().start()
    }

    /// Wait until the results that tasks had in this process are where [`Builder::store`] shares
    /// them, for as long as that may take ([`sortie_host::memo::shared::SETTLE_TIME_MAX`]). A
    /// program that is about to end calls it, so that others need not compute them again.
    /// Cancel safe.
    pub async fn shared(&self) {
        if let Some(worker) = self
            .shared
            .local
            .as_ref()
            .and_then(|local| local.worker.as_ref())
        {
            worker.settled().await;
        }
    }

    /// Set up a client.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }
}
