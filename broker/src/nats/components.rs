//! Stores and fetches components: chunks under the digest, and a manifest that is written last.
//!
//! The digest is checked when a component is fetched, so a wrong chunk is an error and never runs.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie_protocol::Digest;
use sortie_protocol::envelope::{self, Manifest, Message};

use super::connection::Connection;
use super::headers::expecting;
use super::jetstream::JetStream;
use super::names::Names;
use crate::traits::Error;

/// Bytes in one chunk: half of what a server takes by default.
const CHUNK_BYTES: u32 = 512 << 10;
/// Maximum size of a fetched component: as much as a host compiles. Manifests are not trusted; this
/// bounds the memory that one can cost.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;
/// Minimum size of the chunks of a component that has several. Servers take larger messages; a
/// manifest of smaller chunks would cost more requests than bytes.
const CHUNK_BYTES_MIN: u64 = 1 << 10;
/// Concurrent chunk requests.
const CHUNKS_AT_ONCE: usize = 4;

/// The stream of components, which all tenants share.
#[derive(Debug)]
pub(super) struct Components {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl Components {
    pub(super) async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        if self.manifest(digest).await?.is_some() {
            return Ok(());
        }
        let size = u32::try_from(self.connection.payload_max())
            .unwrap_or(u32::MAX)
            .clamp(1, CHUNK_BYTES);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let chunks = (0..bytes.len().div_ceil(length))
            .map(|i| bytes.slice(i * length..bytes.len().min((i + 1) * length)));
        let numbered: Vec<_> = (0..).zip(chunks).collect();
        let storing = stream::iter(numbered)
            .map(|(number, chunk)| self.put_part(self.names.chunk(digest, number), chunk));
        storing
            .buffer_unordered(CHUNKS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let manifest = Manifest {
            size: bytes.len() as u64,
            chunk: size,
        };
        self.put_part(self.names.manifest(digest), envelope::manifest(&manifest))
            .await
    }

    async fn put_part(&self, subject: String, payload: Bytes) -> Result<(), Error> {
        match self
            .jetstream
            .store(&subject, &expecting(0), &payload)
            .await?
        {
            Ok(_) => Ok(()),
            // Another process stored this chunk first. If it is a wrong one, fetching fails.
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    pub(super) async fn fetch(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let Some(Manifest { size, chunk }) = self.manifest(digest).await? else {
            return Ok(None);
        };
        let damaged = |what: String| {
            self.connection.unsuitable(format!(
                "the component {digest} {what}; an operator has to remove its messages"
            ))
        };
        let chunk = u64::from(chunk);
        if size > COMPONENT_BYTES_MAX || chunk == 0 || (chunk < CHUNK_BYTES_MIN && chunk < size) {
            return Err(damaged(format!(
                "has a manifest of {size} bytes in chunks of {chunk}"
            )));
        }
        let fetching = stream::iter(0..size.div_ceil(chunk)).map(|number| async move {
            let subject = self.names.chunk(digest, number);
            self.part(&subject).await
        });
        let mut fetching = pin!(fetching.buffered(CHUNKS_AT_ONCE));
        let mut bytes = BytesMut::new();
        // Nothing more is asked for after the first chunk that is not what the manifest says.
        while let Some(part) = fetching.try_next().await? {
            let Some(part) = part else {
                return Err(damaged("lacks a chunk".into()));
            };
            let expected = chunk.min(size - bytes.len() as u64);
            if part.len() as u64 != expected {
                return Err(damaged(format!(
                    "has a chunk of {} bytes where its manifest says {expected}",
                    part.len()
                )));
            }
            bytes.extend_from_slice(&part);
        }
        let bytes = bytes.freeze();
        if Digest::of(&bytes) == digest {
            Ok(Some(bytes))
        } else {
            Err(damaged("does not have its digest".into()))
        }
    }

    async fn manifest(&self, digest: Digest) -> Result<Option<Manifest>, Error> {
        let Some(payload) = self.part(&self.names.manifest(digest)).await? else {
            return Ok(None);
        };
        match envelope::decode(&payload) {
            Ok(Message::Manifest(manifest)) => Ok(Some(manifest)),
            Ok(_) => Err(self
                .connection
                .unsuitable(format!("the manifest of {digest} is not a manifest"))),
            Err(error) => Err(self
                .connection
                .unsuitable(format!("the manifest of {digest} cannot be read: {error}"))),
        }
    }

    /// The message on a subject. Any replica may answer; only the leader's answer that there is
    /// none is believed.
    async fn part(&self, subject: &str) -> Result<Option<Bytes>, Error> {
        let stream = self.names.components_stream();
        let found = self
            .connection
            .patiently(|| self.jetstream.last_anywhere(&stream, subject))
            .await?;
        if found.is_some() {
            return Ok(found);
        }
        Ok(self
            .connection
            .patiently(|| self.jetstream.last(&stream, subject))
            .await?
            .map(|kept| kept.payload))
    }
}
