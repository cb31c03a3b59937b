//! The NATS broker against real servers: what every broker promises, on one server and on a cluster
//! of three.
//!
//! Each check gets a space of its own, so that many run at once on one server. The other modules
//! are about what the suite cannot do: servers that are away, slow, wrong or attacked.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cluster;
mod deployment;
mod fencing;
mod handed_over;
mod identity;
mod leftovers;
mod messages;
mod outages;
mod removal;
mod security;
mod start;
mod support;
mod tenants;
mod values;

use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use sortie_broker::Broker;
use sortie_broker::conformance::{Harness, SUITE};
use sortie_broker::nats::{Config, Layout, NatsBroker, Provision, Role};
use sortie_harness::{NatsCluster, NatsServer};

/// What a server takes in one message, less what the broker keeps for headers.
const WEIGHT_MAX: usize = 1 << 20;

struct Fleet {
    servers: String,
    layout: Layout,
    next: AtomicU32,
}

impl Fleet {
    fn new(servers: String, lease: Duration, replicas: usize) -> Self {
        let replicas = NonZeroUsize::new(replicas).unwrap();
        // The server reserves this much disk for each space.
        let tasks_bytes_max = NonZeroU32::new(64 << 20).unwrap();
        Self {
            servers,
            layout: Layout {
                lease,
                replicas,
                tasks_bytes_max,
                ..Layout::default()
            },
            next: AtomicU32::new(0),
        }
    }

    /// A space that no other check has, and its configuration.
    fn new_space(&self, bytes: usize) -> Config {
        let space = format!("case-{}", self.next.fetch_add(1, Ordering::Relaxed))
            .parse()
            .unwrap();
        let tasks_bytes_max = NonZeroU32::new(u32::try_from(bytes).unwrap()).unwrap();
        Config {
            space,
            provision: Provision::Missing(Layout {
                tasks_bytes_max,
                ..self.layout.clone()
            }),
            ..Config::new(&*self.servers, Role::Client)
        }
    }

    /// Run the suite, several checks at once, and name what failed.
    async fn check(&self, at_once: usize) {
        let only = std::env::var("SORTIE_CASE").ok();
        let cases = SUITE
            .iter()
            .filter(|case| only.as_deref().is_none_or(|only| case.name.contains(only)));
        let checks = cases.map(|case| async move { (case.name, case.check(self).await) });
        let ended: Vec<_> = futures::stream::iter(checks)
            .buffer_unordered(at_once)
            .collect()
            .await;
        assert!(!ended.is_empty());
        let failed: Vec<_> = ended
            .into_iter()
            .filter_map(|(name, verdict)| Some(format!("{name}: {}", verdict.err()?)))
            .collect();
        assert!(
            failed.is_empty(),
            "{} checks failed:\n{}",
            failed.len(),
            failed.join("\n")
        );
    }
}

#[async_trait]
impl Harness for Fleet {
    async fn broker(&self) -> Arc<dyn Broker> {
        let bytes = usize::try_from(self.layout.tasks_bytes_max.get()).unwrap();
        let config = self.new_space(bytes);
        Arc::new(NatsBroker::connect(config).await.unwrap())
    }

    async fn tenants_with(&self, bytes: usize) -> [Arc<dyn Broker>; 2] {
        let config = self.new_space(bytes);
        let tenant = async |name: &str| {
            let config = Config {
                tenant: name.parse().unwrap(),
                ..config.clone()
            };
            Arc::new(NatsBroker::connect(config).await.unwrap())
        };
        [tenant("acme").await, tenant("globex").await]
    }

    async fn narrow_broker(&self, bytes: usize) -> Arc<dyn Broker> {
        let shards = usize::from(self.layout.shards.get());
        let config = self.new_space(bytes.div_ceil(shards));
        Arc::new(NatsBroker::connect(config).await.unwrap())
    }

    fn lease(&self) -> Duration {
        self.layout.lease
    }

    fn deliveries_max(&self) -> u32 {
        sortie_protocol::delivery::LOSSES_MAX
    }

    fn weight_max(&self) -> usize {
        WEIGHT_MAX
    }

    /// A part of what one wait has elsewhere, since a check has many in a row.
    fn patience(&self) -> Duration {
        sortie_harness::patience() / 4
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_keeps_every_promise() {
    let server = NatsServer::start().await;
    Fleet::new(server.url(), Duration::from_millis(1500), 1)
        .check(16)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_shards_keep_every_promise() {
    let server = NatsServer::start().await;
    let mut fleet = Fleet::new(server.url(), Duration::from_millis(2000), 1);
    fleet.layout.shards = NonZeroU16::new(3).unwrap();
    fleet.check(16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_three_keeps_every_promise() {
    let cluster = NatsCluster::start(3).await;
    Fleet::new(cluster.urls().join(","), Duration::from_secs(3), 3)
        .check(8)
        .await;
}
