//! The output store: content-addressed objects in a folder or bucket that the operator has
//! configured.
//!
//! An object is at `objects/<first two digits>/<digest>` below the store's location; the digest is
//! the SHA-256 of its bytes. So equal bytes are stored once, and a reader checks the digest and
//! notices a changed object. An object that is too large for memory is first written under
//! `incoming/` and renamed when it is complete.
//!
//! Nothing is removed here. Files that killed processes left under `incoming/`, and objects that
//! nothing refers to any more, are removed by `sortie cache gc` or by the bucket's lifecycle rules.
//!
//! Bounds: those of [`crate::Upload`]; a streamed object has at most [`STREAM_BYTES_MAX`].

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sortie_protocol::Advice;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Digest, StoredRef, id};

use crate::{Error, Location, Malformed, Objects, PART_BYTES, Upload, WriteError, WriteFault};

/// The folder of objects below a store's location.
pub const OBJECTS: &str = "objects";
/// The folder of incomplete objects.
pub const INCOMING: &str = "incoming";
/// Maximum size of a streamed object: S3 cannot copy, and so not rename, a larger object in one
/// request.
pub const STREAM_BYTES_MAX: u64 = 5 << 30;

/// A content-addressed store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutputStore {
    objects: Objects,
    place: Arc<Location>,
}

/// Parse a store's location: a path, relative to `folder`, or a URL, which may name a whole bucket.
///
/// # Errors
/// When it is neither, or on a web server.
pub fn parse(text: &str, folder: &Path) -> Result<Location, Malformed> {
    let location = Location::parse_place(text, folder)?;
    match location {
        Location::Http(_) => Err(Malformed::Syntax {
            shown: location.to_string(),
            reason: "a store is a folder or in an object store, not on a web server",
        }),
        location => Ok(location),
    }
}

impl OutputStore {
    /// The store at `place`, which need not exist yet.
    #[must_use]
    pub fn new(objects: Objects, place: Location) -> Self {
        Self {
            objects,
            place: Arc::new(place),
        }
    }

    /// Its location.
    #[must_use]
    pub fn place(&self) -> &Location {
        &self.place
    }

    /// The [`Objects`] that it reads and writes with.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The location of the object with this digest, whether or not it exists.
    #[must_use]
    pub fn location_of(&self, digest: Digest) -> Location {
        let name = digest.to_hex();
        let (first, _) = name.split_at_checked(2).unwrap_or(("", ""));
        self.place.below(&format!("{OBJECTS}/{first}/{name}"))
    }

    /// Store `data`. An object that exists already is not sent again. Cancel safe.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn put(
        &self,
        data: Bytes,
        content_type: Option<&str>,
    ) -> Result<StoredRef, WriteError> {
        let (digest, size) = (Digest::of(&data), data.len() as u64);
        let location = self.location_of(digest);
        if !self.has(&location, size).await {
            self.objects.put(&location, data, content_type).await?;
        }
        Ok(StoredRef {
            digest,
            size,
            location,
        })
    }

    /// Start writing an object as a stream.
    #[must_use]
    pub fn create(&self, content_type: Option<&str>) -> Writer {
        Writer {
            store: self.clone(),
            content_type: content_type.map(ToOwned::to_owned),
            digest: id::DigestBuilder::default(),
            size: 0,
            small: BytesMut::new(),
            large: None,
        }
    }

    /// The bytes with this digest.
    ///
    /// # Errors
    /// When the object does not exist, is larger than `bytes_max` or damaged, or the store does not
    /// answer.
    pub async fn get(&self, digest: Digest, bytes_max: u64) -> Result<Bytes, Error> {
        let location = self.location_of(digest);
        let Some(data) = self.objects.get_small(&location, bytes_max).await? else {
            let message = format!(
                "there is nothing at `{location}`; it was removed from the store, and a run \
                 without kept results makes it again"
            );
            return Err(Error::new(InputFault::Missing, message).advised(Advice::RunAgain));
        };
        if Digest::of(&data) == digest {
            Ok(data)
        } else {
            let message = format!(
                "`{location}` is damaged: its bytes do not match its name; remove it, and run \
                 again without kept results"
            );
            Err(Error::new(InputFault::Changed, message).advised(Advice::RunAgain))
        }
    }

    /// Whether the object is in this store, complete and under its proper name. False if the store
    /// does not answer. Cancel safe.
    pub async fn holds(&self, stored: &StoredRef) -> bool {
        let location = self.location_of(stored.digest);
        location == stored.location && self.has(&location, stored.size).await
    }

    /// Whether the complete object exists. False if the store does not answer; it is then written
    /// again, which is harmless.
    async fn has(&self, location: &Location, size: u64) -> bool {
        matches!(self.objects.size(location).await, Ok(Some(there)) if there == size)
    }
}

/// An object that is being written to a store. Dropping it abandons the object.
#[derive(Debug)]
pub struct Writer {
    store: OutputStore,
    content_type: Option<String>,
    digest: id::DigestBuilder,
    size: u64,
    /// The whole content, as long as it fits one part.
    small: BytesMut,
    large: Option<(Location, Upload)>,
}

impl Writer {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Append to the object. Waits while too many parts are being uploaded.
    ///
    /// Not cancel safe: drop the writer.
    ///
    /// # Errors
    /// When the store cannot be written to, or the object gets larger than [`STREAM_BYTES_MAX`].
    pub async fn write(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.size += data.len() as u64;
        if self.size > STREAM_BYTES_MAX {
            let limit = STREAM_BYTES_MAX >> 30;
            let message = format!(
                "an object in the store `{}` has at most {limit} GiB; write several",
                self.store.place
            );
            return Err(WriteError {
                fault: WriteFault::TooLarge,
                message,
            });
        }
        self.digest.update(data);
        if self.large.is_none() && self.small.len() + data.len() > PART_BYTES {
            let location = self
                .store
                .place
                .below(&format!("{INCOMING}/{}", random_name()?));
            let mut upload = self
                .store
                .objects
                .upload(&location, self.content_type.as_deref())?;
            upload.write(&self.small.split()).await?;
            self.large = Some((location, upload));
        }
        match &mut self.large {
            Some((_, upload)) => upload.write(data).await,
            None => {
                self.small.extend_from_slice(data);
                Ok(())
            }
        }
    }

    /// End the object. It is nowhere to be seen before it is published.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn seal(self) -> Result<Sealed, WriteError> {
        let content = match self.large {
            None => Content::Small(self.small.freeze()),
            Some((incoming, mut upload)) => {
                upload.flush().await?;
                Content::Large(incoming, Box::new(upload))
            }
        };
        let digest = self.digest.finish();
        Ok(Sealed {
            stored: StoredRef {
                digest,
                size: self.size,
                location: self.store.location_of(digest),
            },
            store: self.store,
            content_type: self.content_type,
            content,
        })
    }
}

/// An object that is complete and not published. Dropping it abandons the object. It holds up to
/// [`PART_BYTES`] of memory.
#[derive(Debug)]
pub struct Sealed {
    store: OutputStore,
    content_type: Option<String>,
    stored: StoredRef,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Small(Bytes),
    /// All parts are at the store, for this incoming name.
    Large(Location, Box<Upload>),
}

impl Sealed {
    /// What the object is going to be.
    #[must_use]
    pub fn stored(&self) -> &StoredRef {
        &self.stored
    }

    /// Let the object appear under the name of its content.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn publish(self) -> Result<StoredRef, WriteError> {
        let Self {
            store,
            content_type,
            stored,
            content,
        } = self;
        let (incoming, upload) = match content {
            Content::Small(data) => return store.put(data, content_type.as_deref()).await,
            Content::Large(incoming, upload) => (incoming, upload),
        };
        if store.has(&stored.location, stored.size).await {
            upload.abort().await;
        } else {
            upload.finish().await?;
            store.objects.rename(&incoming, &stored.location).await?;
        }
        Ok(stored)
    }
}

fn random_name() -> Result<String, WriteError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
        |error| WriteError {
            fault: WriteFault::Unavailable,
            message: format!("failed to get random bytes: {error}"),
        },
    )?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;

    fn store(folder: &Path) -> OutputStore {
        OutputStore::new(
            Objects::new(crate::Config::default(), Handle::current()),
            parse("the store", folder).unwrap(),
        )
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found: Vec<String> = glob::glob(&format!("{}/**/*", folder.display()))
            .unwrap()
            .map(Result::unwrap)
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(folder).unwrap().display().to_string())
            .collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn the_same_bytes_are_kept_once_under_the_name_of_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let first = store
            .put(Bytes::from_static(b"abc"), Some("text/plain"))
            .await
            .unwrap();
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((first.digest.to_hex().as_str(), first.size), (name, 3));
        assert_eq!(
            files(folder.path()),
            [format!("the store/objects/ba/{name}")]
        );
        let path = folder.path().join(format!("the store/objects/ba/{name}"));
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(
            store.put(Bytes::from_static(b"abc"), None).await.unwrap(),
            first
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            written
        );
        assert_eq!(store.get(first.digest, 3).await.unwrap(), "abc");
        assert_eq!(
            store.get(first.digest, 2).await.unwrap_err().fault,
            InputFault::Unavailable
        );
        std::fs::write(&path, "abd").unwrap();
        assert_eq!(
            store.get(first.digest, 3).await.unwrap_err().fault,
            InputFault::Changed
        );
        // Cut short by something else than this program: written anew.
        std::fs::write(&path, "a").unwrap();
        store.put(Bytes::from_static(b"abc"), None).await.unwrap();
        assert_eq!(store.get(first.digest, 3).await.unwrap(), "abc");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            store.get(first.digest, 3).await.unwrap_err().fault,
            InputFault::Missing
        );
    }

    #[tokio::test]
    async fn what_is_streamed_gets_the_same_name_as_what_is_put_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        for size in [0, 10, PART_BYTES, 3 * PART_BYTES + 7] {
            let data: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut writer = store.create(None);
            for chunk in data.chunks(1_000_003) {
                writer.write(chunk).await.unwrap();
            }
            let sealed = writer.seal().await.unwrap();
            assert!(!store.holds(sealed.stored()).await);
            let streamed = sealed.publish().await.unwrap();
            assert_eq!(
                (streamed.digest, streamed.size),
                (Digest::of(&data), size as u64)
            );
            assert_eq!(store.get(streamed.digest, 1 << 30).await.unwrap(), data);
            assert_eq!(store.put(data.into(), None).await.unwrap(), streamed);
        }
        assert!(
            files(folder.path())
                .iter()
                .all(|path| path.contains("/objects/")),
            "{:?}",
            files(folder.path())
        );
    }

    #[test]
    fn a_place_is_a_folder_or_in_an_object_store() {
        let shown =
            |text: &str| parse(text, Path::new("/here")).map(|location| location.to_string());
        assert_eq!(shown("s3://bucket").unwrap(), "s3://bucket/");
        assert_eq!(shown("s3://bucket/").unwrap(), "s3://bucket/");
        assert_eq!(shown("gs://bucket/").unwrap(), "gs://bucket/");
        assert_eq!(shown("az://container").unwrap(), "az://container/");
        assert!(shown("az://b").unwrap_err().to_string().contains("3 to 63"));
        assert_eq!(shown("s3://bucket/a/b/").unwrap(), "s3://bucket/a/b/");
        assert_eq!(shown("results").unwrap(), "file:///here/results");
        assert!(
            shown("https://example.org/store")
                .unwrap_err()
                .to_string()
                .contains("web server")
        );
        assert!(shown("s3://").is_err() && shown("").is_err());
        let below = |text: &str| {
            parse(text, Path::new("/here"))
                .unwrap()
                .below("objects/x")
                .to_string()
        };
        assert_eq!(below("s3://bucket"), "s3://bucket/objects/x");
        assert_eq!(below("s3://bucket/a/"), "s3://bucket/a/objects/x");
        assert_eq!(below("r s#1?"), "file:///here/r s#1?/objects/x");
    }
}
