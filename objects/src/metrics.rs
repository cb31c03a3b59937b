//! Metrics of reading objects: block cache hits, requests, bytes, and the disk tier.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::read::block::Purpose;

/// Counters since the start of the process. They are read one by one, so they are not a consistent
/// snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Block reads that were served from memory or joined a fetch in progress.
    pub block_hits_total: u64,
    /// Block reads that missed memory.
    pub block_misses_total: u64,
    /// Blocks evicted from memory to make room.
    pub block_evictions_total: u64,
    /// Bytes of these blocks.
    pub block_evicted_bytes_total: u64,
    /// Bytes that the cache holds now.
    pub block_held_bytes: u64,
    /// Requests for parts of objects, not counting retries.
    pub requests_total: u64,
    /// Bytes of objects received.
    pub fetched_bytes_total: u64,
    /// The disk tier, if there is one.
    pub disk: Option<DiskMetrics>,
}

/// Counters of the disk tier since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskMetrics {
    /// Block reads that missed memory and were served from disk.
    pub hits_total: u64,
    /// Bytes of these blocks.
    pub read_bytes_total: u64,
    /// Block reads that missed both memory and disk.
    pub misses_total: u64,
    /// Bytes of blocks written to disk.
    pub written_bytes_total: u64,
    /// Blocks not written, because the disk was slower than the network or had failed.
    pub skipped_total: u64,
    /// Failed reads and writes.
    pub failures_total: u64,
    /// Blocks that this process removed from disk to make room.
    pub evictions_total: u64,
    /// Bytes of these blocks.
    pub evicted_bytes_total: u64,
    /// Bytes in the folder, as far as this process knows.
    pub held_bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    evicted_bytes: AtomicU64,
    requests: AtomicU64,
    fetched_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn hit(&self, purpose: Purpose) {
        match purpose {
            Purpose::Demand => add(&self.hits, 1),
            Purpose::Ahead => {}
        }
    }

    pub(crate) fn miss(&self) {
        add(&self.misses, 1);
    }

    pub(crate) fn evicted(&self, bytes: usize) {
        add(&self.evictions, 1);
        add(&self.evicted_bytes, bytes as u64);
    }

    pub(crate) fn request(&self) {
        add(&self.requests, 1);
    }

    pub(crate) fn fetched(&self, bytes: usize) {
        add(&self.fetched_bytes, bytes as u64);
    }

    pub(crate) fn read(&self, held_bytes: u64) -> Metrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            block_hits_total: get(&self.hits),
            block_misses_total: get(&self.misses),
            block_evictions_total: get(&self.evictions),
            block_evicted_bytes_total: get(&self.evicted_bytes),
            block_held_bytes: held_bytes,
            requests_total: get(&self.requests),
            fetched_bytes_total: get(&self.fetched_bytes),
            disk: None,
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
