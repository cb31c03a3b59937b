//! Renders metrics in Prometheus' text format, version 0.0.4.

use std::fmt::{self, Write as _};

use sortie::protocol::metric::{Distribution, Kind, Sample, Value};
use sortie_broker::nats::NatsBroker;
use sortie_host::Worker;

/// The metrics of a worker and of its broker's connection.
pub(super) fn text(worker: &Worker, broker: &NatsBroker) -> String {
    let mut samples = worker.metrics();
    samples.extend(broker.metrics());
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
