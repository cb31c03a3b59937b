//! Decides from a task's cost whether its result is worth caching.
//!
//! Pure but for one atomic count for each job.

use std::sync::atomic::{AtomicU32, Ordering};
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

/// How many of a job's latest runs on this host, in a row, were too cheap to share.
#[derive(Debug, Default)]
pub(crate) struct JobCosts {
    cheap_runs: AtomicU32,
}

impl JobCosts {
    /// Whether the shared memo is not worth asking for this job's tasks.
    pub(super) fn are_cheap(&self) -> bool {
        self.cheap_runs.load(Ordering::Relaxed) >= CHEAP_RUNS_MAX
    }

    /// A task was run.
    pub(crate) fn observe(&self, cost: Cost) {
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
