//! Stores, lists and removes dead letters.

use std::collections::HashMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::Deserialize;
use sortie_protocol::dead::UNREADABLE_BYTES_MAX;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::{Bundle, DeadLetter, Job, JobKey, Outcome, Task, TaskIndex, TenantId};

use super::batch_read;
use super::clock;
use super::connection::Connection;
use super::headers::MESSAGE_ID;
use super::jetstream::{JetStream, code};
use super::names::Names;
use crate::traits::{Error, LetterId};

/// Maximum length of the subject in a letter.
const PLACE_CHARS_MAX: usize = 256;

/// The dead letters of all tenants. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct DeadLetters {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl DeadLetters {
    /// Store a dead letter for each of these tasks of a bundle that failed. A letter's id does not
    /// depend on which worker reports it. One letter exists at a time.
    pub(super) async fn bury(
        &self,
        job: &Job,
        bundle: &Bundle,
        failed: impl Iterator<Item = &Outcome>,
    ) -> Result<(), Error> {
        let tasks = bundle.tasks.iter();
        let tasks: HashMap<TaskIndex, &Task> = tasks.map(|task| (task.index, task)).collect();
        for outcome in failed {
            let Some(task) = tasks.get(&outcome.index) else {
                continue;
            };
            let letter = DeadLetter::of_task(job, task, outcome, clock::now());
            let id = format!("{}-{}", job.key.job, outcome.index);
            self.put(&job.key.tenant, &letter, &id).await?;
        }
        Ok(())
    }

    /// Store a dead letter for a message that is not a readable bundle.
    pub(super) async fn bury_unreadable(
        &self,
        tenant: &TenantId,
        subject: &str,
        bytes: &Bytes,
        reason: String,
        id: &str,
    ) -> Result<(), Error> {
        // The letter has to fit into a message itself.
        let bytes = bytes.slice(
            ..bytes
                .len()
                .min(UNREADABLE_BYTES_MAX)
                .min(self.connection.payload_max() / 2),
        );
        let place = subject.chars().take(PLACE_CHARS_MAX).collect();
        let letter = DeadLetter::Unreadable {
            place,
            reason,
            bytes,
            buried: clock::now(),
        };
        self.put(tenant, &letter, id).await
    }

    async fn put(&self, tenant: &TenantId, letter: &DeadLetter, id: &str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, id);
        let Some(payload) = self.fitting(letter) else {
            // A letter that cannot be stored must not prevent storing its task's outcome.
            tracing::warn!(
                id,
                "a dead letter is larger than the maximum message size; it is dropped"
            );
            return Ok(());
        };
        let stored = self
            .jetstream
            .store(
                &self.names.dead(tenant, letter.job().map(|key| key.job)),
                &headers,
                &payload,
            )
            .await?;
        match stored {
            Ok(_) => {
                self.connection.metrics().dead_letters.add(1);
                Ok(())
            }
            Err(refusal) => {
                tracing::warn!(reason = refusal.text, "a dead letter could not be kept");
                Ok(())
            }
        }
    }

    /// Encode a letter, without its log if that is too large; `None` if it is still too large.
    fn fitting(&self, letter: &DeadLetter) -> Option<Bytes> {
        let fits = |payload: &Bytes| payload.len() <= self.connection.payload_max();
        let whole = Some(envelope::dead_letter(letter)).filter(fits);
        whole.or_else(|| {
            let mut letter = letter.clone();
            if let DeadLetter::Task { outcome, .. } = &mut letter {
                outcome.log = None;
            }
            Some(envelope::dead_letter(&letter)).filter(fits)
        })
    }

    /// The newest letters of a tenant, or of one of its jobs, newest first.
    pub(super) async fn list(
        &self,
        tenant: &TenantId,
        job: Option<JobKey>,
        count_max: usize,
    ) -> Result<Vec<(LetterId, DeadLetter)>, Error> {
        let tenant = job.as_ref().map_or(tenant, |key| &key.tenant);
        let stream = self.names.dead_stream(tenant);
        let filter = job.map_or_else(
            || self.names.all_dead(tenant),
            |key| self.names.dead(&key.tenant, Some(key.job)),
        );
        let read = self
            .connection
            .patiently(|| batch_read::read_all(&self.connection, &stream, &filter))
            .await?;
        let mut letters = Vec::new();
        for message in read.iter().rev() {
            if letters.len() >= count_max {
                break;
            }
            match envelope::decode(&message.payload) {
                Ok(Message::DeadLetter(letter)) => letters.push((message.sequence, *letter)),
                Ok(_) => tracing::warn!(
                    sequence = message.sequence,
                    "a message among the dead letters is not a dead letter; it is skipped"
                ),
                Err(error) => {
                    tracing::warn!(
                        sequence = message.sequence,
                        %error,
                        "a dead letter cannot be read; it is skipped"
                    )
                }
            }
        }
        Ok(letters)
    }

    /// Remove a letter, if it is there. Whether it was, or may have been: of an answer that was
    /// lost it is not known what it said.
    pub(super) async fn remove(&self, tenant: &TenantId, letter: LetterId) -> Result<bool, Error> {
        #[derive(Deserialize)]
        struct Deleted {}
        let subject = format!("STREAM.MSG.DELETE.{}", self.names.dead_stream(tenant));
        let question = serde_json::json!({ "seq": letter });
        let mut asked = 0;
        let deleting = || {
            asked += 1;
            self.jetstream.api::<Deleted>(&subject, &question)
        };
        match self.connection.patiently(deleting).await? {
            Ok(Deleted {}) => Ok(true),
            Err(refusal)
                if matches!(
                    refusal.code,
                    code::NO_MESSAGE | code::MESSAGE_DELETE_FAILED | code::SEQUENCE_NOT_FOUND
                ) =>
            {
                Ok(asked > 1)
            }
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }
}
