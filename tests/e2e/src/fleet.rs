//! A fleet on this machine: a real NATS server, and workers in the test's process that can come and
//! go.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use sortie::nats::{Config, NatsBroker, Role};
use sortie::objects::Location;
use sortie::protocol::{ByteSize, Labels, WorkerId};
use sortie::{Builder, Client};
use sortie_broker::Serves;
use sortie_harness::NatsServer;
use sortie_host::setup::{Identity, StoreAt};
use sortie_host::{Setup, Worker};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// A server, and the folder where clients and workers keep what they compiled.
#[derive(Debug)]
pub struct Fleet {
    server: NatsServer,
    cache: TempDir,
}

impl Fleet {
    /// A server without workers.
    pub async fn start() -> Self {
        Self {
            server: NatsServer::start().await,
            cache: sortie_harness::cache(),
        }
    }

    /// Where the broker is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The server.
    pub fn server(&self) -> &NatsServer {
        &self.server
    }

    /// Where compiled components are kept.
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// A worker without a store, for as long as it is held.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn worker(&self, slots: usize) -> Worker {
        self.worker_at(slots, StoreAt::Nowhere).await
    }

    /// A worker without a store that has so much memory for tasks.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn worker_with_memory(&self, slots: usize, memory: ByteSize) -> Worker {
        self.worker_of(slots, StoreAt::Nowhere, Some(memory)).await
    }

    async fn worker_at(&self, slots: usize, store: StoreAt) -> Worker {
        self.worker_of(slots, store, None).await
    }

    async fn worker_of(&self, slots: usize, store: StoreAt, memory: Option<ByteSize>) -> Worker {
        let broker = NatsBroker::connect(Config::new(self.url(), Role::Worker))
            .await
            .expect("a broker of ours");
        let setup = Setup {
            concurrency: NonZeroUsize::new(slots),
            cache: Some(self.cache.path().into()),
            store,
            memory,
            ..Setup::default()
        };
        let prepared = setup.prepare(Handle::current()).expect("a host");
        let id = WorkerId::from_bytes(std::array::from_fn(|_| {
            u8::try_from(slots).unwrap_or(u8::MAX)
        }));
        let identity = Identity {
            id,
            serves: Serves::Labels(Labels::default()),
            introduction: None,
        };
        let lease = broker.lease();
        prepared
            .start(identity, Arc::new(broker), Some(lease))
            .expect("a worker")
    }

    /// A client.
    ///
    /// # Panics
    /// When it cannot connect.
    pub async fn client(&self) -> Client {
        let builder = Client::builder().cache(self.cache.path());
        self.connected(builder).await
    }

    async fn connected(&self, builder: Builder) -> Client {
        let config = Config::new(self.url(), Role::Client);
        builder.connect(config).await.expect("a broker of ours")
    }
}

/// Where a client's tasks run.
#[derive(Debug)]
pub enum Place {
    /// In the client's own process.
    Embedded,
    /// In a fleet of one worker.
    Fleet,
}

/// A client, and what it takes to serve it.
#[derive(Debug)]
pub struct Served {
    client: Client,
    _fleet: Option<(Worker, Fleet)>,
}

impl std::ops::Deref for Served {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Place {
    /// A client whose tasks run here, with this many slots, or as many as there are by default.
    ///
    /// # Panics
    /// When it cannot be had.
    pub async fn client(&self, slots: Option<usize>) -> Served {
        match self {
            Self::Embedded => {
                let builder = Client::builder();
                let builder = slots
                    .and_then(NonZeroUsize::new)
                    .into_iter()
                    .fold(builder, sortie::Builder::concurrency);
                Served {
                    client: builder.start().expect("a host"),
                    _fleet: None,
                }
            }
            Self::Fleet => {
                let fleet = Fleet::start().await;
                let worker = fleet.worker(slots.unwrap_or(4)).await;
                Served {
                    client: fleet.client().await,
                    _fleet: Some((worker, fleet)),
                }
            }
        }
    }

    /// A client whose tasks run here, with a store in this folder.
    ///
    /// # Panics
    /// When it cannot be had.
    pub async fn client_with_store(&self, folder: &Path) -> Served {
        let store = Location::File(folder.into());
        let builder = Client::builder().store(store.clone());
        match self {
            Self::Embedded => Served {
                client: builder.start().expect("a host"),
                _fleet: None,
            },
            Self::Fleet => {
                let fleet = Fleet::start().await;
                let worker = fleet.worker_at(4, StoreAt::Shared(store)).await;
                Served {
                    client: fleet.connected(builder).await,
                    _fleet: Some((worker, fleet)),
                }
            }
        }
    }
}
