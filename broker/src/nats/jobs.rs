//! Reads, writes and caches the records of jobs.
//!
//! Each record is one message, replaced only on the condition that it is still the one that was
//! read. Where a server was killed while it replaced one, both are there, and the newer counts.
//! Cached records may be stale: a cancellation is sent to all workers at once but may be missed, so
//! where it matters the record is read again after [`FRESH`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::job::RECORD_BYTES_MAX;
use sortie_protocol::{
    FunctionIndex, Job, JobFunction, JobKey, JobRecord, JobState, TaskIndex, TenantId,
};

use super::batch_read;
use super::clock;
use super::connection::Connection;
use super::headers::{expecting, replacing};
use super::jetstream::{JetStream, Kept};
use super::names::Names;
use crate::traits::Error;

/// How long a worker may run tasks of a job whose cancellation it missed: the time between two
/// lease extensions.
const FRESH: Duration = Duration::from_secs(3);
/// Cache size in jobs; the least recently used are evicted, and looked up again when needed.
const KNOWN_MAX: usize = 4096;
/// Cache size in bytes of records, as they are in messages. In memory they take a few times as
/// many.
const KNOWN_BYTES_MAX: usize = 16 << 20;

/// A cached job.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) job: Arc<Job>,
    pub(super) state: JobState,
    looked_up: Instant,
    /// Of its record.
    bytes: usize,
}

impl Known {
    /// Whether it is known to be cancelled.
    pub(super) fn is_cancelled(&self) -> bool {
        self.state == JobState::Cancelled
    }
}

/// The jobs' records.
#[derive(Debug)]
pub(super) struct Jobs {
    connection: Connection,
    jetstream: JetStream,
    names: Names,
    known: Mutex<Cache>,
}

/// Jobs that are known, and the bytes of their records together.
#[derive(Debug, Default)]
struct Cache {
    jobs: HashMap<JobKey, Known>,
    bytes: usize,
}

impl Cache {
    fn insert(&mut self, known: Known) {
        self.remove(&known.job.key);
        let room = KNOWN_BYTES_MAX.saturating_sub(known.bytes);
        while !self.jobs.is_empty() && (self.jobs.len() >= KNOWN_MAX || self.bytes > room) {
            self.drop_older_half();
        }
        self.bytes += known.bytes;
        self.jobs.insert(known.job.key, known);
    }

    fn remove(&mut self, key: &JobKey) {
        if let Some(known) = self.jobs.remove(key) {
            self.bytes = self.bytes.saturating_sub(known.bytes);
        }
    }

    /// Drops one at least.
    fn drop_older_half(&mut self) {
        let mut ages: Vec<_> = self.jobs.values().map(|known| known.looked_up).collect();
        ages.sort_unstable();
        let middle = ages.get(ages.len() / 2).copied();
        self.jobs
            .retain(|_, known| middle.is_none_or(|middle| known.looked_up > middle));
        self.bytes = self.jobs.values().map(|known| known.bytes).sum();
    }
}

impl Jobs {
    pub(super) fn new(jetstream: JetStream, names: Names) -> Self {
        Self {
            connection: jetstream.connection.clone(),
            jetstream,
            names,
            known: Mutex::default(),
        }
    }

    /// A job as it is cached.
    pub(super) fn get(&self, key: &JobKey) -> Option<Known> {
        self.known.lock().jobs.get(key).cloned()
    }

    /// Update the cache: the job was sealed.
    pub(super) fn sealed(&self, key: &JobKey, tasks: TaskIndex) {
        if let Some(known) = self.known.lock().jobs.get_mut(key)
            && known.state == JobState::Open
        {
            known.state = JobState::Sealed { tasks };
        }
    }

    /// Update the cache: the job was cancelled.
    pub(super) fn cancelled(&self, key: &JobKey) {
        if let Some(known) = self.known.lock().jobs.get_mut(key) {
            known.state = JobState::Cancelled;
        }
    }

    /// Drop what is cached of a job.
    pub(super) fn forget_known(&self, key: &JobKey) {
        self.known.lock().remove(key);
    }

    /// A job by its record, or as it is known here; whoever cannot do anything about a record that
    /// cannot be read is told so.
    pub(super) async fn find(&self, key: &JobKey) -> Result<Found, Error> {
        self.find_with(key, 0).await
    }

    /// The same for a task that calls this function: what is known here may be from before it was
    /// added to the job's table. The record may not have it either.
    pub(super) async fn find_with(
        &self,
        key: &JobKey,
        function: FunctionIndex,
    ) -> Result<Found, Error> {
        if let Some(known) = self.get(key)
            && (known.job.function(function).is_some() || known.is_cancelled())
        {
            return Ok(Found::Known(known));
        }
        Ok(match self.stored(key).await? {
            None => Found::Nothing,
            Some(Stored { record, bytes, .. }) => match record {
                Ok(record) => Found::Known(self.learn(record, bytes)),
                Err(reason) => Found::Unreadable(reason),
            },
        })
    }

    /// A job by its record, or as it is known here.
    pub(super) async fn known(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        match self.get(key) {
            Some(known) => Ok(Some(known)),
            None => self.look_up(key).await,
        }
    }

    /// Like [`Self::known`], but a stale cache entry is refreshed.
    pub(super) async fn known_by_now(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        match self.get(key) {
            Some(known) if known.looked_up.elapsed() < FRESH || known.is_cancelled() => {
                Ok(Some(known))
            }
            _ => self.look_up(key).await,
        }
    }

    async fn look_up(&self, key: &JobKey) -> Result<Option<Known>, Error> {
        let Some(stored) = self.stored(key).await? else {
            self.forget_known(key);
            return Ok(None);
        };
        let bytes = stored.bytes;
        let (_, record) = self.readable(key, stored)?;
        Ok(Some(self.learn(record, bytes)))
    }

    /// Keep what a record of so many bytes says.
    fn learn(&self, record: JobRecord, bytes: usize) -> Known {
        let known = Known {
            job: Arc::new(record.job),
            state: record.state,
            looked_up: clock::instant(),
            bytes,
        };
        self.known.lock().insert(known.clone());
        known
    }

    /// A job's record with its sequence in the stream.
    pub(super) async fn record(&self, key: &JobKey) -> Result<Option<(u64, JobRecord)>, Error> {
        let stored = self.stored(key).await?;
        stored.map(|stored| self.readable(key, stored)).transpose()
    }

    fn readable(&self, key: &JobKey, stored: Stored) -> Result<(u64, JobRecord), Error> {
        let record = stored.record.map_err(|reason| {
            self.connection.unsuitable(format!(
                "the record of `{}` cannot be read: {reason}",
                key.job
            ))
        })?;
        Ok((stored.sequence, record))
    }

    async fn stored(&self, key: &JobKey) -> Result<Option<Stored>, Error> {
        let stream = self.names.jobs_stream(&key.tenant);
        let subject = self.names.job(key);
        let found = self
            .connection
            .patiently(|| self.jetstream.last(&stream, &subject))
            .await?;
        Ok(found.map(|Kept { sequence, payload }| Stored {
            sequence,
            bytes: payload.len(),
            record: parse_record(key, &payload),
        }))
    }

    /// Write a record unless one exists.
    pub(super) async fn put(&self, record: JobRecord) -> Result<(), Error> {
        let key = &record.job.key.clone();
        let payload = envelope::job(&record);
        fits(&payload)?;
        let stored = self
            .jetstream
            .store(&self.names.job(key), &expecting(0), &payload)
            .await?;
        match stored {
            Ok(_) => {
                self.learn(record, payload.len());
                Ok(())
            }
            Err(refusal) if refusal.is_conflict() => self.look_up(key).await.map(drop),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Append functions to the table of an open job.
    pub(super) async fn add_functions(
        &self,
        key: &JobKey,
        first: FunctionIndex,
        functions: Vec<JobFunction>,
    ) -> Result<(), Error> {
        let revise = |record: &mut JobRecord| {
            let known = record.job.functions.len();
            if record.state == JobState::Open {
                record.job.add(first, functions.iter().cloned());
            }
            record.job.functions.len() > known
        };
        let Some((record, _)) = self.revise(key, revise).await? else {
            return Err(Error::NoSuchJob(key.job));
        };
        let bytes = envelope::job(&record).len();
        self.learn(record, bytes);
        Ok(())
    }

    /// Change a record's state, if `change` returns a new one.
    pub(super) async fn change(
        &self,
        key: &JobKey,
        change: impl Fn(JobState) -> Option<JobState>,
    ) -> Result<Changed, Error> {
        let revise = |record: &mut JobRecord| match change(record.state) {
            Some(state) => {
                record.state = state;
                true
            }
            None => false,
        };
        Ok(match self.revise(key, revise).await? {
            None => Changed::NotThere,
            Some((record, Revised::Yes)) => Changed::Yes(record.state),
            Some((record, Revised::No)) => Changed::No(record.state),
        })
    }

    /// Change a record, if `revise` does. The record as it is then, if there is one.
    pub(super) async fn revise(
        &self,
        key: &JobKey,
        revise: impl Fn(&mut JobRecord) -> bool,
    ) -> Result<Option<(JobRecord, Revised)>, Error> {
        let mut is_contended = false;
        loop {
            let Some((sequence, mut record)) = self.record(key).await? else {
                return Ok(None);
            };
            if !revise(&mut record) {
                let revised = if is_contended {
                    Revised::Yes
                } else {
                    Revised::No
                };
                return Ok(Some((record, revised)));
            }
            let subject = self.names.job(key);
            let payload = envelope::job(&record);
            fits(&payload)?;
            let stored = self
                .jetstream
                .store(&subject, &replacing(sequence), &payload)
                .await?;
            match stored {
                Ok(_) => return Ok(Some((record, Revised::Yes))),
                // Somebody else changed it, or this was asked twice and came through the first
                // time; look again. Each round somebody gets through.
                Err(refusal) if refusal.is_conflict() => is_contended = true,
                Err(refusal) => return Err(self.jetstream.refused(&refusal)),
            }
        }
    }

    /// Remove a job's record.
    pub(super) async fn forget(&self, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.jobs_stream(&key.tenant);
        let subject = self.names.job(key);
        self.connection
            .patiently(|| self.jetstream.purge(&stream, &subject))
            .await?;
        self.forget_known(key);
        Ok(())
    }

    /// The newest records of a tenant, newest first.
    pub(super) async fn list(
        &self,
        tenant: &TenantId,
        count_max: usize,
    ) -> Result<Vec<JobRecord>, Error> {
        let stream = self.names.jobs_stream(tenant);
        let filter = self.names.all_jobs(tenant);
        let read = self
            .connection
            .patiently(|| batch_read::read_all(&self.connection, &stream, &filter))
            .await?;
        let mut newest: HashMap<String, batch_read::Read> = HashMap::new();
        for message in read {
            if let Some(subject) = message.subject() {
                newest.insert(subject.to_owned(), message);
            }
        }
        let mut records: Vec<(u64, JobRecord)> = Vec::new();
        for (subject, message) in newest {
            let Ok(Message::Job(record)) = envelope::decode(&message.payload) else {
                continue;
            };
            // One that names another job, of another tenant perhaps, is not its subject's record.
            if subject == self.names.job(&record.job.key) {
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

/// Whether a record is not larger than it may be.
fn fits(record: &[u8]) -> Result<(), Error> {
    match record.len() {
        ..=RECORD_BYTES_MAX => Ok(()),
        weight => Err(Error::TooLarge {
            weight,
            limit: RECORD_BYTES_MAX,
        }),
    }
}

/// A record as it is stored.
#[derive(Debug)]
struct Stored {
    sequence: u64,
    bytes: usize,
    record: Result<JobRecord, String>,
}

/// Whether a record was changed, here or, where two asked at once, by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revised {
    Yes,
    No,
}

/// What there is of a job.
#[derive(Debug)]
pub(super) enum Found {
    Known(Known),
    /// Its record is there, and cannot be read.
    Unreadable(String),
    /// Nothing, as far as the leader of the records knows.
    Nothing,
}

pub(super) fn parse_record(key: &JobKey, payload: &[u8]) -> Result<JobRecord, String> {
    match envelope::decode(payload) {
        Ok(Message::Job(record)) if record.job.key == *key => Ok(*record),
        Ok(Message::Job(_)) => Err("it is another job's".into()),
        Ok(_) => Err("it is a message of another kind".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// What became of a change, with the state that the record has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// The change was made, by this process or by a concurrent one.
    Yes(JobState),
    No(JobState),
    NotThere,
}

#[cfg(test)]
mod tests {
    use sortie_protocol::{Digest, FunctionOptions, FunctionRef, JobId};

    use super::*;

    fn known(number: u8, bytes: usize) -> Known {
        let function = FunctionRef {
            component: Digest::of(b"c"),
            name: "f".into(),
        };
        let key = JobKey {
            tenant: TenantId::default(),
            job: JobId::from_bytes([number; 16]),
        };
        Known {
            job: Arc::new(Job::of(key, function, FunctionOptions::default())),
            state: JobState::Open,
            looked_up: clock::instant() + Duration::from_secs(number.into()),
            bytes,
        }
    }

    #[test]
    fn large_records_drive_out_those_that_were_not_used_for_longest() {
        let mut cache = Cache::default();
        for number in 0..200 {
            cache.insert(known(number, RECORD_BYTES_MAX));
            let bytes: usize = cache.jobs.values().map(|known| known.bytes).sum();
            assert!(bytes == cache.bytes && bytes <= KNOWN_BYTES_MAX, "{bytes}");
            assert!(cache.jobs.contains_key(&known(number, 0).job.key));
        }
        // One that is known already takes the place of itself.
        let (count, bytes) = (cache.jobs.len(), cache.bytes);
        cache.insert(known(199, RECORD_BYTES_MAX));
        assert_eq!((cache.jobs.len(), cache.bytes), (count, bytes));
    }
}
