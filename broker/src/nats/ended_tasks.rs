//! Remembers which tasks of a job ended, for bundles that are delivered again.

use std::collections::HashMap;
use std::sync::Arc;

use sortie_protocol::JobKey;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::outcome_log::OutcomeLog;
use super::outcomes::Outcomes;
use crate::traits::Error;

/// Jobs whose outcome logs are kept here. Beyond this number, logs that nobody is reading are
/// dropped, and read from the start when they are needed again.
const LOGS_MAX: usize = 64;

/// Outcome logs of jobs, each read up to when it was last asked for.
#[derive(Debug)]
pub(super) struct EndedTasks {
    outcomes: Outcomes,
    logs: parking_lot::Mutex<HashMap<JobKey, Arc<Mutex<OutcomeLog>>>>,
}

impl EndedTasks {
    pub(super) fn new(outcomes: Outcomes) -> Self {
        Self {
            outcomes,
            logs: parking_lot::Mutex::default(),
        }
    }

    /// A job's log, with everything that is stored by now. Others that ask for the same job wait
    /// until it is dropped.
    pub(super) async fn of(&self, key: &JobKey) -> Result<OwnedMutexGuard<OutcomeLog>, Error> {
        let mut log = self.log(key).lock_owned().await;
        self.outcomes.catch_up(key, &mut log).await?;
        Ok(log)
    }

    fn log(&self, key: &JobKey) -> Arc<Mutex<OutcomeLog>> {
        let mut logs = self.logs.lock();
        if logs.len() >= LOGS_MAX && !logs.contains_key(key) {
            logs.retain(|_, log| Arc::strong_count(log) > 1);
        }
        logs.entry(*key).or_default().clone()
    }

    pub(super) fn forget(&self, key: &JobKey) {
        self.logs.lock().remove(key);
    }
}
