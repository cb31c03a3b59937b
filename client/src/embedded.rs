//! Everything in one process: a broker in memory, a host, and the client in front of them.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sortie_broker::Broker;
use sortie_broker::memory::MemoryBroker;
use sortie_host::artifacts::{self, Artifacts};
use sortie_host::engine::{self, Engine, Paging, Settings};
use sortie_host::memo::Memo;
use sortie_host::objects::{self, Objects};
use sortie_host::{Host, Worker, worker};
use sortie_protocol::WorkerId;
use tokio::runtime::Handle;

use crate::client::{Client, Shared};
use crate::function::Component;
use crate::job::Window;

/// The host inside a client.
#[derive(Debug)]
pub(crate) struct Embedded {
    worker: Worker,
    host: Host,
    artifacts: Option<Artifacts>,
}

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

/// A component could not be loaded from a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("failed to read the component `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a component that can run here.
    #[error("`{path}` {source}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What it is instead, and what to do.
        source: sortie_host::LoadError,
    },
    /// The broker did not take it.
    #[error("the broker did not take the component")]
    Broker(#[from] sortie_broker::Error),
    /// This client has no host to look into the component with.
    #[error("this client has no host to load components with")]
    NoHost,
    /// The process is ending.
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

/// Sets up an embedded client.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    concurrency: Option<NonZeroUsize>,
    cache: Option<PathBuf>,
    objects: objects::Config,
}

impl Builder {
    /// How many tasks are in work at once. Default twice the cores: while some wait for their inputs, others compute. No more than the cores'
    /// number of threads compute.
    #[must_use]
    pub fn concurrency(mut self, tasks: NonZeroUsize) -> Self {
        self.concurrency = Some(tasks);
        self
    }

    /// Keep compiled components and results of deterministic tasks in this folder. Default: nothing is kept.
    #[must_use]
    pub fn cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// How objects are reached. Default: files, web servers, and Amazon S3 without signatures.
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
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let slots = self.concurrency.unwrap_or_else(|| cores.saturating_mul(NonZeroUsize::MIN.saturating_add(1)));
        // One more for describing components while all slots are in work.
        let instances = NonZeroU32::try_from(slots.saturating_add(1)).unwrap_or(NonZeroU32::MAX);
        let engine = Arc::new(Engine::new(Settings { instances, paging: Paging::detect() })?);
        let artifacts = self.cache.as_ref().map(Artifacts::open).transpose()?;
        let memo = self.cache.as_ref().map(|folder| Memo::new(folder.join("memo")));
        let host = Host { engine, objects: Objects::new(self.objects, io.clone()), memo };
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::default());
        let worker = Worker::start(worker::Config {
            id: WorkerId::from_bytes([0; 16]),
            broker: broker.clone(),
            host: host.clone(),
            artifacts: artifacts.clone(),
            slots,
            threads: cores.min(slots),
            io: io.clone(),
        })
        .map_err(StartError::Worker)?;
        let embedded = Some(Embedded { worker, host, artifacts });
        Ok(Client { shared: Arc::new(Shared { broker, runtime: io, window: Window { slots }, embedded }) })
    }
}

impl Client {
    /// A client with everything in this process, and nothing kept on disk. Call it within a tokio runtime.
    ///
    /// # Errors
    /// When the system denies address space or threads.
    pub fn embedded() -> Result<Self, StartError> {
        Builder::default().start()
    }

    /// Set up an embedded client.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Load a component from a file: read, check, compile and describe it. A component that was compiled before is taken from the cache.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a component that can run here.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<Component, LoadError> {
        let path = path.as_ref().to_owned();
        let bytes = tokio::fs::read(&path).await.map_err(|source| LoadError::Read { path: path.clone(), source })?;
        self.load_bytes(bytes).await.map_err(|error| match error {
            LoadError::Refused { source, .. } => LoadError::Refused { path, source },
            other => other,
        })
    }

    /// Load a component from its bytes.
    ///
    /// # Errors
    /// When the bytes are not a component that can run here.
    pub async fn load_bytes(&self, bytes: Vec<u8>) -> Result<Component, LoadError> {
        let Some(embedded) = &self.shared.embedded else { return Err(LoadError::NoHost) };
        let (engine, artifacts, runtime) = (embedded.host.engine.clone(), embedded.artifacts.clone(), self.shared.runtime.clone());
        // Compiling computes for seconds: not on a thread that others' I/O needs.
        let loading = self.shared.runtime.spawn_blocking(move || {
            let loaded = runtime.block_on(sortie_host::Component::load(&engine, &bytes, artifacts.as_ref()));
            loaded.map(|component| (component, bytes))
        });
        let (component, bytes) = loading
            .await
            .map_err(|_| LoadError::ShuttingDown)?
            .map_err(|source| LoadError::Refused { path: PathBuf::from("component"), source })?;
        self.shared.broker.put_component(component.digest(), bytes.into()).await?;
        embedded.worker.add_component(component.clone()).await;
        Ok(Component {
            digest: component.digest(),
            signatures: component.signatures().into(),
            size: component.size(),
            imports: component.imports().into(),
        })
    }

    /// The objects as the embedded host reaches them, for listing inputs.
    #[must_use]
    pub fn objects(&self) -> Option<&Objects> {
        self.shared.embedded.as_ref().map(|embedded| &embedded.host.objects)
    }
}
