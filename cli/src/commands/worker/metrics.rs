//! Renders metrics in Prometheus' text format, version 0.0.4.
//!
//! Names and help texts are constants of the crates that count. They are public: renaming a metric
//! breaks dashboards.

use std::fmt::{self, Write as _};

use sortie::objects::{DiskMetrics, Metrics};
use sortie::protocol::metric::{Distribution, Kind, Sample, Value};
use sortie_host::Worker;

/// The metrics of a worker.
pub(super) fn text(worker: &Worker) -> String {
    let mut samples = worker.metrics();
    samples.extend(objects(&worker.objects()));
    render(&samples)
}

/// Samples as text. The samples of one metric must be adjacent.
fn render(samples: &[Sample]) -> String {
    let mut text = String::new();
    let mut last = None;
    for sample in samples {
        let name = sample.metric.name;
        if last != Some(name) {
            let kind = match sample.metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = sample.metric.help;
            let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            last = Some(name);
        }
        let _infallible = write_sample(&mut text, sample);
    }
    text
}

fn write_sample(text: &mut String, sample: &Sample) -> fmt::Result {
    let name = sample.metric.name;
    let labels = Labels(&sample.labels, None);
    match &sample.value {
        Value::Count(count) => writeln!(text, "{name}{labels} {count}"),
        Value::Seconds(seconds) => writeln!(text, "{name}{labels} {seconds}"),
        Value::Distribution(Distribution {
            buckets,
            count,
            sum,
        }) => {
            for (bound, below) in buckets {
                let labels = Labels(&sample.labels, Some(*bound));
                writeln!(text, "{name}_bucket{labels} {below}")?;
            }
            let all = Labels(&sample.labels, Some(f64::INFINITY));
            writeln!(text, "{name}_bucket{all} {count}")?;
            writeln!(text, "{name}_sum{labels} {sum}")?;
            writeln!(text, "{name}_count{labels} {count}")
        }
    }
}

/// Labels in braces, with the upper bound if the sample is a histogram bucket.
struct Labels<'a>(&'a [(&'static str, &'static str)], Option<f64>);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '{';
        for (label, value) in self.0 {
            write!(f, "{separator}{label}=\"{value}\"")?;
            separator = ',';
        }
        if let Some(bound) = self.1 {
            let bound = if bound.is_infinite() {
                "+Inf".into()
            } else {
                bound.to_string()
            };
            write!(f, "{separator}le=\"{bound}\"")?;
            separator = ',';
        }
        if separator == ',' {
            f.write_char('}')
        } else {
            Ok(())
        }
    }
}

/// Metrics of reading objects, as samples.
fn objects(metrics: &Metrics) -> Vec<Sample> {
    let mut samples = vec![
        Sample::count(&names::BLOCK_HITS, metrics.block_hits_total),
        Sample::count(&names::BLOCK_MISSES, metrics.block_misses_total),
        Sample::count(&names::BLOCK_EVICTIONS, metrics.block_evictions_total),
        Sample::count(&names::BLOCK_EVICTED, metrics.block_evicted_bytes_total),
        Sample::count(&names::BLOCK_HELD, metrics.block_held_bytes),
        Sample::count(&names::REQUESTS, metrics.requests_total),
        Sample::count(&names::FETCHED, metrics.fetched_bytes_total),
    ];
    samples.extend(metrics.disk.iter().flat_map(disk));
    samples
}

fn disk(metrics: &DiskMetrics) -> [Sample; 9] {
    [
        Sample::count(&names::DISK_HITS, metrics.hits_total),
        Sample::count(&names::DISK_READ, metrics.read_bytes_total),
        Sample::count(&names::DISK_MISSES, metrics.misses_total),
        Sample::count(&names::DISK_WRITTEN, metrics.written_bytes_total),
        Sample::count(&names::DISK_SKIPPED, metrics.skipped_total),
        Sample::count(&names::DISK_FAILURES, metrics.failures_total),
        Sample::count(&names::DISK_EVICTIONS, metrics.evictions_total),
        Sample::count(&names::DISK_EVICTED, metrics.evicted_bytes_total),
        Sample::count(&names::DISK_HELD, metrics.held_bytes),
    ]
}

/// Names and help texts of the metrics of reading objects.
mod names {
    use sortie::protocol::metric::Metric;

    pub(super) const BLOCK_HITS: Metric = Metric::counter(
        "sortie_object_block_hits_total",
        "Block reads that were served from memory or joined a fetch in progress.",
    );
    pub(super) const BLOCK_MISSES: Metric = Metric::counter(
        "sortie_object_block_misses_total",
        "Block reads that missed memory.",
    );
    pub(super) const BLOCK_EVICTIONS: Metric = Metric::counter(
        "sortie_object_block_evictions_total",
        "Blocks evicted from memory to make room.",
    );
    pub(super) const BLOCK_EVICTED: Metric = Metric::counter(
        "sortie_object_block_evicted_bytes_total",
        "Bytes of blocks evicted from memory to make room.",
    );
    pub(super) const BLOCK_HELD: Metric = Metric::gauge(
        "sortie_object_block_held_bytes",
        "Bytes of blocks held in memory.",
    );
    pub(super) const REQUESTS: Metric = Metric::counter(
        "sortie_object_requests_total",
        "Requests for parts of objects, without retries.",
    );
    pub(super) const FETCHED: Metric = Metric::counter(
        "sortie_object_fetched_bytes_total",
        "Bytes of objects received.",
    );
    pub(super) const DISK_HITS: Metric = Metric::counter(
        "sortie_object_disk_hits_total",
        "Block reads that missed memory and were served from disk.",
    );
    pub(super) const DISK_READ: Metric = Metric::counter(
        "sortie_object_disk_read_bytes_total",
        "Bytes of blocks read from disk.",
    );
    pub(super) const DISK_MISSES: Metric = Metric::counter(
        "sortie_object_disk_misses_total",
        "Block reads that missed both memory and disk.",
    );
    pub(super) const DISK_WRITTEN: Metric = Metric::counter(
        "sortie_object_disk_written_bytes_total",
        "Bytes of blocks written to disk.",
    );
    pub(super) const DISK_SKIPPED: Metric = Metric::counter(
        "sortie_object_disk_skipped_total",
        "Blocks not written to disk because it was too slow or had failed.",
    );
    pub(super) const DISK_FAILURES: Metric = Metric::counter(
        "sortie_object_disk_failures_total",
        "Reads and writes of the disk that failed.",
    );
    pub(super) const DISK_EVICTIONS: Metric = Metric::counter(
        "sortie_object_disk_evictions_total",
        "Blocks removed from disk to make room.",
    );
    pub(super) const DISK_EVICTED: Metric = Metric::counter(
        "sortie_object_disk_evicted_bytes_total",
        "Bytes of blocks removed from disk to make room.",
    );
    pub(super) const DISK_HELD: Metric = Metric::gauge(
        "sortie_object_disk_held_bytes",
        "Bytes of blocks on disk, as far as this process knows.",
    );
}

#[cfg(test)]
mod tests {
    use sortie::protocol::metric::Metric;

    use super::*;

    const TASKS: Metric = Metric::counter("sortie_tasks_total", "Tasks.");
    const RUN: Metric = Metric::histogram("sortie_attempt_run_seconds", "Run time.");

    #[test]
    fn metrics_are_rendered_as_prometheus_reads_them() {
        let task = |code, count| Sample {
            metric: &TASKS,
            labels: vec![("blame", "none"), ("code", code)],
            value: Value::Count(count),
        };
        let run = Distribution {
            buckets: vec![(0.5, 1), (1.0, 2)],
            count: 3,
            sum: 7.25,
        };
        let samples = [
            task("completed", 3),
            task("cancelled", 0),
            Sample::new(&RUN, Value::Distribution(run)),
        ];
        assert_eq!(
            render(&samples),
            "# HELP sortie_tasks_total Tasks.\n\
             # TYPE sortie_tasks_total counter\n\
             sortie_tasks_total{blame=\"none\",code=\"completed\"} 3\n\
             sortie_tasks_total{blame=\"none\",code=\"cancelled\"} 0\n\
             # HELP sortie_attempt_run_seconds Run time.\n\
             # TYPE sortie_attempt_run_seconds histogram\n\
             sortie_attempt_run_seconds_bucket{le=\"0.5\"} 1\n\
             sortie_attempt_run_seconds_bucket{le=\"1\"} 2\n\
             sortie_attempt_run_seconds_bucket{le=\"+Inf\"} 3\n\
             sortie_attempt_run_seconds_sum 7.25\n\
             sortie_attempt_run_seconds_count 3\n"
        );
    }
}
