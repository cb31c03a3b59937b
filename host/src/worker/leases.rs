//! The leases that a worker has in work, from being pulled to being reported, and what stops their
//! tasks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_broker::{Cancellation, Lease};
use sortie_protocol::{Bundle, JobKey, LeaseId, TaskIndex};

use super::lifecycle::{Lifecycle, Phase};
use crate::sandbox::Cancel;

/// Leases in work.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<LeaseId, InWork>>);

/// A lease in work.
#[derive(Debug)]
struct InWork {
    job: JobKey,
    bundle: Arc<Bundle>,
    /// Ends its tasks.
    cancel: Arc<Cancel>,
    /// Its tasks have ended and the broker is being told: it is no longer a lease there.
    reporting: bool,
}

/// Keeps a lease among those in work.
#[derive(Debug)]
pub(super) struct Guard<'l> {
    leases: &'l Leases,
    lease: LeaseId,
    /// Ends its tasks.
    pub(super) cancel: Arc<Cancel>,
}

impl Guard<'_> {
    /// Its tasks have ended, and the broker is about to be told.
    pub(super) fn reports(&self) {
        if let Some(in_work) = self.leases.0.lock().get_mut(&self.lease) {
            in_work.reporting = true;
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.leases.0.lock().remove(&self.lease);
    }
}

impl Leases {
    /// Keep a lease among those in work while the guard lives.
    pub(super) fn hold(&self, lease: &Lease, lifecycle: &Lifecycle) -> Guard<'_> {
        let cancel = Arc::<Cancel>::default();
        self.0.lock().insert(
            lease.id,
            InWork {
                job: lease.job.key,
                bundle: lease.bundle.clone(),
                cancel: cancel.clone(),
                reporting: false,
            },
        );
        // Either this sees that the worker has stopped, or `stop_all` sees the lease.
        if lifecycle.phase() == Phase::Stopped {
            cancel.cancel();
        }
        Guard {
            leases: self,
            lease: lease.id,
            cancel,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Those whose tasks run: the broker still counts them as leases.
    pub(super) fn running(&self) -> Vec<LeaseId> {
        self.0
            .lock()
            .iter()
            .filter(|(_, in_work)| !in_work.reporting)
            .map(|(lease, _)| *lease)
            .collect()
    }

    /// End the tasks of a lease that the broker took back, and say of which job it was; nothing if
    /// it is being reported or is not in work any more.
    pub(super) fn stop_lost(&self, lease: LeaseId) -> Option<JobKey> {
        let leases = self.0.lock();
        let in_work = leases.get(&lease).filter(|in_work| !in_work.reporting)?;
        in_work.cancel.cancel();
        Some(in_work.job)
    }

    /// End what is cancelled.
    pub(super) fn stop(&self, cancelled: &Cancellation) {
        match cancelled {
            Cancellation::Job(job) => self.stop_job(*job),
            Cancellation::Tasks(job, tasks) => self.stop_tasks(*job, tasks),
        }
    }

    /// End the tasks of a job.
    fn stop_job(&self, job: JobKey) {
        for in_work in self.0.lock().values().filter(|lease| lease.job == job) {
            in_work.cancel.cancel();
        }
    }

    /// End some tasks of a job, wherever they are.
    fn stop_tasks(&self, job: JobKey, tasks: &[TaskIndex]) {
        let tasks: HashSet<_> = tasks.iter().copied().collect();
        for in_work in self.0.lock().values().filter(|lease| lease.job == job) {
            let named: Vec<_> = in_work
                .bundle
                .tasks
                .iter()
                .map(|task| task.index)
                .filter(|index| tasks.contains(index))
                .collect();
            if !named.is_empty() {
                in_work.cancel.cancel_tasks(named);
            }
        }
    }

    /// End all tasks.
    pub(super) fn stop_all(&self) {
        for in_work in self.0.lock().values() {
            in_work.cancel.cancel();
        }
    }
}
