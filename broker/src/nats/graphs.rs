//! The graphs of open jobs, and who coordinates them: two subjects of each job in one stream of its
//! tenant.
//!
//! A part of a graph is a message, and stays. A claim replaces the one before it, on the condition
//! that this is still the last; its sequence in the stream is its version.

use async_nats::HeaderMap;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{GraphEntry, JobKey, TaskIndex, TenantId, Term};

use super::batch_read::{self, End};
use super::connection::Connection;
use super::headers::replacing;
use super::jetstream::{JetStream, Kept};
use super::names::Names;
use super::provision::Provisioner;
use crate::traits::{Claimed, Error, GRAPH_BYTES_MAX};

/// The graphs of all jobs.
#[derive(Debug, Clone)]
pub(super) struct Graphs {
    connection: Connection,
    jetstream: JetStream,
    names: Names,
    provisioner: Provisioner,
    /// How many streams share a tenant's bundles.
    shards: u16,
}

impl Graphs {
    pub(super) fn new(provisioner: &Provisioner, shards: u16) -> Self {
        Self {
            connection: provisioner.connection.clone(),
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
            provisioner: provisioner.clone(),
            shards,
        }
    }

    pub(super) async fn append(&self, key: &JobKey, entries: &[GraphEntry]) -> Result<(), Error> {
        let subject = self.names.graph(key);
        let limit = self.connection.payload_max();
        for part in parts(entries, limit) {
            let payload = envelope::graph(part);
            if payload.len() > limit {
                let weight = payload.len();
                return Err(Error::TooLarge { weight, limit });
            }
            let stored = self
                .jetstream
                .store(&subject, &HeaderMap::new(), &payload)
                .await?;
            stored.map_err(|refusal| self.jetstream.refused(&refusal))?;
        }
        Ok(())
    }

    pub(super) async fn entries(&self, key: &JobKey) -> Result<Vec<GraphEntry>, Error> {
        let (stream, subject) = (self.names.graphs_stream(&key.tenant), self.names.graph(key));
        let (mut entries, mut bytes, mut from) = (Vec::new(), 0, 1);
        loop {
            let read = || batch_read::read(&self.connection, &stream, &subject, from);
            let batch = self.connection.patiently(read).await?;
            let Some(last) = batch.messages.last().map(|read| read.sequence) else {
                return Ok(entries);
            };
            from = last + 1;
            for read in &batch.messages {
                bytes += read.payload.len();
                if bytes > GRAPH_BYTES_MAX {
                    return Err(Error::TooLarge {
                        weight: bytes,
                        limit: GRAPH_BYTES_MAX,
                    });
                }
                match envelope::decode(&read.payload) {
                    Ok(Message::Graph(part)) => entries.extend(part),
                    Ok(_) => return Err(self.unreadable(key, "a message of another kind")),
                    Err(error) => return Err(self.unreadable(key, &error.to_string())),
                }
            }
            if batch.end == End::Reached {
                return Ok(entries);
            }
        }
    }

    fn unreadable(&self, key: &JobKey, reason: &str) -> Error {
        self.connection.unsuitable(format!(
            "the graph of `{}` cannot be read: {reason}",
            key.job
        ))
    }

    pub(super) async fn unfinished_tasks(&self, key: &JobKey) -> Result<Vec<TaskIndex>, Error> {
        let mut tasks = Vec::new();
        for shard in 0..self.shards {
            tasks.extend(self.tasks_in(shard, key).await?);
        }
        Ok(tasks)
    }

    /// The tasks in a job's bundles in one shard.
    async fn tasks_in(&self, shard: u16, key: &JobKey) -> Result<Vec<TaskIndex>, Error> {
        let stream = self.names.tasks_stream(&key.tenant, shard);
        let subjects = self.names.tasks_of(shard, key);
        let (mut tasks, mut from) = (Vec::new(), 1);
        loop {
            let read = || batch_read::read(&self.connection, &stream, &subjects, from);
            let batch = self.connection.patiently(read).await?;
            let Some(last) = batch.messages.last().map(|read| read.sequence) else {
                return Ok(tasks);
            };
            from = last + 1;
            for read in batch.messages {
                // One that cannot be read ends as the worker says that gets it.
                if let Ok(Message::Bundle(bundle)) = envelope::decode(&read.payload) {
                    tasks.extend(bundle.tasks.iter().map(|task| task.index));
                }
            }
            if batch.end == End::Reached {
                return Ok(tasks);
            }
        }
    }

    pub(super) async fn claim(
        &self,
        key: &JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let subject = self.names.term(key);
        let headers = replacing(after.unwrap_or(0));
        let payload = envelope::term(&term);
        let stored = self.jetstream.store(&subject, &headers, &payload).await?;
        match stored {
            Ok(stored) => Ok(Some(stored.seq)),
            // Somebody else was faster, or this was asked twice and came through the first time.
            Err(refusal) if refusal.is_conflict() => {
                let last = self.claimed(key).await?;
                let is_ours =
                    |claimed: &Claimed| claimed.term == term && Some(claimed.version) > after;
                Ok(last.filter(is_ours).map(|claimed| claimed.version))
            }
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    pub(super) async fn claimed(&self, key: &JobKey) -> Result<Option<Claimed>, Error> {
        let stream = self.names.graphs_stream(&key.tenant);
        let subject = self.names.term(key);
        let last = || self.jetstream.last(&stream, &subject);
        let last = self.connection.patiently(last).await?;
        Ok(last.and_then(|Kept { sequence, payload }| claimed(sequence, &payload)))
    }

    /// The claims to the jobs of all tenants.
    pub(super) async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        let mut all = Vec::new();
        for tenant in self.provisioner.served().await?.tenants {
            all.extend(self.claimed_of(&tenant.name).await?);
        }
        Ok(all)
    }

    /// The claims to all jobs of a tenant. One that cannot be read is left out.
    async fn claimed_of(&self, tenant: &TenantId) -> Result<Vec<(JobKey, Claimed)>, Error> {
        let stream = self.names.graphs_stream(tenant);
        let filter = self.names.all_terms(tenant);
        let read = batch_read::read_all(&self.connection, &stream, &filter).await?;
        let claim = |read: &batch_read::Read| {
            let key = self.names.parse_term(read.subject()?)?;
            Some((key, claimed(read.sequence, &read.payload)?))
        };
        Ok(read.iter().filter_map(claim).collect())
    }

    pub(super) async fn drop(&self, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.graphs_stream(&key.tenant);
        for subject in [self.names.graph(key), self.names.term(key)] {
            let purging = || self.jetstream.purge(&stream, &subject);
            self.connection.patiently(purging).await?;
        }
        Ok(())
    }
}

fn claimed(version: u64, payload: &[u8]) -> Option<Claimed> {
    match envelope::decode(payload) {
        Ok(Message::Term(term)) => Some(Claimed { term, version }),
        Ok(_) | Err(_) => None,
    }
}

/// Entries as they fit messages.
fn parts(mut entries: &[GraphEntry], limit: usize) -> impl Iterator<Item = &[GraphEntry]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |entry: &&GraphEntry| {
            bytes += entry.weight();
            bytes <= limit / 2
        };
        let count = entries.iter().take(TASKS_MAX).take_while(fits).count();
        let (part, rest) = entries.split_at_checked(count.max(1))?;
        entries = rest;
        Some(part)
    })
}
