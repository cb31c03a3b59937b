//! What a worker tells Prometheus, in its text format (version 0.0.4).
//!
//! Names and their meanings are the book's; a name that changes breaks somebody's dashboard.

use std::fmt::Write as _;

use sortie_host::Worker;
use sortie_host::objects::Metrics;

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
    } = worker.objects();
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, value: u64, help: &str| {
        let _infallible = writeln!(text, "# HELP sortie_{name} {help}\n# TYPE sortie_{name} {kind}\nsortie_{name} {value}");
    };
    let busy = u64::try_from(worker.busy()).unwrap_or(u64::MAX);
    add("worker_bundles_leased", "gauge", busy, "Bundles in work, or waiting for their inputs.");
    add("object_block_hits_total", "counter", block_hits_total, "Blocks of objects that were asked for and here, or on their way.");
    add("object_block_misses_total", "counter", block_misses_total, "Blocks of objects that had to be fetched.");
    add("object_block_evictions_total", "counter", block_evictions_total, "Blocks that the cache let go of for want of room.");
    add("object_block_evicted_bytes_total", "counter", block_evicted_bytes_total, "Their bytes.");
    add("object_block_held_bytes", "gauge", block_held_bytes, "Bytes of objects that the cache holds.");
    add("object_requests_total", "counter", requests_total, "Requests for parts of objects, not counting repetitions.");
    add("object_fetched_bytes_total", "counter", fetched_bytes_total, "Bytes of objects that came.");
    text
}
