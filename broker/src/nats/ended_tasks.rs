//! Caches which tasks of a job ended, for redelivered bundles.
//!
//! A job whose indices lie too far apart is not read to its end: its tasks may run again then, and
//! their first outcome counts as ever.
//!
//! Bounds: [`LOGS_MAX`] logs that are not in use, each of [`RANGES_MAX`] ranges of indices, some 50
//! bytes each.

use std::collections::HashMap;
use std::sync::Arc;

use sortie_protocol::JobKey;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::outcome_log::OutcomeLog;
use super::outcomes::Outcomes;
use crate::traits::Error;

/// How many jobs' outcome logs are cached. Beyond this number, unused logs are dropped, and read
/// from the start when they are needed again.
const LOGS_MAX: usize = 64;
/// The most ranges of indices in one log. A job has as many as there are tasks that did not end
/// before others that did.
const RANGES_MAX: usize = 32 << 10;

/// Cached outcome logs, each read up to its last use.
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

    /// A job's log, brought up to date. Other callers for the same job wait until the guard is
    /// dropped.
    pub(super) async fn of(&self, key: &JobKey) -> Result<OwnedMutexGuard<OutcomeLog>, Error> {
        let mut log = self.log(key).lock_owned().await;
        // One that is too long already is not read on.
        if log.seen().ranges() <= RANGES_MAX {
            self.outcomes.catch_up(key, &mut log, RANGES_MAX).await?;
        }
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
