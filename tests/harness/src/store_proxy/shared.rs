//! What all connections of a proxy share: what the line is like, what passed, and what is to go
//! wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::rules::{Fault, Operation, Rule};

/// What the line to the server is like. By default it is as near and as wide as this machine lets
/// it be.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// From a request to the first byte of its answer.
    pub latency: Duration,
    /// How much each connection of a client carries towards the client.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// What passed since the start or the last [`StoreProxy::forget`](super::StoreProxy::forget).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests of any kind.
    pub requests: u64,
    /// Bytes of bodies that were passed to clients.
    pub body_bytes: u64,
    /// Connections of clients that are there now.
    pub connections: u64,
    /// The most connections that were there at once.
    pub connections_max: u64,
    /// Requests that a fault befell.
    pub struck: u64,
    /// By `bucket/key`, as it stands in the requests' paths.
    pub objects: BTreeMap<String, ObjectCounts>,
}

/// What passed of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// Reads, of all or a range.
    pub gets: u64,
    /// Questions about it.
    pub heads: u64,
    /// Bytes of bodies that were passed to clients.
    pub body_bytes: u64,
}

/// What all connections of a proxy share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: SocketAddr,
    pub(super) link: Link,
    pub(super) counts: Mutex<Counts>,
    pub(super) struck: Condvar,
    pub(super) rules: Mutex<Vec<Rule>>,
    pub(super) released: watch::Sender<()>,
}

impl Shared {
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Count a request and say what befalls it.
    pub(super) fn asked(&self, operation: Operation, key: &str) -> Option<Fault> {
        let fault = self
            .rules()
            .iter_mut()
            .find_map(|rule| rule.strike(operation, key));
        let mut counts = self.counts();
        counts.requests += 1;
        let object = matches!(operation, Operation::Get | Operation::Head)
            .then(|| counts.objects.entry(key.to_owned()).or_default());
        match (operation, object) {
            (Operation::Get, Some(object)) => object.gets += 1,
            (Operation::Head, Some(object)) => object.heads += 1,
            _ => {}
        }
        if fault.is_some() {
            counts.struck += 1;
            self.struck.notify_all();
        }
        fault
    }

    /// Count bytes that were passed on.
    pub(super) fn passed(&self, key: &str, bytes: u64) {
        let mut counts = self.counts();
        counts.body_bytes += bytes;
        if let Some(object) = counts.objects.get_mut(key) {
            object.body_bytes += bytes;
        }
    }
}

/// A connection that is counted while it is there.
pub(super) struct Counted(pub(super) Arc<Shared>);

impl Counted {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut counts = shared.counts();
        counts.connections += 1;
        counts.connections_max = counts.connections_max.max(counts.connections);
        drop(counts);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.counts().connections -= 1;
    }
}
