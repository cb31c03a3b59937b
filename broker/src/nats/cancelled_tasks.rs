//! Remembers which tasks were cancelled lately, for bundles that come after the notice.
//!
//! What is forgotten here costs a run in vain: the task has its outcome, and no other counts.
//!
//! Bounds: [`JOBS_MAX`] jobs, [`RANGES_MAX`] ranges of indices together, some 50 bytes each.

use std::collections::HashMap;

use parking_lot::Mutex;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::seen::Seen;
use sortie_protocol::{Bundle, JobKey, TaskIndex};

use crate::traits::{Cancellation, Lease};

/// How many jobs are remembered.
const JOBS_MAX: usize = 256;
/// How many ranges of indices are remembered. A tenant that cancels tasks which lie apart makes one
/// for each.
const RANGES_MAX: usize = 64 << 10;

/// A notice about a job: that it was cancelled as a whole, or some of its tasks. One that cannot be
/// read says nothing.
pub(super) fn parse(key: JobKey, notice: &[u8]) -> Option<Cancellation> {
    if notice.is_empty() {
        return Some(Cancellation::Job(key));
    }
    match envelope::decode(notice) {
        Ok(Message::TasksCancelled(tasks)) => Some(Cancellation::Tasks(key, tasks.into())),
        Ok(_) | Err(_) => None,
    }
}

/// The tasks that were cancelled, by job.
#[derive(Debug, Default)]
pub(super) struct CancelledTasks(Mutex<HashMap<JobKey, Seen>>);

impl CancelledTasks {
    /// Remember these. Where there is no room, all others are forgotten.
    pub(super) fn add(&self, key: JobKey, tasks: &[TaskIndex]) {
        let mut jobs = self.0.lock();
        let ranges: usize = jobs.values().map(Seen::ranges).sum();
        let is_full = jobs.len() >= JOBS_MAX && !jobs.contains_key(&key);
        if is_full || ranges.saturating_add(tasks.len()) > RANGES_MAX {
            jobs.clear();
        }
        let seen = jobs.entry(key).or_default();
        for task in tasks.iter().take(RANGES_MAX) {
            seen.insert(*task);
        }
    }

    /// Those of a lease.
    pub(super) fn of(&self, lease: &Lease) -> Option<Cancellation> {
        let jobs = self.0.lock();
        let cancelled = jobs.get(&lease.job.key)?;
        Cancellation::tasks_of(lease, |task| cancelled.contains(*task))
    }

    /// Take the tasks that were cancelled out of a bundle.
    pub(super) fn take_out(&self, bundle: &mut Bundle) {
        let jobs = self.0.lock();
        if let Some(cancelled) = jobs.get(&bundle.job) {
            bundle.tasks.retain(|task| !cancelled.contains(task.index));
        }
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::{JobId, Task, TenantId, Timestamp};

    use super::*;

    fn key(number: u64) -> JobKey {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes(id),
        }
    }

    fn left(cancelled: &CancelledTasks, job: JobKey) -> Vec<TaskIndex> {
        let task = |index| Task {
            index,
            arguments: Vec::new(),
            function: 0,
            input: None,
            then: Vec::new(),
        };
        let mut bundle = Bundle {
            job,
            attempts_before: 0,
            lost_before: 0,
            published: Timestamp::default(),
            tasks: (0..4).map(task).collect(),
        };
        cancelled.take_out(&mut bundle);
        bundle.tasks.iter().map(|task| task.index).collect()
    }

    #[test]
    fn tasks_that_were_cancelled_are_taken_out_of_their_job_only() {
        let cancelled = CancelledTasks::default();
        cancelled.add(key(1), &[1, 3]);
        assert_eq!(left(&cancelled, key(1)), [0, 2]);
        assert_eq!(left(&cancelled, key(2)), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let cancelled = CancelledTasks::default();
        for job in 0..2 * JOBS_MAX as u64 {
            cancelled.add(key(job), &[1]);
            assert_eq!(left(&cancelled, key(job)), [0, 2, 3]);
        }
        assert!(cancelled.0.lock().len() <= JOBS_MAX);
        let apart: Vec<TaskIndex> = (0..1024).map(|index| 2 * index).collect();
        for job in 0..2 * RANGES_MAX as u64 / 1024 {
            cancelled.add(key(job), &apart);
        }
        let ranges: usize = cancelled.0.lock().values().map(Seen::ranges).sum();
        assert!(ranges <= RANGES_MAX, "{ranges}");
    }
}
