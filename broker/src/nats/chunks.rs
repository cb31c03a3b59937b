//! Bytes in chunks: a message for each chunk, on a subject of its own.
//!
//! A chunk is stored once: of two processes that store the same bytes the second finds it there.
//! What others stored is not trusted: the size of each chunk is checked before the next is asked
//! for, and the digest at the end.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sortie_protocol::Digest;

use super::headers::expecting;
use super::jetstream::JetStream;
use crate::traits::Error;

/// Chunks that are stored or asked for at a time.
const CHUNKS_AT_ONCE: usize = 4;
/// The least bytes in the chunks of what has several. Servers take larger messages; smaller chunks
/// would cost more requests than bytes.
const CHUNK_BYTES_MIN: u64 = 1 << 10;

/// Stores and reads chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    pub(super) jetstream: JetStream,
}

/// What is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) digest: Digest,
    /// Bytes of all chunks.
    pub(super) size: u64,
    /// Bytes of each chunk but the last.
    pub(super) chunk: u64,
}

/// Why chunks that were read are not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// A chunk is not there.
    Missing,
    /// The chunks are so small that only a faulty or hostile process writes them.
    Tiny,
    /// A chunk has another size.
    Size { found: u64, expected: u64 },
    /// The bytes are others.
    Digest,
}

impl Chunks {
    /// Bytes of a chunk that the server takes, and at most `max`.
    pub(super) fn length(&self, max: usize) -> usize {
        self.jetstream.connection.payload_max().clamp(1, max)
    }

    /// Store bytes in chunks of `length` on the subjects of their numbers.
    pub(super) async fn put(
        &self,
        bytes: &Bytes,
        length: usize,
        subject: impl Fn(u64) -> String,
    ) -> Result<(), Error> {
        let starts = (0..bytes.len()).step_by(length);
        let numbered: Vec<_> = (0..)
            .zip(starts)
            .map(|(number, start)| {
                let end = bytes.len().min(start + length);
                (subject(number), bytes.slice(start..end))
            })
            .collect();
        stream::iter(numbered)
            .map(|(subject, chunk)| async move { self.put_one(&subject, &chunk).await })
            .buffer_unordered(CHUNKS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Store one message, unless its subject has one.
    pub(super) async fn put_one(&self, subject: &str, payload: &Bytes) -> Result<(), Error> {
        let headers = expecting(0);
        match self.jetstream.store(subject, &headers, payload).await? {
            Ok(_) => Ok(()),
            // Another process stored it first. If it is a wrong one, reading fails.
            Err(refusal) if refusal.is_conflict() => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Read all chunks, of which the first may be there already. Nothing more is asked for after
    /// one that is not as it has to be.
    pub(super) async fn get(
        &self,
        whole: Whole,
        first: Option<Bytes>,
        stream: &str,
        subject: impl Fn(u64) -> String,
    ) -> Result<Result<Bytes, Damage>, Error> {
        let Whole {
            digest,
            size,
            chunk,
        } = whole;
        if chunk == 0 || (chunk < CHUNK_BYTES_MIN && chunk < size) {
            return Ok(Err(Damage::Tiny));
        }
        let begun = u64::from(first.is_some());
        let others = stream::iter((begun..size.div_ceil(chunk)).map(subject))
            .map(|subject| async move { self.get_one(stream, &subject).await })
            .buffered(CHUNKS_AT_ONCE);
        let mut reading = pin!(stream::iter(first.map(|first| Ok(Some(first)))).chain(others));
        let mut bytes = BytesMut::new();
        while let Some(read) = reading.try_next().await? {
            let Some(read) = read else {
                return Ok(Err(Damage::Missing));
            };
            let (found, expected) = (read.len() as u64, chunk.min(size - bytes.len() as u64));
            if found != expected {
                return Ok(Err(Damage::Size { found, expected }));
            }
            bytes.extend_from_slice(&read);
        }
        let bytes = bytes.freeze();
        if Digest::of(&bytes) == digest {
            Ok(Ok(bytes))
        } else {
            Ok(Err(Damage::Digest))
        }
    }

    /// The message on a subject. Any replica may answer; only the leader's answer that there is
    /// none is believed.
    pub(super) async fn get_one(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Bytes>, Error> {
        let JetStream { connection, .. } = &self.jetstream;
        let found = connection
            .patiently(|| self.jetstream.last_anywhere(stream, subject))
            .await?;
        if found.is_some() {
            return Ok(found);
        }
        let last = connection
            .patiently(|| self.jetstream.last(stream, subject))
            .await?;
        Ok(last.map(|kept| kept.payload))
    }
}
