//! Holds blocks: the memory cache, the blocks being fetched, and the disk tier below them.
//!
//! Requests store fetched blocks here, and readers find them here. Nothing here starts a request,
//! so that requests can depend on this module.

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

/// Blocks in memory, on disk, and being fetched.
#[derive(Debug)]
pub(crate) struct Held {
    cache: moka::sync::Cache<Key, Bytes>,
    coming: Mutex<HashMap<Key, Weak<Cell>>>,
    pub(crate) disk: Option<Arc<Tier>>,
    pub(crate) counters: Arc<Counters>,
}

/// The blocks being fetched, under their lock.
pub(crate) struct Coming<'h> {
    cache: &'h moka::sync::Cache<Key, Bytes>,
    cells: MutexGuard<'h, HashMap<Key, Weak<Cell>>>,
}

impl Coming<'_> {
    /// Find a block in memory or being fetched. A block is added to the cache before it is removed
    /// from the blocks being fetched, and both are checked under one lock, so a block is never
    /// missed in between.
    pub(crate) fn find(&self, key: &Key) -> Option<Block> {
        if let Some(cell) = self.cells.get(key).and_then(Weak::upgrade) {
            // A failed block is requested again.
            return (!matches!(cell.content.get(), Some(Err(_)))).then_some(Block::Coming(cell));
        }
        self.cache.get(key).map(Block::Here)
    }

    /// Record that a block is being fetched.
    pub(crate) fn insert(&mut self, key: Key, cell: &Arc<Cell>) {
        self.cells.insert(key, Arc::downgrade(cell));
    }
}

impl Held {
    /// A cache of at most `memory_bytes_max` in memory, and the disk of `config` with at most
    /// `write_bytes_max` of pending writes.
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
            // Prefetched blocks must still be there when they are read: an admission policy that
            // prefers known entries would drop them.
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

    /// Metrics of all reads so far.
    pub(crate) fn metrics(&self) -> Metrics {
        self.cache.run_pending_tasks();
        let disk = self.disk.as_ref().map(|disk| disk.metrics());
        Metrics {
            disk,
            ..self.counters.read(self.cache.weighted_size())
        }
    }

    /// Wait, for a bounded time, until pending blocks are written to disk. Cancel safe.
    pub(crate) async fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush().await;
        }
    }

    /// Lock the blocks being fetched.
    pub(crate) fn coming(&self) -> Coming<'_> {
        Coming {
            cache: &self.cache,
            cells: self.coming.lock(),
        }
    }

    /// A block has arrived: cache it and wake its readers.
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
            // Set only once, here.
            let _ = cell.content.set(content);
        }
        self.forget(&key, cell);
    }

    /// A block is no longer being fetched.
    pub(crate) fn forget(&self, key: &Key, cell: &Weak<Cell>) {
        let mut coming = self.coming.lock();
        // A new fetch of the block may have started meanwhile.
        if coming.get(key).is_some_and(|current| current.ptr_eq(cell)) {
            coming.remove(key);
        }
    }
}
