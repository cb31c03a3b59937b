//! Stores and fetches components: chunks under the digest, and a manifest that is written last.
//!
//! The digest is checked when a component is fetched, so a wrong chunk is an error and never runs.

use bytes::Bytes;
use sortie_protocol::Digest;
use sortie_protocol::envelope::{self, Manifest, Message};

use super::chunks::{Chunks, Damage, Whole};
use super::names::Names;
use crate::traits::Error;

/// Bytes in one chunk: half of what a server takes by default.
const CHUNK_BYTES: u32 = 512 << 10;
/// Maximum size of a fetched component: as much as a host compiles. Manifests are not trusted; this
/// bounds the memory that one can cost.
const COMPONENT_BYTES_MAX: u64 = 128 << 20;

/// The stream of components, which all tenants share.
#[derive(Debug)]
pub(super) struct Components {
    pub(super) chunks: Chunks,
    pub(super) names: Names,
}

impl Components {
    pub(super) async fn put(&self, digest: Digest, bytes: Bytes) -> Result<(), Error> {
        if self.manifest(digest).await?.is_some() {
            return Ok(());
        }
        let length = self.chunks.length(CHUNK_BYTES as usize);
        let subject = |number| self.names.chunk(digest, number);
        self.chunks.put(&bytes, length, subject).await?;
        let manifest = envelope::manifest(&Manifest {
            size: bytes.len() as u64,
            chunk: u32::try_from(length).unwrap_or(CHUNK_BYTES),
        });
        let subject = self.names.manifest(digest);
        self.chunks.put_one(&subject, &manifest).await
    }

    pub(super) async fn fetch(&self, digest: Digest) -> Result<Option<Bytes>, Error> {
        let Some(Manifest { size, chunk }) = self.manifest(digest).await? else {
            return Ok(None);
        };
        let chunk = u64::from(chunk);
        let manifest = format!("has a manifest of {size} bytes in chunks of {chunk}");
        if size > COMPONENT_BYTES_MAX {
            return Err(self.damaged(digest, &manifest));
        }
        let whole = Whole {
            digest,
            size,
            chunk,
        };
        let stream = self.names.components_stream();
        let subject = |number| self.names.chunk(digest, number);
        let read = self.chunks.get(whole, None, &stream, subject).await?;
        read.map(Some).map_err(|damage| {
            let what = match damage {
                Damage::Tiny => manifest,
                Damage::Missing => "lacks a chunk".into(),
                Damage::Size { found, expected } => {
                    format!("has a chunk of {found} bytes where its manifest says {expected}")
                }
                Damage::Digest => "does not have its digest".into(),
            };
            self.damaged(digest, &what)
        })
    }

    fn damaged(&self, digest: Digest, what: &str) -> Error {
        self.unsuitable(format!(
            "the component {digest} {what}; an operator has to remove its messages"
        ))
    }

    fn unsuitable(&self, reason: String) -> Error {
        self.chunks.jetstream.connection.unsuitable(reason)
    }

    async fn manifest(&self, digest: Digest) -> Result<Option<Manifest>, Error> {
        let stream = self.names.components_stream();
        let subject = self.names.manifest(digest);
        let Some(payload) = self.chunks.get_one(&stream, &subject).await? else {
            return Ok(None);
        };
        match envelope::decode(&payload) {
            Ok(Message::Manifest(manifest)) => Ok(Some(manifest)),
            Ok(_) => Err(self.unsuitable(format!("the manifest of {digest} is not a manifest"))),
            Err(error) => {
                Err(self.unsuitable(format!("the manifest of {digest} cannot be read: {error}")))
            }
        }
    }
}
