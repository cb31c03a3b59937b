//! Thread-safe counters and histograms for metrics.
//!
//! Adding is a few relaxed atomic additions: no lock, no allocation. Counters are read one by one,
//! so they are not a consistent snapshot. Labels are from closed sets: codes that functions answer
//! are guest text, and are counted together as [`ANSWER`].

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Distribution, Metric, Sample, Value};
use crate::{Ending, Failure};

/// A counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Count so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A reading without labels.
    #[must_use]
    pub fn read(&self, metric: &'static Metric) -> Sample {
        Sample::count(metric, self.get())
    }
}

/// The label of endings that are no failure.
pub const BLAME_NONE: &str = "none";
/// The code of a task that has a result.
pub const COMPLETED: &str = "completed";
/// The code of a task whose job was cancelled.
pub const CANCELLED: &str = "cancelled";
/// The code under which a function's own codes are counted.
pub const ANSWER: &str = "answer";

/// Blame and code of every ending, in the order in which they are counted.
const ENDINGS: [(&str, &str); 25] = [
    (BLAME_NONE, COMPLETED),
    (BLAME_NONE, CANCELLED),
    ("guest", ANSWER),
    ("guest", "trapped"),
    ("guest", "memory-limit"),
    ("guest", "wall-time-limit"),
    ("guest", "cpu-time-limit"),
    ("guest", "stack-overflow"),
    ("guest", "result-too-large"),
    ("guest", "written-limit"),
    ("input", "input-malformed"),
    ("input", "input-missing"),
    ("input", "input-denied"),
    ("input", "input-changed"),
    ("input", "input-unavailable"),
    ("platform", "component-unusable"),
    ("platform", "worker-lost"),
    ("platform", "host-error"),
    ("platform", "store-unusable"),
    ("platform", "store-unavailable"),
    ("platform", "result-lost"),
    ("guest", "component-unusable"),
    ("guest", "grant-missing"),
    ("guest", "limit-refused"),
    ("guest", "store-quota"),
];

/// Upper bounds of buckets of time, in seconds: from the dispatch of an empty task (10 µs) to the
/// longest time that tasks usually have (5 min), in steps of two to ten.
const SECONDS: [f64; 16] = [
    0.000_01, 0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0, 300.0,
];
/// Upper bounds of buckets of sizes, in bytes: from an argument of a few numbers to the largest
/// objects that fit into a machine, in steps of eight.
const BYTES: [f64; 10] = [
    64.0,
    512.0,
    4_096.0,
    32_768.0,
    262_144.0,
    2_097_152.0,
    16_777_216.0,
    134_217_728.0,
    1_073_741_824.0,
    8_589_934_592.0,
];

/// Counts endings of tasks or attempts by blame and code.
#[derive(Debug)]
pub struct EndingCounter([Counter; ENDINGS.len()]);

impl Default for EndingCounter {
    fn default() -> Self {
        Self(array::from_fn(|_| Counter::default()))
    }
}

impl EndingCounter {
    /// Count an ending.
    pub fn add(&self, ending: &Ending) {
        if let Some(count) = self.0.get(position(ending)) {
            count.add(1);
        }
    }

    /// A reading for each blame and code, those at zero included.
    pub fn read(&self, metric: &'static Metric) -> impl Iterator<Item = Sample> {
        ENDINGS
            .iter()
            .zip(&self.0)
            .map(move |((blame, code), count)| Sample {
                metric,
                labels: vec![("blame", blame), ("code", code)],
                value: Value::Count(count.get()),
            })
    }
}

/// Counts observations by size. The bucket past the last bound is the last count.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    counts: [Counter; N],
    above: Counter,
    /// In nanoseconds or bytes.
    sum: Counter,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            counts: array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum: Counter::default(),
        }
    }

    fn observe(&self, value: f64, exact: u64) {
        let position = self.bounds.partition_point(|bound| *bound < value);
        self.counts.get(position).unwrap_or(&self.above).add(1);
        self.sum.add(exact);
    }

    /// A reading; `unit` is what one unit of the sum is in the metric's unit.
    fn read(&self, metric: &'static Metric, unit: f64) -> Sample {
        let mut count = 0;
        let buckets = self.bounds.iter().zip(&self.counts);
        let buckets = buckets
            .map(|(bound, here)| {
                count += here.get();
                (*bound, count)
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
        let sum = self.sum.get() as f64 * unit;
        let count = count + self.above.get();
        let distribution = Distribution {
            buckets,
            count,
            sum,
        };
        Sample::new(metric, Value::Distribution(distribution))
    }
}

/// A histogram of times, from 10 µs to 5 min.
#[derive(Debug)]
pub struct Times(Histogram<{ SECONDS.len() }>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(&SECONDS))
    }
}

impl Times {
    /// Count a time.
    pub fn observe(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.observe(time.as_secs_f64(), nanos);
    }

    /// A reading, in the metric's unit.
    #[must_use]
    pub fn read(&self, metric: &'static Metric) -> Sample {
        self.0.read(metric, 1e-9)
    }
}

/// A histogram of sizes, from 64 B to 8 GiB.
#[derive(Debug)]
pub struct Sizes(Histogram<{ BYTES.len() }>);

impl Default for Sizes {
    fn default() -> Self {
        Self(Histogram::new(&BYTES))
    }
}

impl Sizes {
    /// Count a size.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only compared with coarse bounds"
    )]
    pub fn observe(&self, bytes: u64) {
        self.0.observe(bytes as f64, bytes);
    }

    /// A reading, in the metric's unit.
    #[must_use]
    pub fn read(&self, metric: &'static Metric) -> Sample {
        self.0.read(metric, 1.0)
    }
}

/// Blame and code of an ending, as they are counted.
#[must_use]
pub fn labels(ending: &Ending) -> (&'static str, &'static str) {
    ENDINGS
        .get(position(ending))
        .copied()
        .unwrap_or(("platform", "host-error"))
}

/// Where an ending is counted.
fn position(ending: &Ending) -> usize {
    match ending {
        Ending::Completed(_) => 0,
        Ending::Cancelled => 1,
        Ending::Failed(Failure::Answer { .. }) => 2,
        Ending::Failed(failure) => fixed(failure).unwrap_or(ENDINGS.len()),
    }
}

/// Where a failure of the platform's is counted; all have a place, as a test shows. One code may be
/// there under two blames.
fn fixed(failure: &Failure) -> Option<usize> {
    let of = (failure.blame().as_str(), failure.code());
    ENDINGS.iter().position(|ending| *ending == of)
}

#[cfg(test)]
mod tests {
    use crate::outcome::{InputFault, Limit, PlatformFault, Refusal};

    use super::*;

    const RUN: Metric = Metric::histogram("run_seconds", "Run time.");

    /// One failure for each fixed code.
    fn failures() -> Vec<Failure> {
        let message = String::new;
        let size = crate::ByteSize(0);
        let limits = [
            Limit::Memory(size),
            Limit::WallTime(Duration::ZERO),
            Limit::CpuTime(Duration::ZERO),
            Limit::Stack(size),
            Limit::Result(size),
            Limit::OutputBytes(size),
        ];
        let inputs = [
            InputFault::Malformed,
            InputFault::Missing,
            InputFault::Denied,
            InputFault::Changed,
            InputFault::Unavailable,
        ];
        let platform = [
            PlatformFault::Component,
            PlatformFault::WorkerLost,
            PlatformFault::Host,
            PlatformFault::StoreUnusable,
            PlatformFault::StoreUnavailable,
            PlatformFault::ResultLost,
        ];
        let mut failures = vec![Failure::trapped(message())];
        failures.extend(limits.map(Failure::stopped));
        failures.extend(inputs.map(|fault| Failure::Input {
            fault,
            message: message(),
        }));
        failures.extend(platform.map(|fault| Failure::Platform {
            fault,
            message: message(),
        }));
        let refusals = [
            Refusal::Component,
            Refusal::Grant,
            Refusal::Limit,
            Refusal::Quota,
        ];
        failures.extend(refusals.map(|refusal| Failure::Refused {
            refusal,
            message: message(),
        }));
        failures
    }

    #[test]
    fn each_fixed_code_is_counted_under_itself_and_its_blame() {
        let failures = failures();
        assert_eq!(failures.len() + 3, ENDINGS.len());
        for failure in failures {
            let blame_and_code = (failure.blame().as_str(), failure.code().to_owned());
            let (blame, code) = labels(&Ending::Failed(failure));
            assert_eq!((blame, code.to_owned()), blame_and_code);
        }
    }

    #[test]
    fn a_functions_own_code_is_never_a_label() {
        let answer = Failure::Answer {
            code: "host-error".into(),
            message: String::new(),
            retry: None,
        };
        assert_eq!(labels(&Ending::Failed(answer)), ("guest", ANSWER));
    }

    #[test]
    fn buckets_are_cumulative_and_their_bounds_inclusive() {
        let times = Times::default();
        for millis in [1, 2, 1_000_000] {
            times.observe(Duration::from_millis(millis));
        }
        let Value::Distribution(read) = times.read(&RUN).value else {
            panic!("a histogram");
        };
        let at = |bound: f64| {
            read.buckets
                .iter()
                .find(|(b, _)| (*b - bound).abs() < 1e-12)
        };
        assert_eq!(at(0.000_5).unwrap().1, 0);
        assert_eq!(at(0.001).unwrap().1, 1);
        assert_eq!(at(0.002_5).unwrap().1, 2);
        assert_eq!((read.buckets.last().unwrap().1, read.count), (2, 3));
        assert!((read.sum - 1_000.003).abs() < 1e-6);
    }
}
