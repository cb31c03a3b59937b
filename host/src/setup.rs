//! Sets up a host and its workers from a few settings: the engine, the caches, the objects and the
//! size of each.
//!
//! Embedded clients and worker processes are both set up here, so that they have the same limits.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sortie_broker::{Broker, KeepValues, Serves};
use sortie_protocol::{ByteSize, LimitsMax, WorkerId};
use tokio::runtime::Handle;

use crate::artifacts::{self, Artifacts};
use crate::attempt::Host;
use crate::budget::{self, Budget, InputsTooLarge};
use crate::engine::apart::Compiler;
use crate::engine::{self, Engine, Paging, Settings};
use crate::memo::{self, Memo};
use crate::observer::{Event, Observer};
use crate::worker::{self, HEARTBEAT_MAX, Introduction, Worker};
use sortie_objects::OutputStore;
use sortie_objects::{self as objects, Location, Objects};

/// The store's folder in the cache folder.
pub(crate) const STORE: &str = "store";
/// The folder in the cache folder for parts of inputs.
pub const INPUTS: &str = "inputs";
/// The memo's folder in the cache folder.
pub(crate) const MEMO: &str = "memo";

/// The settings of a host.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// How many tasks run concurrently. Default twice the number of cores: while some wait for
    /// their inputs, others compute.
    pub concurrency: Option<NonZeroUsize>,
    /// The folder where compiled components and results of deterministic tasks are cached. Default
    /// none.
    pub cache: Option<PathBuf>,
    /// The store for large outputs and shared results.
    pub store: StoreAt,
    /// How much a tenant may have in the store. Default as much as there is room for.
    pub store_quota: Option<ByteSize>,
    /// Access to objects.
    pub objects: objects::Config,
    /// What all tasks in work, their arguments and results and the blocks of inputs may take
    /// together. Default [`budget::default_memory`].
    pub memory: Option<ByteSize>,
    /// The most that a task may use: jobs that ask for more are refused.
    pub limits: LimitsMax,
    /// What compiles components that others sent.
    pub compiler: Compiler,
}

/// Where the store is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StoreAt {
    /// No store.
    #[default]
    Nowhere,
    /// In the cache folder, for this machine alone; nowhere, if there is no cache.
    Cache,
    /// At a location that other hosts may use, too: results of deterministic tasks are shared
    /// through it.
    Shared(Location),
}

/// A host could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The cache folder.
    #[error(transparent)]
    Cache(#[from] artifacts::Error),
    /// Blocks of inputs would leave too little memory for tasks.
    #[error(
        "inputs may have at most {max} of this worker's memory of {memory}, and are given {asked}; \
         give them less, or the worker more"
    )]
    InputMemory {
        /// What they are given.
        asked: ByteSize,
        /// What they may have.
        max: ByteSize,
        /// What the worker has.
        memory: ByteSize,
    },
}

/// A host that is set up, for its workers to be started on.
#[derive(Debug)]
pub struct Prepared {
    /// The host that attempts run on.
    pub host: Host,
    /// Where compiled components are kept, if anywhere.
    pub artifacts: Option<Artifacts>,
    /// How many tasks run concurrently.
    pub slots: NonZeroUsize,
    threads: NonZeroUsize,
    io: Handle,
    observer: Option<Arc<dyn Observer<Event>>>,
}

/// A worker's identity at a broker.
#[derive(Debug)]
pub struct Identity {
    /// Its name.
    pub id: WorkerId,
    /// Which jobs it takes.
    pub serves: Serves,
    /// What it announces about itself, if anything.
    pub introduction: Option<Introduction>,
}

impl Setup {
    /// Reserve address space and open the cache; all I/O runs on `io`.
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies address space.
    pub fn prepare(mut self, io: Handle) -> Result<Prepared, Error> {
        let budget = Arc::new(self.part_memory()?);
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let slots = self
            .concurrency
            .unwrap_or_else(|| cores.saturating_mul(NonZeroUsize::MIN.saturating_add(1)));
        let running = NonZeroU32::try_from(slots).unwrap_or(NonZeroU32::MAX);
        let settings = Settings::of(running, Paging::detect());
        let engine = Arc::new(Engine::new(settings)?);
        let artifacts = self.cache.as_ref().map(Artifacts::open).transpose()?;
        if let Some(disk) = &self.objects.disk {
            artifacts::private(&disk.folder)?;
        }
        let objects = Objects::new(self.objects, io.clone());
        let is_shared = matches!(self.store, StoreAt::Shared(_));
        let store = match self.store {
            StoreAt::Nowhere => None,
            StoreAt::Cache => self
                .cache
                .as_ref()
                .map(|folder| Location::File(absolute(folder).join(STORE))),
            StoreAt::Shared(place) => Some(place),
        };
        let store = store.map(|place| {
            let store = OutputStore::new(objects.clone(), place);
            match self.store_quota {
                Some(bytes_max) => store.with_quota(bytes_max),
                None => store,
            }
        });
        let memo = Memo::new(
            self.cache.as_ref().map(|folder| {
                memo::Local::new(folder.join(MEMO), memo::local::BYTES_MAX, io.clone())
            }),
            store
                .as_ref()
                .filter(|_| is_shared)
                .map(|store| memo::Shared::new(store.clone(), io.clone())),
        );
        let host = Host {
            engine,
            objects,
            memo,
            store,
            values: None,
            metrics: Arc::default(),
            budget,
            compiler: self.compiler,
            shortages: Arc::default(),
            limits_max: self.limits,
        };
        Ok(Prepared {
            host,
            observer: None,
            artifacts,
            slots,
            threads: cores.min(slots),
            io,
        })
    }
}

impl Setup {
    /// Part the worker's memory. Blocks of inputs have what they are given; by default less, where
    /// there is little.
    fn part_memory(&mut self) -> Result<Budget, Error> {
        let memory = self.memory.unwrap_or_else(budget::default_memory);
        let asked = self.objects.memory;
        if asked == objects::MEMORY_DEFAULT {
            self.objects.memory = Budget::inputs(memory, asked);
        }
        Budget::of(memory, self.objects.memory)
            .map_err(|InputsTooLarge { max }| Error::InputMemory { asked, max, memory })
    }
}

/// A path that stays the same when the process changes its folder.
fn absolute(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

impl Prepared {
    /// Pass the events of workers started from now on to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer<Event>>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Start a worker with all the slots. `lease` is how long the broker's leases hold, if that is
    /// known.
    ///
    /// # Errors
    /// When the system denies a thread.
    pub fn start(
        &self,
        identity: Identity,
        broker: Arc<dyn Broker>,
        lease: Option<std::time::Duration>,
    ) -> std::io::Result<Worker> {
        let Identity {
            id,
            serves,
            introduction,
        } = identity;
        // A broker in this process has no use for it: it takes values of any size inline.
        let values = match broker.outlives_process() {
            true => Some(broker.clone() as Arc<dyn KeepValues>),
            false => None,
        };
        let host = Host {
            values,
            ..self.host.clone()
        };
        Worker::start(worker::Config {
            id,
            serves,
            introduction,
            broker,
            host,
            artifacts: self.artifacts.clone(),
            slots: self.slots,
            threads: self.threads,
            // Two may go unanswered before a lease is lost.
            heartbeat: lease.map_or(HEARTBEAT_MAX, |lease| (lease / 4).min(HEARTBEAT_MAX)),
            io: self.io.clone(),
            observer: self.observer.clone(),
        })
    }
}
