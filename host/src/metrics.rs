//! The metrics of a host: names, units and sentences, and the counters behind them.
//!
//! Counting is a few relaxed atomic additions for each attempt: no lock, no allocation. Readings
//! are taken one by one, so they may differ by what happens in between. Labels are from closed
//! sets: codes that functions answer are guest text and are counted together as [`ANSWER`].

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sortie_protocol::metric::{Distribution, Metric, Sample, Value};
use sortie_protocol::{Bill, Ending, Failure};

use crate::memo::Tier;

/// Counts outcomes that this worker reported.
pub const TASKS: Metric = Metric::counter(
    "sortie_tasks_total",
    "Tasks that ended on this worker, by blame and code.",
);
/// Counts attempts, also those that are repeated.
pub const ATTEMPTS: Metric = Metric::counter(
    "sortie_attempts_total",
    "Attempts that ended on this worker, by blame and code; a task may take several.",
);
/// Times the queue of each attempt.
pub const QUEUE: Metric = Metric::histogram(
    "sortie_attempt_queue_seconds",
    "Time from publishing a task to starting its attempt.",
);
/// Times reading of inputs.
pub const FETCH: Metric = Metric::histogram(
    "sortie_attempt_fetch_seconds",
    "Time that an attempt waited for its inputs.",
);
/// Times loading of components.
pub const COMPILE: Metric = Metric::histogram(
    "sortie_component_load_seconds",
    "Time to compile a component, or to load its compiled code from disk.",
);
/// Times running.
pub const RUN: Metric = Metric::histogram(
    "sortie_attempt_run_seconds",
    "Time that an attempt ran, without waiting for inputs and for the store.",
);
/// Times waiting for the store.
pub const STORE: Metric = Metric::histogram(
    "sortie_attempt_store_seconds",
    "Time that an attempt waited for the store to take its outputs.",
);
/// Times computing.
pub const CPU: Metric = Metric::histogram("sortie_attempt_cpu_seconds", "CPU time of an attempt.");
/// Sizes of linear memories.
pub const MEMORY_PEAK: Metric = Metric::histogram(
    "sortie_attempt_memory_peak_bytes",
    "Largest size of the linear memories of an attempt.",
);
/// Sizes of inputs.
pub const INPUT: Metric = Metric::histogram(
    "sortie_attempt_input_bytes",
    "Bytes of arguments and inputs that an attempt read.",
);
/// Sizes of outputs.
pub const OUTPUT: Metric = Metric::histogram(
    "sortie_attempt_output_bytes",
    "Bytes of the result and the objects that an attempt made.",
);
/// The bundles leased now.
pub const LEASES: Metric = Metric::gauge(
    "sortie_worker_leased_bundles",
    "Bundles that are leased: in work, waiting for inputs, or being reported.",
);
/// Counts lost leases.
pub const LEASES_LOST: Metric = Metric::counter(
    "sortie_worker_leases_lost_total",
    "Leases that ended before their bundle was reported: expired, or of a cancelled job.",
);
/// The slots busy now.
pub const SLOTS_BUSY: Metric = Metric::gauge(
    "sortie_worker_busy_slots",
    "Slots that have a leased bundle; bundles leased ahead do not count.",
);
/// The permits in use now.
pub const COMPUTE_PERMITS: Metric =
    Metric::gauge("sortie_worker_compute_permits", "Compute permits in use.");
/// What tasks in work hold of the worker's memory.
pub const MEMORY_CLAIMED: Metric = Metric::gauge(
    "sortie_worker_memory_claimed_bytes",
    "Memory that tasks in work have claimed: their limits, arguments and results.",
);
/// The worker's memory for tasks.
pub const MEMORY_TASKS: Metric = Metric::gauge(
    "sortie_worker_memory_tasks_bytes",
    "Memory that there is for tasks in work, all of them together.",
);
/// Counts memo hits; the label `tier` is `local` or `shared`.
pub const MEMO_HITS: Metric = Metric::counter(
    "sortie_memo_hits_total",
    "Results that were taken from the memo, by tier.",
);
/// Counts memo misses.
pub const MEMO_MISSES: Metric = Metric::counter(
    "sortie_memo_misses_total",
    "Lookups in the memo that found no result.",
);
/// Counts panics of the host that were caught.
pub const PANICS: Metric = Metric::counter(
    "sortie_worker_panics_total",
    "Panics of the worker's own code, each a bug of Sortie.",
);

/// The label of endings that are no failure.
pub const BLAME_NONE: &str = "none";
/// The code of a task that has a result.
pub const COMPLETED: &str = "completed";
/// The code of a task whose job was cancelled.
pub const CANCELLED: &str = "cancelled";
/// The code under which a function's own codes are counted.
pub const ANSWER: &str = "answer";

/// Blame and code of every ending, in the order in which they are counted.
const ENDINGS: [(&str, &str); 23] = [
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
    ("guest", "component-unusable"),
    ("guest", "grant-missing"),
    ("guest", "limit-refused"),
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

/// Counts endings by blame and code.
#[derive(Debug)]
struct Endings([AtomicU64; ENDINGS.len()]);

impl Default for Endings {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Endings {
    fn add(&self, position: usize) {
        if let Some(count) = self.0.get(position) {
            add(count, 1);
        }
    }

    fn read(&self, metric: &'static Metric) -> impl Iterator<Item = Sample> {
        ENDINGS
            .iter()
            .zip(&self.0)
            .map(move |((blame, code), count)| Sample {
                metric,
                labels: vec![("blame", blame), ("code", code)],
                value: Value::Count(get(count)),
            })
    }
}

/// Counts observations by size. The bucket past the last bound is the last count.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    /// In nanoseconds or bytes.
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            counts: array::from_fn(|_| AtomicU64::new(0)),
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: f64, exact: u64) {
        let position = self.bounds.partition_point(|bound| *bound < value);
        add(self.counts.get(position).unwrap_or(&self.above), 1);
        add(&self.sum, exact);
    }

    /// A reading; `unit` is what one unit of the sum is in the metric's unit.
    fn read(&self, metric: &'static Metric, unit: f64) -> Sample {
        let mut count = 0;
        let buckets = self.bounds.iter().zip(&self.counts);
        let buckets = buckets
            .map(|(bound, here)| {
                count += get(here);
                (*bound, count)
            })
            .collect();
        #[expect(clippy::cast_precision_loss, reason = "a sum for people")]
        let sum = get(&self.sum) as f64 * unit;
        let count = count + get(&self.above);
        let distribution = Distribution {
            buckets,
            count,
            sum,
        };
        Sample::new(metric, Value::Distribution(distribution))
    }
}

/// A histogram of times.
#[derive(Debug)]
struct Times(Histogram<{ SECONDS.len() }>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(&SECONDS))
    }
}

impl Times {
    fn observe(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.observe(time.as_secs_f64(), nanos);
    }

    fn read(&self, metric: &'static Metric) -> Sample {
        self.0.read(metric, 1e-9)
    }
}

/// A histogram of sizes.
#[derive(Debug)]
struct Sizes(Histogram<{ BYTES.len() }>);

impl Default for Sizes {
    fn default() -> Self {
        Self(Histogram::new(&BYTES))
    }
}

impl Sizes {
    #[expect(
        clippy::cast_precision_loss,
        reason = "only compared with coarse bounds"
    )]
    fn observe(&self, bytes: u64) {
        self.0.observe(bytes as f64, bytes);
    }

    fn read(&self, metric: &'static Metric) -> Sample {
        self.0.read(metric, 1.0)
    }
}

/// Counts and times what a host does, from the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    tasks: Endings,
    attempts: Endings,
    queue: Times,
    fetch: Times,
    load: Times,
    run: Times,
    store: Times,
    cpu: Times,
    memory_peak: Sizes,
    input: Sizes,
    output: Sizes,
    leases_lost: AtomicU64,
    memo_local: AtomicU64,
    memo_shared: AtomicU64,
    memo_misses: AtomicU64,
    panics: AtomicU64,
}

impl Metrics {
    /// A task's outcome is reported.
    pub(crate) fn task(&self, ending: &Ending) {
        self.tasks.add(position(ending));
    }

    /// An attempt ended. One whose result was known did not run, and one that was cancelled says
    /// nothing about the work: their times and sizes are not observed.
    pub(crate) fn attempt(&self, ending: &Ending, bill: &Bill) {
        self.attempts.add(position(ending));
        self.queue.observe(bill.queue);
        if bill.cached || matches!(ending, Ending::Cancelled) {
            return;
        }
        self.fetch.observe(bill.fetch);
        self.run.observe(bill.run);
        self.store.observe(bill.store);
        self.cpu.observe(bill.cpu);
        self.memory_peak.observe(bill.memory_peak.as_u64());
        self.input.observe(bill.bytes_in.as_u64());
        self.output.observe(bill.bytes_out.as_u64());
    }

    /// A component was loaded.
    pub(crate) fn loaded(&self, time: Duration) {
        self.load.observe(time);
    }

    /// The memo was asked, and had the result in this tier or not at all.
    pub(crate) fn memo(&self, tier: Option<Tier>) {
        let counter = match tier {
            Some(Tier::Local) => &self.memo_local,
            Some(Tier::Shared) => &self.memo_shared,
            None => &self.memo_misses,
        };
        add(counter, 1);
    }

    /// A lease was lost.
    pub(crate) fn lease_lost(&self) {
        add(&self.leases_lost, 1);
    }

    /// The host panicked.
    pub(crate) fn panicked(&self) {
        add(&self.panics, 1);
    }

    /// A reading of all of it.
    #[must_use]
    pub fn read(&self) -> Vec<Sample> {
        let tier = |tier, counter| Sample {
            metric: &MEMO_HITS,
            labels: vec![("tier", tier)],
            value: Value::Count(get(counter)),
        };
        let mut samples: Vec<_> = self.tasks.read(&TASKS).collect();
        samples.extend(self.attempts.read(&ATTEMPTS));
        samples.extend([
            self.queue.read(&QUEUE),
            self.fetch.read(&FETCH),
            self.load.read(&COMPILE),
            self.run.read(&RUN),
            self.store.read(&STORE),
            self.cpu.read(&CPU),
            self.memory_peak.read(&MEMORY_PEAK),
            self.input.read(&INPUT),
            self.output.read(&OUTPUT),
            Sample::count(&LEASES_LOST, get(&self.leases_lost)),
            tier("local", &self.memo_local),
            tier("shared", &self.memo_shared),
            Sample::count(&MEMO_MISSES, get(&self.memo_misses)),
            Sample::count(&PANICS, get(&self.panics)),
        ]);
        samples
    }
}

/// Blame and code of an ending, as they are counted.
pub(crate) fn labels(ending: &Ending) -> (&'static str, &'static str) {
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

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use sortie_protocol::outcome::{InputFault, Limit, PlatformFault, Refusal};

    use super::*;

    /// One failure for each fixed code.
    fn failures() -> Vec<Failure> {
        let message = String::new;
        let size = sortie_protocol::ByteSize(0);
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
        ];
        let mut failures = vec![Failure::Trapped { message: message() }];
        failures.extend(limits.map(|limit| Failure::Stopped { limit }));
        failures.extend(inputs.map(|fault| Failure::Input {
            fault,
            message: message(),
        }));
        failures.extend(platform.map(|fault| Failure::Platform {
            fault,
            message: message(),
        }));
        let refusals = [Refusal::Component, Refusal::Grant, Refusal::Limit];
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
