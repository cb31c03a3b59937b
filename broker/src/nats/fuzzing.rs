//! Entry points of the fuzz targets: the decoders of messages, headers and subjects.
//!
//! Not part of the API: this module has no promise of stability, and nothing else uses it. It takes
//! bytes and returns plain values, so that the decoders themselves stay private. Where a value can
//! be written again, its text comes back, for a target to compare.

use async_nats::{HeaderMap, HeaderValue};
use sortie_protocol::{Bundle, JobKey, JobRecord, TaskIndex};

use super::attempts::{Next, Note};
use super::layout::{ExistingLayout, TenantRecord};
use super::names::Names;
use super::outcome_log::{OutcomeLog, Taken};
use super::{Name, admission, jobs, task_ranges};
use crate::traits::Position;

/// A record under the subject of this job.
///
/// # Errors
/// Why it cannot be read.
pub fn job_record(key: &JobKey, payload: &[u8]) -> Result<JobRecord, String> {
    jobs::parse_record(key, payload)
}

/// A bundle under the subject of this job.
///
/// # Errors
/// Why it cannot be read.
pub fn bundle(key: &JobKey, payload: &[u8]) -> Result<Bundle, String> {
    admission::read(key, payload)
}

/// The tasks that a header names, and the header that is written for them.
#[must_use]
pub fn task_ranges(header: &str) -> (Vec<TaskIndex>, String) {
    let tasks = task_ranges::parse(header);
    let written = task_ranges::written(tasks.iter().copied());
    (tasks, written)
}

/// A note on a bundle, written again.
#[must_use]
pub fn attempts_note(payload: &[u8]) -> Option<String> {
    Note::parse(payload).map(|note| note.write())
}

/// How many tasks of a noted bundle are run, given up or waited for before none is left, if each
/// lease is lost `losses` times.
#[must_use]
pub fn attempts_end(payload: &[u8], losses: u32, losses_max: u32) -> Option<usize> {
    let mut attempts = Note::parse(payload)?.attempts;
    for _ in 0..losses {
        attempts.lose(losses_max);
    }
    let mut ended = 0;
    loop {
        let tasks = match attempts.next(losses_max) {
            Next::Nothing => return Some(ended),
            Next::Wait(_) => {
                attempts.hand_back();
                continue;
            }
            Next::Run(tasks) | Next::GiveUp(tasks) => tasks,
        };
        let left = attempts.0.len();
        attempts.remove(|index| tasks.iter().any(|task| task.index == index));
        ended += left - attempts.0.len();
    }
}

/// The subject of a bundle or of a cancellation, written again.
#[must_use]
pub fn subject(space: &Name, subject: &str) -> Option<String> {
    let names = Names::new(space.clone());
    if let Some((source, key)) = names.parse_task(subject) {
        return Some(names.task(&source, key.job));
    }
    names.parse_cancel(subject).map(|key| names.cancel(&key))
}

/// The record of an installation's layout, written again.
///
/// # Errors
/// Why it cannot be read.
pub fn layout(payload: &[u8]) -> Result<String, String> {
    ExistingLayout::parse(payload).map(|layout| layout.record().to_string())
}

/// The record of a tenant, written again.
#[must_use]
pub fn tenant_record(payload: &[u8]) -> String {
    TenantRecord::parse(payload).record().to_string()
}

/// A reader of a job's outcomes.
#[derive(Debug, Default)]
pub struct OutcomeReader(OutcomeLog);

impl OutcomeReader {
    /// The tasks that a message adds.
    pub fn take(&mut self, sequence: u64, tasks: Option<&str>, payload: &[u8]) -> Vec<TaskIndex> {
        let mut headers = HeaderMap::new();
        // What breaks lines comes in no header.
        if let Some(tasks) = tasks.and_then(|tasks| tasks.parse::<HeaderValue>().ok()) {
            headers.insert(task_ranges::TASKS, tasks);
        }
        match self.0.take(sequence, Some(&headers), payload) {
            Taken::Outcomes(_, outcomes) => outcomes.iter().map(|outcome| outcome.index).collect(),
            Taken::Unreadable(tasks, _) => tasks,
            Taken::Sealed(_) | Taken::Cancelled | Taken::Nothing => Vec::new(),
        }
    }

    /// How many outcomes were taken.
    #[must_use]
    pub fn position(&self) -> Position {
        self.0.position()
    }
}
