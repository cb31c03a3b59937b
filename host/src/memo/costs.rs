//! Decides from a task's cost whether its result is worth caching, and whether its function is
//! short.
//!
//! Pure but for two atomic numbers for each function of a job.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Minimum cost of a result that is cached in the local folder: writing a file takes about 50 µs.
/// Results of tasks that read objects are always cached, because opening objects costs more.
pub const WORTH_KEEPING: Duration = Duration::from_micros(200);
/// Minimum cost, reading included, of a result that is stored in the shared memo: about as long as
/// a lookup takes, and worth the price of the requests.
pub const SHARED_WORTH_KEEPING: Duration = Duration::from_millis(20);
/// After so many runs in a row that were too cheap for the shared memo, tasks of that job no longer
/// look results up there: a miss costs more than such a run. A run that is worth an entry resets
/// the count.
pub const CHEAP_RUNS_MAX: u32 = 32;

/// What a task cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Running, on a core.
    pub(crate) run: Duration,
    /// Waiting for reads.
    pub(crate) read: Duration,
    /// Whether there was anything to read.
    pub(crate) has_objects: bool,
}

impl Cost {
    pub(super) fn is_worth_keeping(self) -> bool {
        self.has_objects || self.run >= WORTH_KEEPING
    }

    pub(super) fn is_worth_sharing(self) -> bool {
        self.run + self.read >= SHARED_WORTH_KEEPING
    }
}

/// What the runs of a function of a job cost on this host.
#[derive(Debug, Default)]
pub(crate) struct JobCosts {
    /// How many of the latest, in a row, were too cheap to share.
    cheap_runs: AtomicU32,
    /// The mean in nanoseconds, of which the last run is half. None is zero.
    mean: AtomicU64,
}

impl JobCosts {
    /// Whether the shared memo is not worth asking for this job's tasks.
    pub(crate) fn are_cheap(&self) -> bool {
        self.cheap_runs.load(Ordering::Relaxed) >= CHEAP_RUNS_MAX
    }

    /// Whether a run takes less than this in the mean; not if there was none.
    pub(crate) fn are_below(&self, time: Duration) -> bool {
        let mean = self.mean.load(Ordering::Relaxed);
        mean > 0 && u128::from(mean) < time.as_nanos()
    }

    /// A task was run.
    pub(crate) fn observe(&self, cost: Cost) {
        let took = (cost.run + cost.read).as_nanos().max(1);
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        // Of runs that end at once, one may not count.
        let mean = match self.mean.load(Ordering::Relaxed) {
            0 => took,
            mean => mean / 2 + took / 2,
        };
        self.mean.store(mean.max(1), Ordering::Relaxed);
        if cost.is_worth_sharing() {
            self.cheap_runs.store(0, Ordering::Relaxed);
        } else {
            // Bounded by the number of tasks, and read with `>=`.
            self.cheap_runs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_cheap_tasks_is_known_as_one_until_a_task_is_dear() {
        let cost = |milliseconds| Cost {
            run: Duration::from_millis(milliseconds),
            read: Duration::from_millis(10),
            has_objects: true,
        };
        let costs = JobCosts::default();
        for _ in 0..CHEAP_RUNS_MAX {
            assert!(!costs.are_cheap());
            costs.observe(cost(9));
        }
        assert!(costs.are_cheap());
        costs.observe(cost(10));
        assert!(!costs.are_cheap());
    }
}
