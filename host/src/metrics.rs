//! The metrics of a host: names, units and help texts, and their instruments.

use std::time::Duration;

use sortie_protocol::metric::{Counter, EndingCounter, Metric, Sample, Sizes, Times};
use sortie_protocol::{Bill, Ending};

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
    "Bundles that are leased: running, waiting for inputs, or being reported.",
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
/// Counts tasks that ran where the task ran whose result they take.
pub const FOLLOWED: Metric = Metric::counter(
    "sortie_followed_tasks_total",
    "Tasks that ran right after the task whose result they take, without the broker in between.",
);
/// Counts panics of the host that were caught.
pub const PANICS: Metric = Metric::counter(
    "sortie_worker_panics_total",
    "Panics of the worker's own code, each a bug of Sortie.",
);

/// Counts and times what a host does, from the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    tasks: EndingCounter,
    attempts: EndingCounter,
    queue: Times,
    fetch: Times,
    load: Times,
    run: Times,
    store: Times,
    cpu: Times,
    memory_peak: Sizes,
    input: Sizes,
    output: Sizes,
    leases_lost: Counter,
    memo_local: Counter,
    memo_shared: Counter,
    memo_misses: Counter,
    followed: Counter,
    panics: Counter,
}

impl Metrics {
    /// A task's outcome is reported.
    pub(crate) fn task(&self, ending: &Ending) {
        self.tasks.add(ending);
    }

    /// An attempt ended. One whose result was known did not run, and one that was cancelled says
    /// nothing about the work: their times and sizes are not observed.
    pub(crate) fn attempt(&self, ending: &Ending, bill: &Bill) {
        self.attempts.add(ending);
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
        counter.add(1);
    }

    /// A lease was lost.
    pub(crate) fn lease_lost(&self) {
        self.leases_lost.add(1);
    }

    /// A task ran where the one ran whose result it takes.
    pub(crate) fn followed(&self) {
        self.followed.add(1);
    }

    /// The host panicked.
    pub(crate) fn panicked(&self) {
        self.panics.add(1);
    }

    /// A reading of all of it.
    #[must_use]
    pub fn read(&self) -> Vec<Sample> {
        let tier = |tier, counter: &Counter| Sample {
            labels: vec![("tier", tier)],
            ..counter.read(&MEMO_HITS)
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
            self.leases_lost.read(&LEASES_LOST),
            tier("local", &self.memo_local),
            tier("shared", &self.memo_shared),
            self.memo_misses.read(&MEMO_MISSES),
            self.followed.read(&FOLLOWED),
            self.panics.read(&PANICS),
        ]);
        samples
    }
}
