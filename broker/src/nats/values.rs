//! Large values of jobs, in chunks: a stream for each tenant, a subject for each chunk.
//!
//! A chunk is stored once: of two processes that keep the same value the second finds it there. The
//! size of the chunks is that of the first. The digest is checked when a value is fetched, so a
//! wrong chunk is an error and never an argument.

use std::time::Duration;

use bytes::Bytes;
use sortie_protocol::{BrokerRef, JobKey, TaskIndex, TenantId};

use super::chunks::{Chunks, Damage, Whole};
use super::jetstream::JetStream;
use super::names::Names;
use super::provision::Provisioner;
use super::streams::VALUE_CHUNK_BYTES as CHUNK_BYTES;
use crate::traits::{Error, VALUE_BYTES_MAX};

/// How long a value waits for room: others may be dropped meanwhile, and a task waits with it.
const ROOM_TIME_MAX: Duration = Duration::from_secs(30);

/// The kept values of all tenants.
#[derive(Debug)]
pub(super) struct KeptValues {
    chunks: Chunks,
    names: Names,
}

impl KeptValues {
    pub(super) fn new(provisioner: &Provisioner) -> Self {
        let jetstream = provisioner.jetstream.with_room_within(ROOM_TIME_MAX);
        Self {
            chunks: Chunks { jetstream },
            names: provisioner.names.clone(),
        }
    }

    pub(super) async fn put(
        &self,
        key: &JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        fits(value.len())?;
        let kept = BrokerRef::new(key.job, task, &value);
        let length = self.chunks.length(CHUNK_BYTES);
        let subject = |number| self.names.value(&key.tenant, &kept, number);
        self.chunks.put(&value, length, subject).await?;
        Ok(kept)
    }

    pub(super) async fn fetch(
        &self,
        tenant: &TenantId,
        kept: &BrokerRef,
    ) -> Result<Option<Bytes>, Error> {
        fits(usize::try_from(kept.size).unwrap_or(usize::MAX))?;
        let stream = self.names.values_stream(tenant);
        let subject = |number| self.names.value(tenant, kept, number);
        let Some(first) = self.chunks.get_one(&stream, &subject(0)).await? else {
            return Ok(None);
        };
        let whole = Whole {
            digest: kept.digest,
            size: kept.size,
            chunk: first.len() as u64,
        };
        let read = self.chunks.get(whole, Some(first), &stream, subject);
        let what = match read.await? {
            Ok(value) => return Ok(Some(value)),
            // It was dropped.
            Err(Damage::Missing) => return Ok(None),
            Err(Damage::Tiny | Damage::Size { .. }) => "has a chunk of another size",
            Err(Damage::Digest) => "does not have its digest",
        };
        let BrokerRef { job, digest, .. } = kept;
        let reason = format!("the value {digest} of `{job}` {what}");
        Err(self.chunks.jetstream.connection.unsuitable(reason))
    }

    pub(super) async fn drop_of(&self, key: &JobKey, tasks: &[TaskIndex]) -> Result<(), Error> {
        for task in tasks {
            self.purge(key, &self.names.values_of_task(key, *task))
                .await?;
        }
        Ok(())
    }

    /// Drop all values of a job.
    pub(super) async fn forget(&self, key: &JobKey) -> Result<(), Error> {
        self.purge(key, &self.names.values_of(key)).await
    }

    async fn purge(&self, key: &JobKey, subjects: &str) -> Result<(), Error> {
        let stream = self.names.values_stream(&key.tenant);
        let JetStream { connection, .. } = &self.chunks.jetstream;
        let purging = || self.chunks.jetstream.purge(&stream, subjects);
        connection.patiently(purging).await
    }
}

/// Whether a value is not larger than what is kept.
fn fits(size: usize) -> Result<(), Error> {
    if size > VALUE_BYTES_MAX {
        return Err(Error::TooLarge {
            weight: size,
            limit: VALUE_BYTES_MAX,
        });
    }
    Ok(())
}
