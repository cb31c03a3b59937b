//! Stores and reads what workers note of bundles that they hand back, see [`attempts`].
//!
//! [`attempts`]: super::attempts

use async_nats::HeaderMap;
use sortie_protocol::JobKey;

use super::attempts::Note;
use super::connection::Connection;
use super::jetstream::JetStream;
use super::names::Names;
use crate::traits::Error;

/// Names a bundle: where it lies. The sequence of a message is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BundleId {
    pub(super) key: JobKey,
    pub(super) shard: u16,
    pub(super) sequence: u64,
}

/// The notes of all tenants.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl Notes {
    /// Store a note in the place of the one before it.
    pub(super) async fn put(&self, bundle: &BundleId, note: &Note) -> Result<(), Error> {
        match self
            .jetstream
            .store(
                &self.subject(bundle),
                &HeaderMap::new(),
                &note.write().into(),
            )
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// The newest note of a bundle. One that cannot be read counts as none.
    pub(super) async fn of(&self, bundle: &BundleId) -> Result<Option<Note>, Error> {
        let stream = self.names.attempts_stream(&bundle.key.tenant);
        let subject = self.subject(bundle);
        let kept = self
            .connection
            .patiently(|| self.jetstream.last(&stream, &subject))
            .await?;
        Ok(kept.and_then(|kept| Note::parse(&kept.payload)))
    }

    /// Remove the notes of a job that is over.
    pub(super) async fn forget(&self, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.attempts_stream(&key.tenant);
        let subject = self.names.attempts_of(key);
        self.connection
            .patiently(|| self.jetstream.purge(&stream, &subject))
            .await
    }

    fn subject(&self, bundle: &BundleId) -> String {
        self.names
            .attempts(&bundle.key, bundle.shard, bundle.sequence)
    }
}
