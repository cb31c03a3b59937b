//! Jobs: their records at the server, and what is known of them here.
//!
//! A record has one message, replaced on the condition that nobody else did so first. What is known
//! here may be old: a cancellation is told to everybody at once, but may be missed, so what matters
//! is looked up again after [`FRESH`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::{Job, JobId, JobRecord, JobState};

use super::Core;
use super::clock;
use super::connection::Kept;
use super::names::JobKey;
use super::provision::expecting;
use crate::broker::Error;

/// How long a worker may run tasks of a job that was cancelled unheard: as long as between two
/// extensions of a lease.
const FRESH: Duration = Duration::from_secs(3);
/// Jobs that are known here; the ones looked up longest ago are forgotten first, and looked up
/// again.
const KNOWN_MAX: usize = 4096;

/// What is known of a job.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) key: JobKey,
    pub(super) job: Arc<Job>,
    pub(super) cancelled: bool,
    looked_up: Instant,
}

/// The jobs that are known here.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<JobId, Known>>);

impl Jobs {
    pub(super) fn get(&self, job: JobId) -> Option<Known> {
        self.0.lock().get(&job).cloned()
    }

    /// It was cancelled.
    pub(super) fn cancelled(&self, job: JobId) {
        if let Some(known) = self.0.lock().get_mut(&job) {
            known.cancelled = true;
        }
    }

    pub(super) fn forget(&self, job: JobId) {
        self.0.lock().remove(&job);
    }

    fn keep(&self, known: Known) {
        let mut jobs = self.0.lock();
        if jobs.len() >= KNOWN_MAX {
            let mut ages: Vec<_> = jobs.values().map(|known| known.looked_up).collect();
            ages.sort_unstable();
            let middle = ages.get(ages.len() / 2).copied();
            jobs.retain(|_, known| middle.is_none_or(|middle| known.looked_up > middle));
        }
        jobs.insert(known.key.job, known);
    }
}

impl Core {
    /// A job by its record, or as it is known here.
    pub(super) async fn known(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        match self.jobs.get(key.job) {
            Some(known) => Ok(Some(known)),
            None => self.look_up(key).await,
        }
    }

    /// As [`Self::known`], but what is known may not be old.
    pub(super) async fn known_by_now(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        match self.jobs.get(key.job) {
            Some(known) if known.looked_up.elapsed() < FRESH || known.cancelled => Ok(Some(known)),
            _ => self.look_up(key).await,
        }
    }

    async fn look_up(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        let Some((_, record)) = self.record(key).await? else {
            self.jobs.forget(key.job);
            return Ok(None);
        };
        let cancelled = record.state == JobState::Cancelled;
        let known = Known {
            key: key.clone(),
            job: Arc::new(record.job),
            cancelled,
            looked_up: clock::instant(),
        };
        self.jobs.keep(known.clone());
        Ok(Some(known))
    }

    /// A job's record with its place in the stream.
    pub(super) async fn record(&self, key: &JobKey) -> Result<Option<(u64, JobRecord)>, Error> {
        let (stream, subject) = (self.names.jobs_stream(&key.tenant), self.names.job(key));
        let found = self
            .link
            .patiently(|| self.link.last(&stream, &subject))
            .await?;
        found
            .map(|Kept { sequence, payload }| Ok((sequence, self.parse_record(key, &payload)?)))
            .transpose()
    }

    fn parse_record(&self, key: &JobKey, payload: &[u8]) -> Result<JobRecord, Error> {
        match envelope::decode(payload) {
            Ok(Message::Job(record)) if record.job.id == key.job => Ok(*record),
            Ok(_) => Err(self
                .link
                .unsuitable(format!("the record of `{}` is not one", key.job))),
            Err(error) => Err(self.link.unsuitable(format!(
                "the record of `{}` cannot be read: {error}",
                key.job
            ))),
        }
    }

    /// Write a record where none is. What is there stays.
    pub(super) async fn put_record(&self, key: &JobKey, record: JobRecord) -> Result<(), Error> {
        self.provision_pool(&record.job.options.labels).await?;
        let stored = self
            .link
            .store(&self.names.job(key), &expecting(0), &envelope::job(&record))
            .await?;
        match stored {
            Ok(_) => {
                let known = Known {
                    key: key.clone(),
                    job: Arc::new(record.job),
                    cancelled: false,
                    looked_up: clock::instant(),
                };
                self.jobs.keep(known);
                Ok(())
            }
            Err(refusal) if refusal.is_conflict() => self.look_up(key).await.map(drop),
            Err(refusal) => Err(self.link.refused(&refusal)),
        }
    }

    /// Change a record's state, if `change` wants another one than it has.
    pub(super) async fn change(
        &self,
        key: &JobKey,
        change: impl Fn(JobState) -> Option<JobState>,
    ) -> Result<Changed, Error> {
        let mut unchanged = Changed::No;
        loop {
            let Some((sequence, mut record)) = self.record(key).await? else {
                return Ok(Changed::NotThere);
            };
            let Some(state) = change(record.state) else {
                return Ok(unchanged);
            };
            record.state = state;
            match self
                .link
                .store(
                    &self.names.job(key),
                    &expecting(sequence),
                    &envelope::job(&record),
                )
                .await?
            {
                Ok(_) => return Ok(Changed::Yes),
                // Somebody else changed it, or this was asked twice and came through the first
                // time; look again. Each round somebody gets through.
                Err(refusal) if refusal.is_conflict() => unchanged = Changed::Yes,
                Err(refusal) => return Err(self.link.refused(&refusal)),
            }
        }
    }

    /// The newest records of this tenant.
    pub(super) async fn records(&self, count_max: usize) -> Result<Vec<JobRecord>, Error> {
        let (stream, filter) = (
            self.names.jobs_stream(&self.tenant),
            self.names.all_jobs(&self.tenant),
        );
        let read = self
            .link
            .patiently(|| self.link.read_all(&stream, &filter))
            .await?;
        let mut records: Vec<(u64, JobRecord)> = Vec::new();
        for message in read {
            if let Ok(Message::Job(record)) = envelope::decode(&message.payload) {
                records.push((message.sequence, *record));
            }
        }
        records.sort_by_key(|(sequence, record)| std::cmp::Reverse((record.created, *sequence)));
        Ok(records
            .into_iter()
            .map(|(_, record)| record)
            .take(count_max)
            .collect())
    }
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// It was made, here or, where two asked at once, by the other.
    Yes,
    No,
    NotThere,
}
