//! One version of a stored object: its location, and the checks on every answer.

use std::sync::atomic::{AtomicU64, Ordering};

use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta};
use sortie_protocol::outcome::InputFault;

use super::block::{BLOCK_BYTES, Key};
use crate::Error;
use crate::stores::Store;

/// A version. Reads return its bytes or fail; they never return another version's bytes.
#[derive(Debug)]
pub(crate) struct Version {
    name: [u8; 16],
    shown: String,
    store: Store,
    meta: ObjectMeta,
    locality: Locality,
}

/// Whether the object is local or remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locality {
    /// On this machine, where the operating system caches what was read.
    Here,
    /// Behind a network.
    Remote,
}

impl Version {
    /// The version that `meta` describes. `name` identifies the object among all stores; `shown` is
    /// its name in messages.
    pub(crate) fn new(
        name: &str,
        shown: String,
        store: Store,
        meta: ObjectMeta,
        locality: Locality,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut hasher = blake3::Hasher::new_derive_key("sortie object version 1");
        match &meta.e_tag {
            Some(etag) => hasher.update(format!("{name}\n{etag}\n{}", meta.size).as_bytes()),
            // Without a validator, versions of the same object cannot be told apart, so this one is
            // not shared.
            None => hasher.update(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes()),
        };
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        Self {
            name: hash,
            shown,
            store,
            meta,
            locality,
        }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Bytes of the whole object.
    pub(crate) fn size(&self) -> u64 {
        self.meta.size
    }

    pub(crate) fn key(&self, index: u64) -> Key {
        Key {
            version: self.name,
            index,
        }
    }

    /// Size of a block: the last one may be shorter.
    pub(crate) fn block_bytes(&self, index: u64) -> u64 {
        self.meta
            .size
            .saturating_sub(index.saturating_mul(BLOCK_BYTES))
            .min(BLOCK_BYTES)
    }

    /// Whether its blocks are cached for other readers: it has a validator and is remote.
    pub(crate) fn is_shared(&self) -> bool {
        self.meta.e_tag.is_some() && self.locality == Locality::Remote
    }

    /// Request a range, and check that the answer is of this version.
    pub(crate) async fn get(&self, range: std::ops::Range<u64>) -> Result<GetResult, Error> {
        let mut options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        match &self.meta.e_tag {
            Some(etag) => options.if_match = Some(etag.clone()),
            // Without an etag this is the best available check, to the resolution of the store's
            // clock.
            None => options.if_unmodified_since = Some(self.meta.last_modified),
        }
        let answer = self
            .store
            .get_opts(self.path(), options)
            .await
            .map_err(|error| Error::from_store(&self.shown, &error))?;
        // Stores that do not support the condition answer anyway.
        if answer.meta.e_tag != self.meta.e_tag || answer.meta.size != self.meta.size {
            return Err(self.changed());
        }
        if answer.range == range {
            Ok(answer)
        } else {
            Err(self.wrong_length(&answer.range, &range))
        }
    }

    fn path(&self) -> &Path {
        &self.meta.location
    }

    fn changed(&self) -> Error {
        Error::new(
            InputFault::Changed,
            format!("`{}` was replaced while the task read it", self.shown),
        )
    }

    fn wrong_length(&self, is: &std::ops::Range<u64>, asked: &std::ops::Range<u64>) -> Error {
        let message = format!(
            "`{}` answered bytes {is:?} where {asked:?} were asked for",
            self.shown
        );
        Error::new(InputFault::Unavailable, message)
    }
}
