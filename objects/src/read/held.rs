//! The cache of blocks: those in memory, those on their way, and the disk tier below them.
//!
//! Requests put what came here; readers find it here. Nothing here starts a request, so that
//! requests can depend on it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;

use super::block::{Block, Cell, Key};
use super::disk::Tier;
use super::version::Version;
use crate::metrics::{Counters, Metrics};
use crate::{Config, Error};

/// Blocks in memory and on disk, and those on their way.
#[derive(Debug)]
pub(crate) struct Held {
    cache: moka::sync::Cache<Key, Bytes>,
    coming: Mutex<HashMap<Key, Weak<Cell>>>,
    pub(crate) disk: Option<Arc<Tier>>,
    pub(crate) counters: Arc<Counters>,
}

/// The blocks on their way, while nobody else changes them.
pub(crate) struct Coming<'h> {
    cache: &'h moka::sync::Cache<Key, Bytes>,
    cells: MutexGuard<'h, HashMap<Key, Weak<Cell>>>,
}

impl Coming<'_> {
    /// A block that is here or on its way. A block is put here before it is no longer on its way,
    /// and both are looked at under one lock.
    pub(crate) fn find(&self, key: &Key) -> Option<Block> {
        if let Some(cell) = self.cells.get(key).and_then(Weak::upgrade) {
            // One that failed is asked for again.
            return (!matches!(cell.content.get(), Some(Err(_)))).then_some(Block::Coming(cell));
        }
        self.cache.get(key).map(Block::Here)
    }

    /// Note that a block is on its way.
    pub(crate) fn insert(&mut self, key: Key, cell: &Arc<Cell>) {
        self.cells.insert(key, Arc::downgrade(cell));
    }
}

impl Held {
    /// At most `memory_bytes_max` in memory, and the disk of `config`, to which at most
    /// `write_bytes_max` wait to be written.
    pub(crate) fn new(
        config: &Config,
        memory_bytes_max: u64,
        write_bytes_max: u64,
        io: Handle,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let evicted = counters.clone();
        let cache = moka::sync::Cache::builder()
            .max_capacity(memory_bytes_max)
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            // What was fetched ahead must still be there when it is read: an admission policy that
            // prefers what is known would drop it.
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .eviction_listener(move |_, bytes, cause| {
                if cause.was_evicted() {
                    evicted.evicted(bytes.len());
                }
            })
            .build();
        let disk = config.disk.as_ref();
        Self {
            cache,
            coming: Mutex::default(),
            disk: disk.map(|disk| Tier::new(disk, write_bytes_max, io)),
            counters,
        }
    }

    /// What reading has cost so far.
    pub(crate) fn metrics(&self) -> Metrics {
        self.cache.run_pending_tasks();
        let disk = self.disk.as_ref().map(|disk| disk.metrics());
        Metrics {
            disk,
            ..self.counters.read(self.cache.weighted_size())
        }
    }

    /// Wait until what is being written to disk is, for a bounded time. Cancel safe.
    pub(crate) async fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush().await;
        }
    }

    /// The blocks on their way, locked.
    pub(crate) fn coming(&self) -> Coming<'_> {
        Coming {
            cache: &self.cache,
            cells: self.coming.lock(),
        }
    }

    /// A block came.
    pub(crate) fn settle(
        &self,
        version: &Version,
        index: u64,
        cell: &Weak<Cell>,
        content: Result<Bytes, Error>,
    ) {
        let key = version.key(index);
        if let Ok(bytes) = &content
            && version.is_shared()
        {
            self.cache.insert(key, bytes.clone());
        }
        if let Some(cell) = cell.upgrade() {
            // It is set once, here.
            let _ = cell.content.set(content);
        }
        self.forget(&key, cell);
    }

    /// Nobody waits for a block any more, or it is here.
    pub(crate) fn forget(&self, key: &Key, cell: &Weak<Cell>) {
        let mut coming = self.coming.lock();
        // Somebody may have asked anew meanwhile.
        if coming.get(key).is_some_and(|current| current.ptr_eq(cell)) {
            coming.remove(key);
        }
    }
}
