//! Several servers with routes to each other and replicated JetStream.

use serde_json::Value;

use super::process::poll;
use super::{NatsBuilder, NatsServer, TRIES_MAX, monitor, ports};
use crate::patience::patience;

/// Servers that end with their handle.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
}

impl NatsCluster {
    /// Start this many servers, and wait until they have a leader and none is behind.
    ///
    /// # Panics
    /// When that does not happen in time; the text has their logs.
    pub async fn start(count: usize) -> Self {
        Self::start_with(count, NatsServer::builder()).await
    }

    /// The same, with more to say about each server.
    ///
    /// # Panics
    /// When that does not happen in time; the text has their logs.
    pub async fn start_with(count: usize, server: NatsBuilder) -> Self {
        for _ in 0..TRIES_MAX {
            if let Some(cluster) = Self::try_start(count, &server).await {
                cluster.wait_until_current().await;
                return cluster;
            }
        }
        panic!("a cluster found a port taken {TRIES_MAX} times");
    }

    /// None if a port was taken.
    async fn try_start(count: usize, server: &NatsBuilder) -> Option<Self> {
        let routes: Vec<_> = (0..count).map(|_| ports::free()).collect();
        // Where the configuration asks for a password, the routes have to have it.
        let password = server
            .variables
            .iter()
            .find(|(name, _)| name == "SORTIE_NATS_ROUTE_PASSWORD");
        let user = password
            .map(|(_, password)| format!("route:{password}@"))
            .unwrap_or_default();
        let list: Vec<_> = routes
            .iter()
            .map(|address| format!("\"nats://{user}{address}\""))
            .collect();
        let list = list.join(", ");
        let mut servers = Vec::new();
        for (number, address) in routes.into_iter().enumerate() {
            let mut builder = server
                .clone()
                .monitoring()
                .config(&format!("server_name: {}", name(number)));
            builder.cluster = Some((address, list.clone()));
            servers.push(builder.try_start().await?);
        }
        Some(Self { servers })
    }

    /// Where clients connect, in the order of the servers.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// A server by its place.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn server(&self, place: usize) -> &NatsServer {
        &self.servers[place]
    }

    /// The place of the server that leads JetStream as a whole, waited for.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn leader_of_meta(&self) -> usize {
        self.wait_for("a leader", async || self.agreed(meta).await)
            .await
    }

    /// The place of the server that leads this stream, waited for.
    ///
    /// # Panics
    /// When there is none in time, or no such stream.
    pub async fn leader_of_stream(&self, stream: &str) -> usize {
        self.wait_for(&format!("a leader of the stream {stream}"), async || {
            self.agreed(|jsz| of_stream(jsz, stream)).await
        })
        .await
    }

    /// Wait until all servers are up, agree on their leader, and none is behind.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn wait_until_current(&self) {
        self.wait_for("a leader that all follow", async || {
            let leader = self.agreed(meta).await?;
            let mut current = 0;
            for (place, server) in self.servers.iter().enumerate() {
                let health = monitor::get(server.monitor?, "/healthz").await.ok()?;
                (health.get("status")?.as_str()? == "ok").then_some(())?;
                let jsz = monitor::get(server.monitor?, JSZ).await.ok()?;
                // One that was away may still hold itself to be the leader.
                (meta(&jsz)?.leader == name(leader)).then_some(())?;
                if place == leader {
                    let replicas = jsz.pointer("/meta_cluster/replicas")?.as_array()?;
                    current = replicas
                        .iter()
                        .filter(|replica| replica.get("current") == Some(&Value::Bool(true)))
                        .count();
                }
            }
            (current + 1 == self.servers.len()).then_some(())
        })
        .await;
    }

    /// The leader that most of its group name. Servers that are down or paused are not asked.
    async fn agreed(&self, group: impl Fn(&Value) -> Option<Group>) -> Option<usize> {
        let mut votes = vec![0; self.servers.len()];
        let mut size = self.servers.len();
        for server in self.servers.iter().filter(|server| server.is_running()) {
            let said = monitor::get(server.monitor?, JSZ).await.ok();
            let Some(group) = said.as_ref().and_then(&group) else {
                continue;
            };
            size = group.size;
            if let Some(place) = (0..votes.len()).find(|place| name(*place) == group.leader) {
                votes[place] += 1;
            }
        }
        votes
            .iter()
            .position(|count| count * 2 > size)
            .filter(|place| self.servers[*place].is_running())
    }

    async fn wait_for<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        // Each server shows its log when the handle is dropped by the panic.
        poll(look)
            .await
            .unwrap_or_else(|| panic!("the cluster had not {what} within {:?}", patience()))
    }
}

/// Everything about JetStream on one server.
const JSZ: &str = "/jsz?streams=true";

fn name(place: usize) -> String {
    format!("server-{place}")
}

/// Servers that agree on something, as one of them sees it.
struct Group {
    /// Empty if there is none.
    leader: String,
    size: usize,
}

fn group(cluster: &Value) -> Option<Group> {
    let others = cluster
        .get("replicas")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    Some(Group {
        leader: cluster.get("leader")?.as_str()?.to_owned(),
        size: others + 1,
    })
}

fn meta(jsz: &Value) -> Option<Group> {
    let cluster = jsz.get("meta_cluster")?;
    let size = usize::try_from(cluster.get("cluster_size")?.as_u64()?).ok()?;
    Some(Group {
        size,
        ..group(cluster)?
    })
}

fn of_stream(jsz: &Value, stream: &str) -> Option<Group> {
    let accounts = jsz.get("account_details")?.as_array()?;
    let mut streams = accounts
        .iter()
        .filter_map(|account| account.get("stream_detail")?.as_array())
        .flatten();
    group(
        streams
            .find(|detail| detail.get("name").and_then(Value::as_str) == Some(stream))?
            .get("cluster")?,
    )
}
