//! The metrics of reading objects, with names, units and help texts: block cache hits, requests,
//! bytes, and the disk tier.

use std::sync::atomic::{AtomicU64, Ordering};

use sortie_protocol::metric::{Metric, Sample};

use crate::read::block::Purpose;

const BLOCK_HITS: Metric = Metric::counter(
    "sortie_object_block_hits_total",
    "Block reads that were served from memory or joined a fetch in progress.",
);
const BLOCK_MISSES: Metric = Metric::counter(
    "sortie_object_block_misses_total",
    "Block reads that missed memory.",
);
const BLOCK_EVICTIONS: Metric = Metric::counter(
    "sortie_object_block_evictions_total",
    "Blocks evicted from memory to make room.",
);
const BLOCK_EVICTED: Metric = Metric::counter(
    "sortie_object_block_evicted_bytes_total",
    "Bytes of blocks evicted from memory to make room.",
);
const BLOCK_HELD: Metric = Metric::gauge(
    "sortie_object_block_held_bytes",
    "Bytes of blocks held in memory.",
);
const REQUESTS: Metric = Metric::counter(
    "sortie_object_requests_total",
    "Requests for parts of objects, without retries.",
);
const FETCHED: Metric = Metric::counter(
    "sortie_object_fetched_bytes_total",
    "Bytes of objects received.",
);
const DISK_HITS: Metric = Metric::counter(
    "sortie_object_disk_hits_total",
    "Block reads that missed memory and were served from disk.",
);
const DISK_READ: Metric = Metric::counter(
    "sortie_object_disk_read_bytes_total",
    "Bytes of blocks read from disk.",
);
const DISK_MISSES: Metric = Metric::counter(
    "sortie_object_disk_misses_total",
    "Block reads that missed both memory and disk.",
);
const DISK_WRITTEN: Metric = Metric::counter(
    "sortie_object_disk_written_bytes_total",
    "Bytes of blocks written to disk.",
);
const DISK_SKIPPED: Metric = Metric::counter(
    "sortie_object_disk_skipped_total",
    "Blocks not written to disk because it was too slow or had failed.",
);
const DISK_FAILURES: Metric = Metric::counter(
    "sortie_object_disk_failures_total",
    "Reads and writes of the disk that failed.",
);
const DISK_EVICTIONS: Metric = Metric::counter(
    "sortie_object_disk_evictions_total",
    "Blocks removed from disk to make room.",
);
const DISK_EVICTED: Metric = Metric::counter(
    "sortie_object_disk_evicted_bytes_total",
    "Bytes of blocks removed from disk to make room.",
);
const DISK_HELD: Metric = Metric::gauge(
    "sortie_object_disk_held_bytes",
    "Bytes of blocks on disk, as far as this process knows.",
);

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

impl Metrics {
    /// As samples, with those of the disk tier if there is one.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = vec![
            Sample::count(&BLOCK_HITS, self.block_hits_total),
            Sample::count(&BLOCK_MISSES, self.block_misses_total),
            Sample::count(&BLOCK_EVICTIONS, self.block_evictions_total),
            Sample::count(&BLOCK_EVICTED, self.block_evicted_bytes_total),
            Sample::count(&BLOCK_HELD, self.block_held_bytes),
            Sample::count(&REQUESTS, self.requests_total),
            Sample::count(&FETCHED, self.fetched_bytes_total),
        ];
        samples.extend(self.disk.iter().flat_map(DiskMetrics::samples));
        samples
    }
}

impl DiskMetrics {
    fn samples(&self) -> [Sample; 9] {
        [
            Sample::count(&DISK_HITS, self.hits_total),
            Sample::count(&DISK_READ, self.read_bytes_total),
            Sample::count(&DISK_MISSES, self.misses_total),
            Sample::count(&DISK_WRITTEN, self.written_bytes_total),
            Sample::count(&DISK_SKIPPED, self.skipped_total),
            Sample::count(&DISK_FAILURES, self.failures_total),
            Sample::count(&DISK_EVICTIONS, self.evictions_total),
            Sample::count(&DISK_EVICTED, self.evicted_bytes_total),
            Sample::count(&DISK_HELD, self.held_bytes),
        ]
    }
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
