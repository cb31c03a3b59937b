//! Large values of jobs, in chunks: a stream for each tenant, a subject for each chunk.
//!
//! A chunk is stored once: of two processes that keep the same value the second finds it there. The
//! size of the chunks is that of the first. The digest is checked when a value is fetched, so a
//! wrong chunk is an error and never an argument.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie_protocol::{BrokerRef, Digest, JobKey, TaskIndex, TenantId};

use super::headers::expecting;
use super::jetstream::JetStream;
use super::names::Names;
use super::provision::Provisioner;
use super::streams::VALUE_CHUNK_BYTES as CHUNK_BYTES;
use crate::traits::{Error, VALUE_BYTES_MAX};

/// The least bytes in the chunks of a value that has several.
const CHUNK_BYTES_MIN: usize = 1 << 10;
/// Chunks that are stored or asked for at a time.
const CHUNKS_AT_ONCE: usize = 4;
/// How long a value waits for room: others may be dropped meanwhile, and a task waits with it.
const ROOM_TIME_MAX: Duration = Duration::from_secs(30);

/// The kept values of all tenants.
#[derive(Debug)]
pub(super) struct KeptValues {
    jetstream: JetStream,
    names: Names,
}

impl KeptValues {
    pub(super) fn new(provisioner: &Provisioner) -> Self {
        Self {
            jetstream: provisioner.jetstream.with_room_within(ROOM_TIME_MAX),
            names: provisioner.names.clone(),
        }
    }

    pub(super) async fn put(
        &self,
        key: &JobKey,
        task: Option<TaskIndex>,
        value: Bytes,
    ) -> Result<BrokerRef, Error> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Error::TooLarge {
                weight: value.len(),
                limit: VALUE_BYTES_MAX,
            });
        }
        let kept = BrokerRef::new(key.job, task, &value);
        let length = self
            .jetstream
            .connection
            .payload_max()
            .clamp(1, CHUNK_BYTES);
        let numbered: Vec<_> = (0..value.len().div_ceil(length))
            .map(|chunk| {
                let end = value.len().min((chunk + 1) * length);
                (chunk as u64, value.slice(chunk * length..end))
            })
            .collect();
        stream::iter(numbered)
            .map(|(number, chunk)| self.put_chunk(&key.tenant, &kept, number, chunk))
            .buffer_unordered(CHUNKS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(kept)
    }

    async fn put_chunk(
        &self,
        tenant: &TenantId,
        kept: &BrokerRef,
        number: u64,
        chunk: Bytes,
    ) -> Result<(), Error> {
        let subject = self.names.value(tenant, kept, number);
        match self
            .jetstream
            .store(&subject, &expecting(0), &chunk)
            .await?
        {
            Ok(_) => Ok(()),
            // It is there already.
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    pub(super) async fn fetch(
        &self,
        tenant: &TenantId,
        kept: &BrokerRef,
    ) -> Result<Option<Bytes>, Error> {
        let damaged = |what: &str| {
            let BrokerRef { job, digest, .. } = kept;
            let reason = format!("the value {digest} of `{job}` {what}");
            self.jetstream.connection.unsuitable(reason)
        };
        let size = usize::try_from(kept.size).unwrap_or(usize::MAX);
        if size > VALUE_BYTES_MAX {
            return Err(Error::TooLarge {
                weight: size,
                limit: VALUE_BYTES_MAX,
            });
        }
        let Some(first) = self.chunk(tenant, kept, 0).await? else {
            return Ok(None);
        };
        let length = first.len();
        if length > size || (length < size && length < CHUNK_BYTES_MIN) {
            return Err(damaged("has a first chunk of another size"));
        }
        let mut bytes = BytesMut::from(first);
        let chunks = size.div_ceil(length.max(1)) as u64;
        let fetching = stream::iter(1..chunks)
            .map(|number| self.chunk(tenant, kept, number))
            .buffered(CHUNKS_AT_ONCE);
        let mut fetching = pin!(fetching);
        // Nothing more is asked for after the first chunk that is missing or too large.
        while let Some(chunk) = fetching.try_next().await? {
            let Some(chunk) = chunk else {
                return Ok(None);
            };
            if chunk.len() != length.min(size - bytes.len()) {
                return Err(damaged("has a chunk of another size"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let bytes = bytes.freeze();
        if Digest::of(&bytes) == kept.digest {
            Ok(Some(bytes))
        } else {
            Err(damaged("does not have its digest"))
        }
    }

    /// A chunk. Any replica may answer; only the leader's answer that there is none is believed.
    async fn chunk(
        &self,
        tenant: &TenantId,
        kept: &BrokerRef,
        number: u64,
    ) -> Result<Option<Bytes>, Error> {
        let stream = self.names.values_stream(tenant);
        let subject = self.names.value(tenant, kept, number);
        let JetStream { connection, .. } = &self.jetstream;
        let found = connection
            .patiently(|| self.jetstream.last_anywhere(&stream, &subject))
            .await?;
        if found.is_some() {
            return Ok(found);
        }
        let last = connection
            .patiently(|| self.jetstream.last(&stream, &subject))
            .await?;
        Ok(last.map(|kept| kept.payload))
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
        let purging = || self.jetstream.purge(&stream, subjects);
        self.jetstream.connection.patiently(purging).await
    }
}
