//! What a worker tells Prometheus, in its text format (version 0.0.4).
//!
//! Names and their meanings are the book's; a name that changes breaks somebody's dashboard.

use std::fmt::Write as _;

use sortie::objects::{DiskMetrics, Metrics};
use sortie_host::Worker;

/// All of it.
pub(super) fn text(worker: &Worker) -> String {
    let Metrics {
        block_hits_total,
        block_misses_total,
        block_evictions_total,
        block_evicted_bytes_total,
        block_held_bytes,
        requests_total,
        fetched_bytes_total,
        disk,
    } = worker.objects();
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, value: u64, help: &str| {
        let _infallible = writeln!(
            text,
            "# HELP sortie_{name} {help}\n# TYPE sortie_{name} {kind}\nsortie_{name} {value}"
        );
    };
    let busy = u64::try_from(worker.busy()).unwrap_or(u64::MAX);
    add(
        "worker_bundles_leased",
        "gauge",
        busy,
        "Bundles in work, or waiting for their inputs.",
    );
    add(
        "object_block_hits_total",
        "counter",
        block_hits_total,
        "Blocks of objects that were asked for and here, or on their way.",
    );
    add(
        "object_block_misses_total",
        "counter",
        block_misses_total,
        "Blocks of objects that were not in memory.",
    );
    add(
        "object_block_evictions_total",
        "counter",
        block_evictions_total,
        "Blocks that the cache let go of for want of room.",
    );
    add(
        "object_block_evicted_bytes_total",
        "counter",
        block_evicted_bytes_total,
        "Their bytes.",
    );
    add(
        "object_block_held_bytes",
        "gauge",
        block_held_bytes,
        "Bytes of objects that the cache holds.",
    );
    add(
        "object_requests_total",
        "counter",
        requests_total,
        "Requests for parts of objects, not counting repetitions.",
    );
    add(
        "object_fetched_bytes_total",
        "counter",
        fetched_bytes_total,
        "Bytes of objects that came.",
    );
    let Some(disk) = disk else { return text };
    let DiskMetrics {
        hits_total,
        read_bytes_total,
        misses_total,
        written_bytes_total,
        skipped_total,
        failures_total,
        evictions_total,
        evicted_bytes_total,
        held_bytes,
    } = disk;
    add(
        "object_disk_hits_total",
        "counter",
        hits_total,
        "Blocks of objects that were not in memory, and on disk.",
    );
    add(
        "object_disk_read_bytes_total",
        "counter",
        read_bytes_total,
        "Their bytes.",
    );
    add(
        "object_disk_misses_total",
        "counter",
        misses_total,
        "Blocks of objects that were on disk neither.",
    );
    add(
        "object_disk_written_bytes_total",
        "counter",
        written_bytes_total,
        "Bytes of objects that were written to disk.",
    );
    add(
        "object_disk_skipped_total",
        "counter",
        skipped_total,
        "Blocks that were not written: the disk is too slow, or had failed.",
    );
    add(
        "object_disk_failures_total",
        "counter",
        failures_total,
        "Reads and writes of the disk that failed.",
    );
    add(
        "object_disk_evictions_total",
        "counter",
        evictions_total,
        "Blocks that were removed from disk for want of room.",
    );
    add(
        "object_disk_evicted_bytes_total",
        "counter",
        evicted_bytes_total,
        "Their bytes.",
    );
    add(
        "object_disk_held_bytes",
        "gauge",
        held_bytes,
        "Bytes of objects that the folder on disk holds, as far as is known.",
    );
    text
}
