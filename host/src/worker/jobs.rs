//! The contexts of the functions whose tasks a worker runs.
//!
//! Bounds: [`JOBS_MAX`]. At the limit those without tasks in work are dropped; they are made again
//! when they are needed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sortie_protocol::{Digest, FunctionIndex, JobKey};

use crate::attempt::JobContext;

/// Job contexts that are held: a few hundred bytes each, and their component.
pub const JOBS_MAX: usize = 256;

/// Contexts by job and function.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<(JobKey, FunctionIndex), Arc<JobContext>>>);

impl Jobs {
    pub(super) fn get(&self, job: JobKey, function: FunctionIndex) -> Option<Arc<JobContext>> {
        self.0.lock().get(&(job, function)).cloned()
    }

    /// Hold a context, unless there is one of the same function; returns the one that is held.
    pub(super) fn keep(&self, context: Arc<JobContext>) -> Arc<JobContext> {
        let mut jobs = self.0.lock();
        if jobs.len() >= JOBS_MAX {
            // Tasks in work hold theirs.
            jobs.retain(|_, context| Arc::strong_count(context) > 1);
        }
        let key = (context.job().key, context.index());
        jobs.entry(key).or_insert(context).clone()
    }

    /// Drop the contexts whose component is held by nothing else, as `is_held` says, unless they
    /// have tasks in work: a context must not keep what the cache of components gave up.
    pub(super) fn keep_of(&self, is_held: impl Fn(Digest) -> bool) {
        self.0.lock().retain(|_, context| {
            Arc::strong_count(context) > 1 || is_held(context.component_digest())
        });
    }

    /// Drop the contexts of a job that was cancelled.
    pub(super) fn remove(&self, job: JobKey) {
        self.0.lock().retain(|(of, _), _| *of != job);
    }
}
