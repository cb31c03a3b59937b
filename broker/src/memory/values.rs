//! Large values of jobs.

use std::collections::HashMap;

use bytes::Bytes;
use sortie_protocol::{BrokerRef, Digest, JobKey, TaskIndex};

/// The values of all jobs that have some.
#[derive(Debug, Default)]
pub(super) struct KeptValues(HashMap<JobKey, HashMap<Name, Bytes>>);

/// Whose value it is, and its digest.
type Name = (Option<TaskIndex>, Digest);

impl KeptValues {
    pub(super) fn put(&mut self, job: JobKey, kept: BrokerRef, value: Bytes) {
        let values = self.0.entry(job).or_default();
        values.insert((kept.task, kept.digest), value);
    }

    pub(super) fn get(&self, job: JobKey, kept: &BrokerRef) -> Option<Bytes> {
        let values = self.0.get(&job)?;
        values.get(&(kept.task, kept.digest)).cloned()
    }

    pub(super) fn drop_of(&mut self, job: JobKey, tasks: &[TaskIndex]) {
        if let Some(values) = self.0.get_mut(&job) {
            values.retain(|(task, _), _| task.is_none_or(|task| !tasks.contains(&task)));
        }
    }

    pub(super) fn forget(&mut self, job: JobKey) {
        self.0.remove(&job);
    }
}
