//! Decides how many tasks go into one bundle.
//!
//! A bundle's fixed cost (a message, a lease, an acknowledgement, a wake-up) is shared by its
//! tasks, so short tasks are bundled; but a bundle runs on one core, so long tasks must not be. The
//! packer measures how long tasks take and aims at [`TARGET`] of work per bundle. It starts with
//! single tasks, because nothing is known yet and the first outcome should come soon, and at most
//! doubles from one bundle to the next.

use std::time::Duration;

use crate::task::Task;

/// The work one bundle should hold: long against the fixed cost (about 20 µs in process, 200 µs
/// through a broker), short enough not to be noticed and not to cause imbalance at the end of a
/// job.
pub const TARGET: Duration = Duration::from_millis(20);
/// Maximum total weight of a bundle's tasks: a broker message stays far below 1 MiB. A heavier task
/// gets its own bundle.
pub const WEIGHT_MAX: usize = 64 << 10;
/// Maximum number of tasks in a bundle: bounds how much a lost lease repeats.
pub const TASKS_MAX: usize = 1024;
/// Weight of the newest measurement in the running mean.
const SMOOTHING: f64 = 0.25;

/// Decides the size of the next bundle.
#[derive(Debug, Clone)]
pub struct Packer {
    task_seconds: Option<f64>,
    tasks: usize,
}

impl Default for Packer {
    fn default() -> Self {
        Self {
            task_seconds: None,
            tasks: 1,
        }
    }
}

impl Packer {
    /// Record that `tasks` tasks together took `work` on their core.
    pub fn observe(&mut self, tasks: usize, work: Duration) {
        if tasks == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a bundle's tasks are few")]
        let seconds = work.as_secs_f64() / tasks as f64;
        let mean = self
            .task_seconds
            .map_or(seconds, |mean| mean + SMOOTHING * (seconds - mean));
        self.task_seconds = Some(mean);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 1..=TASKS_MAX right after"
        )]
        let fit = (TARGET.as_secs_f64() / mean.max(1e-9)) as usize;
        self.tasks = fit.clamp(1, TASKS_MAX).min(self.tasks.saturating_mul(2));
    }

    /// The number of tasks for the next bundle, when `left` tasks are left (`None` if unknown) for
    /// `slots` worker slots. Near the end of a job the rest is spread, so that no slot gets all of
    /// it.
    #[must_use]
    pub fn tasks(&self, left: Option<u64>, slots: usize) -> usize {
        let share = left.map_or(usize::MAX, |left| {
            usize::try_from(left / (2 * slots.max(1) as u64)).unwrap_or(usize::MAX)
        });
        self.tasks.min(share).max(1)
    }
}

/// Collects tasks until a bundle is full.
#[derive(Debug, Default)]
pub struct Collector {
    tasks: Vec<Task>,
    weight: usize,
}

impl Collector {
    /// Add `task`. If it does not fit, the tasks collected so far are returned as a bundle, and
    /// `task` starts the next one.
    pub fn push(&mut self, task: Task) -> Option<Vec<Task>> {
        let weight = task.weight();
        let full = if self.weight + weight > WEIGHT_MAX {
            self.take()
        } else {
            None
        };
        self.weight += weight;
        self.tasks.push(task);
        full
    }

    /// How many are collected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// The task that was collected first.
    #[must_use]
    pub fn first(&self) -> Option<&Task> {
        self.tasks.first()
    }

    /// Whether none is collected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The collected tasks, if any.
    pub fn take(&mut self) -> Option<Vec<Task>> {
        self.weight = 0;
        let tasks = std::mem::take(&mut self.tasks);
        (!tasks.is_empty()).then_some(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::argument::Argument;

    #[test]
    fn bundles_start_single_and_grow_towards_the_target() {
        let mut packer = Packer::default();
        let mut sizes = vec![packer.tasks(None, 2)];
        for _ in 0..12 {
            let tasks = packer.tasks(None, 2);
            packer.observe(
                tasks,
                Duration::from_micros(200) * u32::try_from(tasks).unwrap(),
            );
            sizes.push(packer.tasks(None, 2));
        }
        assert_eq!(
            sizes,
            [1, 2, 4, 8, 16, 32, 64, 100, 100, 100, 100, 100, 100]
        );
    }

    #[test]
    fn long_tasks_travel_alone() {
        let mut packer = Packer::default();
        packer.observe(1, Duration::from_millis(80));
        assert_eq!(packer.tasks(None, 2), 1);
    }

    #[test]
    fn the_tail_is_spread() {
        let mut packer = Packer::default();
        for _ in 0..11 {
            packer.observe(1, Duration::from_micros(1));
        }
        assert_eq!(packer.tasks(None, 2), TASKS_MAX);
        assert_eq!(packer.tasks(Some(100), 2), 25);
        assert_eq!(packer.tasks(Some(3), 2), 1);
    }

    #[test]
    fn heavy_tasks_split_a_bundle() {
        let task = |index, bytes| Task {
            function: 0,
            index,
            arguments: vec![Argument::Value(vec![0; bytes].into())],
            input: None,
            then: Vec::new(),
        };
        let mut collector = Collector::default();
        assert_eq!(collector.push(task(0, 40_000)), None);
        assert_eq!(
            collector.push(task(1, 40_000)).map(|tasks| tasks.len()),
            Some(1)
        );
        assert_eq!(
            collector.push(task(2, 1_000_000)).map(|tasks| tasks.len()),
            Some(1)
        );
        assert_eq!(collector.take().map(|tasks| tasks.len()), Some(1));
        assert_eq!(collector.take(), None);
    }
}
