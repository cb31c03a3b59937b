//! One version of a stored object: its location, and the checks on every answer.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use object_store::{GetOptions, GetRange};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Pin, VersionId};

use super::block::{BLOCK_BYTES, Key};
use crate::Error;
use crate::blocking::Pool;
use crate::stores::bucket::{self, Keyed};
use crate::stores::local::{LocalFile, Stamp};
use crate::stores::web::{Known, WebFile};

/// A version. Reads return its bytes or fail; they never return another version's bytes.
#[derive(Debug)]
pub(crate) struct Version {
    name: [u8; 16],
    shown: String,
    source: Source,
    size: u64,
    has_etag: bool,
}

/// Where the bytes are, and what is known of them there.
#[derive(Debug)]
pub(crate) enum Source {
    /// On this machine, which keeps what was read by itself.
    File {
        file: LocalFile,
        stamp: Stamp,
        pool: Pool,
    },
    Bucket {
        object: Keyed,
        /// If another than the present one is meant.
        version: Option<VersionId>,
        found: Looked,
    },
    Web {
        file: WebFile,
        known: Box<Known>,
    },
}

/// What is known of an object in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
    /// The options that say when it was changed last; without, if it was listed.
    pub(crate) unmodified: GetOptions,
    pub(crate) content_type: Option<String>,
}

/// Bytes of a version, at once or as they come.
pub(crate) enum Body {
    Whole(Bytes),
    Stream(BoxStream<'static, Result<Bytes, Error>>),
}

impl Looked {
    /// What is known of an object whose version is known.
    pub(crate) fn pinned(pin: &Pin) -> Self {
        Self {
            size: pin.size,
            etag: Some(pin.etag.to_string()),
            unmodified: GetOptions::default(),
            content_type: None,
        }
    }
}

impl Version {
    /// The version of which `source` knows. `name` is the object's among all stores, `shown` in
    /// front of people.
    pub(crate) fn new(
        name: &str,
        shown: String,
        source: Source,
        (size, etag): (u64, Option<String>),
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut hasher = blake3::Hasher::new_derive_key("sortie object version 1");
        match &etag {
            Some(etag) => hasher.update(format!("{name}\n{etag}\n{size}").as_bytes()),
            // Nothing tells this version from another of the same name: it is shared with nobody.
            None => hasher.update(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes()),
        };
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        Self {
            name: hash,
            shown,
            source,
            size,
            has_etag: etag.is_some(),
        }
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Bytes of the whole object.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn key(&self, index: u64) -> Key {
        Key {
            version: self.name,
            index,
        }
    }

    /// Size of a block: the last one may be shorter.
    pub(crate) fn block_bytes(&self, index: u64) -> u64 {
        self.size
            .saturating_sub(index.saturating_mul(BLOCK_BYTES))
            .min(BLOCK_BYTES)
    }

    /// Whether its blocks are cached for other readers: it has a validator and is remote.
    pub(crate) fn is_shared(&self) -> bool {
        match self.source {
            Source::File { .. } => false,
            Source::Bucket { .. } | Source::Web { .. } => self.has_etag,
        }
    }

    /// Ask for a range, and see that the answer is of this version.
    pub(crate) async fn get(&self, range: Range<u64>) -> Result<Body, Error> {
        match &self.source {
            Source::File { file, stamp, pool } => {
                let (file, stamp, shown) = (file.clone(), stamp.clone(), self.shown.clone());
                let reading = pool.run(move || file.read(&shown, &stamp, &range));
                Ok(Body::Whole(reading.await??))
            }
            Source::Bucket {
                object,
                version,
                found,
            } => {
                let options = GetOptions {
                    range: Some(GetRange::Bounded(range.clone())),
                    ..found.conditions(version.as_ref())
                };
                let answer = object
                    .get(options)
                    .await
                    .map_err(|error| Error::from_store(&self.shown, &error))?;
                // Stores that do not know the condition answer all the same.
                if !found.may_be(answer.meta.size, answer.meta.e_tag.as_deref()) {
                    return Err(self.changed());
                }
                if answer.range != range {
                    return Err(self.wrong_length(&answer.range, &range));
                }
                let shown = self.shown.clone();
                let body = answer
                    .into_stream()
                    .map(move |part| part.map_err(|error| Error::from_store(&shown, &error)));
                Ok(Body::Stream(body.boxed()))
            }
            Source::Web { file, known } => {
                file.get(&self.shown, known, range).await.map(Body::Stream)
            }
        }
    }

    fn changed(&self) -> Error {
        Error::new(
            InputFault::Changed,
            format!("`{}` was replaced while the task read it", self.shown),
        )
    }

    fn wrong_length(&self, is: &Range<u64>, asked: &Range<u64>) -> Error {
        let message = format!(
            "`{}` answered bytes {is:?} where {asked:?} were asked for",
            self.shown
        );
        Error::new(InputFault::Unavailable, message)
    }
}

impl Looked {
    /// What a request for this version says.
    fn conditions(&self, version: Option<&VersionId>) -> GetOptions {
        let options = bucket::options(version);
        match &self.etag {
            // A weak one never matches (RFC 9110, 13.1.1); it is compared alone.
            Some(etag) if etag.starts_with("W/") => options,
            Some(etag) => GetOptions {
                if_match: Some(etag.clone()),
                ..options
            },
            // The best there is without a validator, to the resolution of the store's clock.
            None => GetOptions {
                if_unmodified_since: self.unmodified.if_unmodified_since,
                ..options
            },
        }
    }

    /// Whether an answer is of this version. Some servers leave the quotes out, here or there.
    fn may_be(&self, size: u64, etag: Option<&str>) -> bool {
        let plain = |etag: &str| {
            etag.strip_prefix("W/")
                .unwrap_or(etag)
                .trim_matches('"')
                .to_owned()
        };
        self.size == size && self.etag.as_deref().map(plain) == etag.map(plain)
    }
}
