//! The contexts of the jobs whose tasks a worker runs.
//!
//! Bounds: [`JOBS_MAX`]. At the limit those without tasks in work are dropped; they are made again
//! when they are needed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_protocol::JobId;

use crate::attempt::JobContext;

/// Job contexts that are held: a few hundred bytes each, and their component.
pub const JOBS_MAX: usize = 256;

/// Job contexts by job.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<JobId, Arc<JobContext>>>);

impl Jobs {
    pub(super) fn get(&self, job: JobId) -> Option<Arc<JobContext>> {
        self.0.lock().get(&job).cloned()
    }

    /// Hold a context, unless there is one of the same job; returns the one that is held.
    pub(super) fn keep(&self, context: Arc<JobContext>) -> Arc<JobContext> {
        let mut jobs = self.0.lock();
        if jobs.len() >= JOBS_MAX {
            // Tasks in work hold theirs.
            jobs.retain(|_, context| Arc::strong_count(context) > 1);
        }
        jobs.entry(context.job().id).or_insert(context).clone()
    }

    /// Drop the context of a job that was cancelled.
    pub(super) fn remove(&self, job: JobId) {
        self.0.lock().remove(&job);
    }
}
