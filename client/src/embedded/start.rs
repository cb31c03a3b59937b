//! Starts an embedded client: an in-memory broker, a host and the client in one process.

use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::memory::MemoryBroker;
use sortie_broker::{Broker, Serves};
use sortie_host::Setup;
use sortie_host::setup::{Identity, Prepared, StoreAt};
use sortie_protocol::WorkerId;
use tokio::runtime::Handle;

use crate::api::builder::Builder;
use crate::api::client::Client;
use crate::api::shared::{Shared, new_holder};
use crate::drive::open_job::OpenJobs;
use crate::drive::tracker::TaskTracker;
use crate::drive::values::Values;
use crate::drive::window::Window;
use crate::embedded::loader::{ComponentLoader, Embedded, StartError};
use crate::observer::Observed;

impl Builder {
    /// Start the host and its client, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// When the cache folder cannot be used, or the system denies address space or threads.
    pub fn start(self) -> Result<Client, StartError> {
        let io = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let store = self.store.map_or(StoreAt::Cache, StoreAt::Shared);
        let setup = Setup {
            concurrency: self.concurrency,
            memory: self.memory,
            cache: self.cache,
            store,
            objects: self.objects,
            ..Setup::default()
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
        let store = host.store.map(|store| store.of(broker.tenant()));
        let values = Values::new(host.objects, store, broker.clone());
        let embedded = Some(Embedded {
            loader: ComponentLoader::equipped(host.engine, artifacts),
            worker: Some(worker),
        });
        Ok(Client {
            shared: Arc::new(Shared {
                broker,
                runtime: io,
                window: Window::Own(slots),
                tracker: TaskTracker::default(),
                observed: Observed::by(self.observer),
                values,
                open: OpenJobs::default(),
                holder: new_holder(),
                published: Mutex::default(),
                embedded,
            }),
        })
    }
}

impl Client {
    /// An embedded client: broker and host run in this process, and nothing is stored on disk. Call
    /// it within a tokio runtime.
    ///
    /// # Errors
    /// When the system denies address space or threads.
    pub fn embedded() -> Result<Self, StartError> {
        Builder::default().start()
    }

    /// Wait, for at most [`sortie_host::memo::shared::FLUSH_TIME_MAX`], until the results of this
    /// process's tasks are written to the shared store ([`Builder::store`]). Call it before the
    /// program exits, so that other processes need not compute them again. Cancel safe.
    pub async fn flush_results(&self) {
        if let Some(worker) = self
            .shared
            .embedded
            .as_ref()
            .and_then(|embedded| embedded.worker.as_ref())
        {
            worker.flush_results().await;
        }
    }
}
