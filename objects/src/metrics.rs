//! Counts what reading objects costs: block cache hits, requests, bytes, and the disk tier.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::read::block::Purpose;

/// Counts since the start of the process. Read one by one, so they may be apart by what happens in
/// between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Blocks that were read and already here, or on their way.
    pub block_hits_total: u64,
    /// Blocks that were not in memory.
    pub block_misses_total: u64,
    /// Blocks that the cache let go of, for want of room.
    pub block_evictions_total: u64,
    /// Their bytes.
    pub block_evicted_bytes_total: u64,
    /// Bytes that the cache holds now.
    pub block_held_bytes: u64,
    /// Requests for parts of objects, not counting repetitions.
    pub requests_total: u64,
    /// Bytes of objects that came.
    pub fetched_bytes_total: u64,
    /// The disk tier, if there is one.
    pub disk: Option<DiskMetrics>,
}

/// What the disk tier did since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskMetrics {
    /// Blocks that were not in memory, and on disk.
    pub hits_total: u64,
    /// Their bytes.
    pub read_bytes_total: u64,
    /// Blocks that were on disk neither.
    pub misses_total: u64,
    /// Bytes that were written.
    pub written_bytes_total: u64,
    /// Blocks that were not written, because the disk was slower than the network or had failed.
    pub skipped_total: u64,
    /// Reads and writes that failed.
    pub failures_total: u64,
    /// Blocks that this process let go of, for want of room.
    pub evictions_total: u64,
    /// Their bytes.
    pub evicted_bytes_total: u64,
    /// Bytes that the folder holds, as far as this process knows.
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
