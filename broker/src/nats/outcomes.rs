//! Stores reports in a tenant's outcome stream and reads them back in order.
//!
//! All reports of a job are on one subject. This file does the I/O; which of the stored outcomes
//! count is decided by [`OutcomeLog`], in the same way for every reader.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{ByteSize, Ending, Failure, JobKey, Limit, Outcome, TaskIndex, envelope};

use super::batch_read::{self, End, Read};
use super::connection::Connection;
use super::headers::{FORGOTTEN, MESSAGE_ID, SUBMITTING};
use super::jetstream::JetStream;
use super::names::Names;
use super::outcome_log::OutcomeLog;
use super::task_ranges;
use crate::traits::Error;

/// Delay before asking again when a replica of the stream is behind.
pub(super) const BEHIND_PAUSE: Duration = Duration::from_millis(10);

/// The outcome streams of all tenants. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Outcomes {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl Outcomes {
    /// The same, where what is to be stored is given up if there is no room within `time_max`.
    pub(super) fn with_room_within(&self, time_max: Duration) -> Self {
        Self {
            jetstream: self.jetstream.with_room_within(time_max),
            ..self.clone()
        }
    }

    /// Store outcomes, in as many messages as they need.
    pub(super) async fn store(&self, key: &JobKey, outcomes: Vec<Outcome>) -> Result<(), Error> {
        if outcomes.is_empty() {
            return Ok(());
        }
        let mut parts = vec![outcomes];
        while let Some(mut part) = parts.pop() {
            let payload = envelope::outcomes(&part);
            let is_too_large = payload.len() > self.connection.payload_max();
            if is_too_large || part.len() > TASKS_MAX {
                if part.len() > 1 {
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                } else {
                    parts.push(
                        part.into_iter()
                            .map(|outcome| self.too_large(outcome))
                            .collect(),
                    );
                }
                continue;
            }
            let mut headers = HeaderMap::new();
            task_ranges::insert(&mut headers, part.iter().map(|outcome| outcome.index));
            self.put(key, &headers, payload).await?;
            let stored = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.connection.metrics().outcomes.add(stored);
        }
        Ok(())
    }

    /// Store the marker of a cancelled job: no outcome after it counts.
    pub(super) async fn mark_cancelled(&self, key: &JobKey) -> Result<(), Error> {
        self.mark(key, "cancelled", envelope::cancelled()).await
    }

    /// Store how many tasks a job has. Readers take the first seal.
    pub(super) async fn mark_sealed(&self, key: &JobKey, tasks: TaskIndex) -> Result<(), Error> {
        self.mark(key, "sealed", envelope::sealed(tasks)).await
    }

    /// Store a marker. Its id keeps repetitions out of the stream.
    async fn mark(&self, key: &JobKey, name: &str, payload: Bytes) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("{}-{name}", key.job).as_str());
        self.put(key, &headers, payload).await
    }

    /// Send a heartbeat of the submitter to a job's followers. Not stored.
    pub(super) async fn tell_submitting(&self, key: &JobKey) -> Result<(), Error> {
        self.notify(key, SUBMITTING).await
    }

    /// Send a notice to the followers of a job that is not stored.
    async fn notify(&self, key: &JobKey, notice: &'static str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(notice, "1");
        self.connection
            .tell(self.names.live(key), headers, Bytes::new())
            .await
    }

    async fn put(&self, key: &JobKey, headers: &HeaderMap, payload: Bytes) -> Result<(), Error> {
        match self
            .jetstream
            .store(&self.names.outcomes(key), headers, &payload)
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// The outcome of a task whose result is too large for a message.
    fn too_large(&self, mut outcome: Outcome) -> Outcome {
        let payload_max = self.connection.payload_max();
        outcome.log = None;
        if envelope::outcomes(std::slice::from_ref(&outcome)).len() > payload_max {
            let limit = Limit::Result(ByteSize::kib(payload_max as u64 >> 10));
            outcome.ending = Ending::Failed(Failure::stopped(limit));
        }
        outcome
    }

    /// The sequence of a job's newest report, as the leader knows it. 0 if there is none.
    pub(super) async fn newest(&self, key: &JobKey) -> Result<u64, Error> {
        let stream = self.names.outcomes_stream(&key.tenant);
        let subject = self.names.outcomes(key);
        let last = self
            .connection
            .patiently(|| self.jetstream.last(&stream, &subject))
            .await?;
        Ok(last.map_or(0, |kept| kept.sequence))
    }

    /// The next reports after the sequence `last`, as far as the answering replica has them.
    pub(super) async fn after(&self, key: &JobKey, last: u64) -> Result<(Vec<Read>, End), Error> {
        let stream = self.names.outcomes_stream(&key.tenant);
        let subject = self.names.outcomes(key);
        let batch = self
            .connection
            .patiently(|| batch_read::read(&self.connection, &stream, &subject, last + 1))
            .await?;
        Ok((batch.messages, batch.end))
    }

    /// Read all stored reports into `log`, for a caller that only needs to know which tasks ended.
    /// Stops where the indices lie in more than `ranges_max` ranges.
    pub(super) async fn catch_up(
        &self,
        key: &JobKey,
        log: &mut OutcomeLog,
        ranges_max: usize,
    ) -> Result<(), Error> {
        let newest = self.newest(key).await?;
        while log.last() < newest && !log.is_over() {
            let (reports, end) = self.after(key, log.last()).await?;
            for report in &reports {
                log.take(report.sequence, report.headers.as_ref(), &report.payload);
                if log.seen().ranges() > ranges_max {
                    return Ok(());
                }
            }
            // Others on this thread go on in between.
            tokio::task::yield_now().await;
            if reports.is_empty() && end == End::Reached {
                // This copy is behind the leader.
                tokio::time::sleep(BEHIND_PAUSE).await;
                if self.newest(key).await? < newest {
                    // It was purged meanwhile.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Drop what lies before a sequence: everybody who needs it has it.
    pub(super) async fn drop_before(&self, key: &JobKey, sequence: u64) -> Result<(), Error> {
        let stream = self.names.outcomes_stream(&key.tenant);
        let subject = self.names.outcomes(key);
        self.connection
            .patiently(|| self.jetstream.purge_before(&stream, &subject, sequence))
            .await
    }

    /// Tell a job's followers that it is forgotten.
    pub(super) async fn tell_forgotten(&self, key: &JobKey) -> Result<(), Error> {
        self.notify(key, FORGOTTEN).await
    }

    /// Remove a job's reports.
    pub(super) async fn drop_all(&self, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.outcomes_stream(&key.tenant);
        let subject = self.names.outcomes(key);
        self.connection
            .patiently(|| self.jetstream.purge(&stream, &subject))
            .await
    }
}
