//! Writes objects: in one request, or as a multipart upload.
//!
//! The operator of the process chooses where to write (an output, a store), never a submitter or a
//! function, so [`crate::Files`] does not apply. An object appears complete or not at all, and
//! replaces an existing object atomically. Folders of local files are created as needed. Writing to
//! web servers is not supported.
//!
//! Bounds: an upload holds at most [`PARTS_IN_FLIGHT_MAX`] parts in flight and one that is being
//! filled, [`PART_BYTES`] each, and has at most [`PARTS_MAX`] parts. Requests are retried like
//! reads. Dropping an [`Upload`] aborts it; a process that is killed during an upload leaves parts
//! behind, which the bucket's lifecycle rule for incomplete uploads removes.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, MultipartUpload, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload,
};
use sortie_protocol::Timestamp;
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::background::{AbortOnDrop, ended, on};
use crate::error::{root_cause, sources};
use crate::objects::Objects;
use crate::stores::Store;
use crate::stores::notes::Trouble;
use crate::{Error, Location};

/// The size of an upload's parts. S3 accepts no parts below 5 MiB, and some stores require equal
/// sizes.
pub const PART_BYTES: usize = 8 << 20;
/// Concurrent parts of one upload. With the one being filled, an upload holds 40 MiB.
pub const PARTS_IN_FLIGHT_MAX: usize = 4;
/// Maximum number of parts, S3's limit: with [`PART_BYTES`], objects of up to 78 GiB. Writing more
/// is an error.
pub const PARTS_MAX: usize = 10_000;
/// How many entries a listing may be ahead of its consumer.
const ENTRIES_AHEAD_MAX: usize = 1000;

/// The kind of a [`WriteError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// The bucket does not exist, or the location cannot be written to.
    NoPlace,
    /// Permission denied.
    Denied,
    /// No space left.
    Full,
    /// The object is larger than the store allows.
    TooLarge,
    /// The store does not answer, or a transient error occurred; a retry may help.
    Unavailable,
}

/// An object could not be written or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// The kind of error.
    pub fault: WriteFault,
    /// The location, the problem and what to do, in one line without credentials.
    pub message: String,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the listed location.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
}

impl Objects {
    /// Write `data` as the object at `location`, replacing an existing one. Cancel safe: the object
    /// is either replaced or unchanged.
    ///
    /// # Errors
    /// When the location cannot be written to.
    pub async fn put(
        &self,
        location: &Location,
        data: Bytes,
        content_type: Option<&str>,
    ) -> Result<(), WriteError> {
        let (store, path) = self.writable(location)?;
        let options = PutOptions {
            attributes: attributes(location, content_type),
            ..PutOptions::default()
        };
        let putting = async move {
            store
                .put_opts(&path, PutPayload::from_bytes(data), options)
                .await
        };
        finished(on(&self.shared.io, putting).await, &location.to_string()).map(drop)
    }

    /// Start writing the object at `location`, of any size. Nothing is sent before the first part
    /// is full or [`Upload::begin`] is called.
    ///
    /// # Errors
    /// When `location` is not a location to write to.
    pub fn upload(
        &self,
        location: &Location,
        content_type: Option<&str>,
    ) -> Result<Upload, WriteError> {
        let (store, path) = self.writable(location)?;
        Ok(Upload {
            shown: location.to_string(),
            store,
            path,
            attributes: attributes(location, content_type),
            io: self.shared.io.clone(),
            filling: BytesMut::new(),
            begun: None,
            parts: JoinSet::new(),
            parts_count: 0,
            failed: None,
        })
    }

    /// The content of the object at `location`, if it exists. Not restricted by [`crate::Files`]:
    /// it reads what this process wrote.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than `bytes_max`.
    pub async fn get_small(
        &self,
        location: &Location,
        bytes_max: u64,
    ) -> Result<Option<Bytes>, Error> {
        let shown = location.to_string();
        let (store, path) = self.shared.stores.of(location)?;
        let too_large = Error::new(
            InputFault::Unavailable,
            format!("`{shown}` has more than the {bytes_max} bytes that are expected"),
        );
        let reading = async move {
            let found = store.get_opts(&path, GetOptions::default()).await?;
            if found.meta.size > bytes_max {
                return Ok(None);
            }
            let mut data = BytesMut::new();
            let mut chunks = found.into_stream();
            while let Some(chunk) = chunks.try_next().await? {
                // A server's size cannot be trusted.
                if (data.len() + chunk.len()) as u64 > bytes_max {
                    return Ok(None);
                }
                data.extend_from_slice(&chunk);
            }
            Ok(Some(data.freeze()))
        };
        match on(&self.shared.io, reading).await? {
            Ok(Some(data)) => Ok(Some(data)),
            Ok(None) => Err(too_large),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_store(&shown, &error)),
        }
    }

    /// The size of the object at `location`, if it exists. Like [`Self::get_small`], but reads no
    /// content.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn size(&self, location: &Location) -> Result<Option<u64>, Error> {
        let (store, path) = self.shared.stores.of(location)?;
        let looking = async move { store.head(&path).await };
        match on(&self.shared.io, looking).await? {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::from_store(&location.to_string(), &error)),
        }
    }

    /// Remove the object at `location`. A missing object is not an error.
    ///
    /// # Errors
    /// When it may not be removed, or the store does not answer.
    pub async fn remove(&self, location: &Location) -> Result<(), WriteError> {
        let (store, path) = self.writable(location)?;
        let removing = async move { store.delete(&path).await };
        match on(&self.shared.io, removing).await {
            Ok(Err(object_store::Error::NotFound { .. })) => Ok(()),
            other => finished(other, &location.to_string()),
        }
    }

    /// Rename the object at `from` to `to` in the same store, replacing an existing one.
    ///
    /// # Errors
    /// When the location cannot be written to.
    pub async fn rename(&self, from: &Location, to: &Location) -> Result<(), WriteError> {
        let ((store, from), (_, path)) = (self.writable(from)?, self.writable(to)?);
        finished(
            on(
                &self.shared.io,
                async move { store.rename(&from, &path).await },
            )
            .await,
            &to.to_string(),
        )
    }

    /// List all objects below `location`, in no order, with the store's names. At most a thousand
    /// are held; dropping the stream ends the listing. A missing folder is empty.
    ///
    /// # Errors
    /// When `location` cannot be listed; in the stream, when the listing fails, as the last item.
    pub fn list_below(
        &self,
        location: &Location,
    ) -> Result<BoxStream<'static, Result<Entry, Error>>, Error> {
        let (store, prefix) = self.shared.stores.of_place(location)?;
        let shown = location.to_string();
        let (sender, receiver) = mpsc::channel(ENTRIES_AHEAD_MAX);
        let listing = AbortOnDrop(self.shared.io.spawn(async move {
            let mut entries = store.list(Some(&prefix));
            while let Some(entry) = entries.next().await {
                let entry = entry.map(|meta| Entry {
                    path: below(&prefix, &meta.location),
                    size: meta.size,
                    // Times before 1970 count as 1970.
                    modified: Timestamp::from_nanos(
                        meta.last_modified
                            .timestamp_nanos_opt()
                            .and_then(|n| n.try_into().ok())
                            .unwrap_or(0),
                    ),
                });
                let (entry, ends) = match entry {
                    Ok(entry) => (Ok(entry), false),
                    Err(error) => (Err(Error::from_store(&shown, &error)), true),
                };
                if sender.send(entry).await.is_err() || ends {
                    return;
                }
            }
        }));
        let entries = futures::stream::unfold(Some((receiver, listing)), |listing| async move {
            let (mut receiver, mut listing) = listing?;
            match receiver.recv().await {
                Some(entry) => Some((entry, Some((receiver, listing)))),
                // Report a listing that did not complete.
                None => (&mut listing.0).await.err().map(|error| {
                    (
                        Err(Error::new(InputFault::Unavailable, ended(&error))),
                        None,
                    )
                }),
            }
        });
        Ok(entries.boxed())
    }

    fn writable(
        &self,
        location: &Location,
    ) -> Result<(Store, object_store::path::Path), WriteError> {
        if matches!(location, Location::Http(_)) {
            let message = format!(
                "`{location}` cannot be written to: it is on a web server; write to a file or to \
                 an object store"
            );
            return Err(WriteError {
                fault: WriteFault::NoPlace,
                message,
            });
        }
        self.shared.stores.of(location).map_err(|error| WriteError {
            fault: WriteFault::NoPlace,
            message: error.message,
        })
    }
}

/// An object that is being written. It appears when [`Upload::finish`] returns; dropping it earlier
/// aborts the upload.
#[derive(Debug)]
pub struct Upload {
    shown: String,
    store: Store,
    path: object_store::path::Path,
    attributes: Attributes,
    io: Handle,
    /// The part that is being filled.
    filling: BytesMut,
    begun: Option<Begun>,
    parts: JoinSet<object_store::Result<()>>,
    parts_count: usize,
    failed: Option<WriteError>,
}

/// A multipart upload that was started at the store. It is aborted unless it is completed.
#[derive(Debug)]
struct Begun {
    upload: Option<Box<dyn MultipartUpload>>,
    io: Handle,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // Parts left behind cost money until a lifecycle rule removes them; nothing else
            // depends on this.
            self.io.spawn(async move { upload.abort().await });
        }
    }
}

impl Upload {
    /// Start the upload at the store now, so that a location that cannot be written to is detected
    /// before there is data.
    ///
    /// # Errors
    /// When the location cannot be written to.
    pub async fn begin(&mut self) -> Result<(), WriteError> {
        self.check()?;
        if self.begun.is_some() {
            return Ok(());
        }
        let (store, path, io) = (self.store.clone(), self.path.clone(), self.io.clone());
        let options = PutMultipartOptions {
            attributes: self.attributes.clone(),
            ..PutMultipartOptions::default()
        };
        // The spawned task holds the guard: if this future is dropped, an upload already started is
        // aborted.
        let beginning = async move {
            let upload = store.put_multipart_opts(&path, options).await?;
            Ok(Begun {
                upload: Some(upload),
                io,
            })
        };
        self.begun = Some(
            finished(on(&self.io, beginning).await, &self.shown)
                .map_err(|error| self.fail(error))?,
        );
        Ok(())
    }

    /// Append to the object. Waits while [`PARTS_IN_FLIGHT_MAX`] parts are in flight.
    ///
    /// Not cancel safe: it is then unknown how much was taken; drop the upload.
    ///
    /// # Errors
    /// When the location cannot be written to, or the object gets too large. Every later call
    /// returns the same error.
    pub async fn write(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        self.check()?;
        while !data.is_empty() {
            if self.filling.len() >= PART_BYTES {
                self.send_part().await?;
            }
            if self.filling.is_empty() && self.parts_count > 0 {
                // Growing by doubling could allocate more than a part.
                self.filling = BytesMut::with_capacity(PART_BYTES);
            }
            let (taken, rest) = data.split_at(data.len().min(PART_BYTES - self.filling.len()));
            self.filling.extend_from_slice(taken);
            data = rest;
        }
        Ok(())
    }

    /// Complete the object. A small object is written in one request.
    ///
    /// # Errors
    /// When the location cannot be written to; an existing object is then unchanged.
    pub async fn finish(mut self) -> Result<(), WriteError> {
        self.check()?;
        if self.begun.is_none() {
            let (store, path) = (self.store.clone(), self.path.clone());
            let (data, attributes) = (
                self.filling.split().freeze(),
                std::mem::take(&mut self.attributes),
            );
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            let putting = async move {
                store
                    .put_opts(&path, PutPayload::from_bytes(data), options)
                    .await
            };
            return finished(on(&self.io, putting).await, &self.shown).map(drop);
        }
        // A store may refuse an upload without parts.
        if !self.filling.is_empty() || self.parts_count == 0 {
            self.send_part().await?;
        }
        while self.parts_under_way() > 0 {
            self.await_part().await?;
        }
        let Some(mut begun) = self.begun.take() else {
            return Ok(());
        };
        let completing = async move {
            if let Some(upload) = begun.upload.as_mut() {
                upload.complete().await?;
            }
            drop(begun.upload.take());
            Ok(())
        };
        finished(on(&self.io, completing).await, &self.shown)
    }

    /// Abort the upload, and wait until the store has confirmed. Dropping the upload does the same
    /// without waiting.
    pub async fn abort(mut self) {
        self.parts.abort_all();
        let upload = self.begun.as_mut().and_then(|begun| begun.upload.take());
        if let Some(mut upload) = upload {
            // Errors are ignored: the upload is abandoned in any case.
            let _ = on(&self.io, async move { upload.abort().await }).await;
        }
    }

    /// Send the filled part.
    async fn send_part(&mut self) -> Result<(), WriteError> {
        self.begin().await?;
        while self.parts_under_way() >= PARTS_IN_FLIGHT_MAX {
            self.await_part().await?;
        }
        if self.parts_count >= PARTS_MAX {
            let message = format!(
                "`{}` cannot be written: it would have more than {} GiB; write several smaller \
                 ones",
                self.shown,
                (PARTS_MAX * PART_BYTES) >> 30
            );
            return Err(self.fail(WriteError {
                fault: WriteFault::TooLarge,
                message,
            }));
        }
        let part = PutPayload::from_bytes(self.filling.split().freeze());
        if let Some(upload) = self.begun.as_mut().and_then(|begun| begun.upload.as_mut()) {
            let sending = upload.put_part(part);
            self.parts.spawn_on(sending, &self.io);
            self.parts_count += 1;
        }
        Ok(())
    }

    fn parts_under_way(&self) -> usize {
        self.parts.len()
    }

    async fn await_part(&mut self) -> Result<(), WriteError> {
        let sent = match self.parts.join_next().await {
            None => return Ok(()),
            Some(Ok(sent)) => Ok(sent),
            Some(Err(error)) => Err(Error::new(InputFault::Unavailable, ended(&error))),
        };
        finished(sent, &self.shown).map_err(|error| self.fail(error))
    }

    fn check(&self) -> Result<(), WriteError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Record the error for later calls. The upload is aborted when this is dropped or aborted.
    fn fail(&mut self, error: WriteError) -> WriteError {
        self.parts.abort_all();
        self.filling = BytesMut::new();
        self.failed = Some(error.clone());
        error
    }
}

/// Attributes that a file system cannot store are left out.
fn attributes(location: &Location, content_type: Option<&str>) -> Attributes {
    let kept = content_type.filter(|_| !matches!(location, Location::File(_)));
    kept.map(|kind| {
        (
            Attribute::ContentType,
            AttributeValue::from(kind.to_owned()),
        )
    })
    .into_iter()
    .collect()
}

/// The part of `path` below `prefix`.
fn below(prefix: &object_store::path::Path, path: &object_store::path::Path) -> String {
    path.as_ref()
        .strip_prefix(prefix.as_ref())
        .unwrap_or(path.as_ref())
        .trim_start_matches('/')
        .to_owned()
}

fn finished<T>(
    ended: Result<object_store::Result<T>, Error>,
    shown: &str,
) -> Result<T, WriteError> {
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(WriteError::from_store(shown, &error)),
        Err(Error { message, .. }) => Err(WriteError {
            fault: WriteFault::Unavailable,
            message: format!("failed to write `{shown}`: {message}"),
        }),
    }
}

impl WriteError {
    fn from_store(shown: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        if let Some(trouble) = sources(error).find_map(|source| source.downcast_ref::<Trouble>()) {
            let fault = match trouble {
                Trouble::Refused(_) => WriteFault::Denied,
                Trouble::Silent(_) => WriteFault::Unavailable,
            };
            return Self {
                fault,
                message: format!("`{shown}` may not be written to: {trouble}"),
            };
        }
        let (fault, message) = match error {
            E::NotFound { .. } => (
                WriteFault::NoPlace,
                format!("`{shown}` cannot be written to: there is no such bucket; create it first"),
            ),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => (
                WriteFault::Denied,
                format!(
                    "`{shown}` may not be written to; check the credentials and what they may do"
                ),
            ),
            E::InvalidPath { .. } => (
                WriteFault::NoPlace,
                format!("`{shown}` is not a name that the store accepts; choose another"),
            ),
            E::NotSupported { .. } | E::NotImplemented { .. } => (
                WriteFault::NoPlace,
                format!(
                    "`{shown}` cannot be written to: the store does not offer it; choose another \
                     place"
                ),
            ),
            other => match system_error(other) {
                Some(error) => from_system(shown, error),
                None => (
                    WriteFault::Unavailable,
                    format!("failed to write `{shown}`: {}", root_cause(other)),
                ),
            },
        };
        Self { fault, message }
    }
}

fn system_error(error: &object_store::Error) -> Option<&io::Error> {
    // Network errors contain an I/O error, too; only those of a file system are handled here.
    sources(error)
        .find_map(|source| source.downcast_ref::<io::Error>())
        .filter(|error| error.raw_os_error().is_some())
}

fn from_system(shown: &str, error: &io::Error) -> (WriteFault, String) {
    use io::ErrorKind as K;
    match error.kind() {
        K::PermissionDenied => (
            WriteFault::Denied,
            format!("`{shown}` may not be written to; check the permissions of its folder"),
        ),
        K::ReadOnlyFilesystem => (
            WriteFault::Denied,
            format!("`{shown}` is on a read-only file system; choose another place"),
        ),
        K::StorageFull | K::QuotaExceeded => (
            WriteFault::Full,
            format!("there is no room left for `{shown}`; free some, or choose another place"),
        ),
        K::FileTooLarge => (
            WriteFault::TooLarge,
            format!("`{shown}` is larger than its file system allows; choose another place"),
        ),
        K::IsADirectory => (
            WriteFault::NoPlace,
            format!("`{shown}` is a folder; name a file in it"),
        ),
        K::NotADirectory | K::AlreadyExists => (
            WriteFault::NoPlace,
            format!(
                "`{shown}` cannot be written to: a part of its path is a file; choose another place"
            ),
        ),
        K::InvalidFilename => (
            WriteFault::NoPlace,
            format!("`{shown}` is not a name that the file system accepts; choose another"),
        ),
        _ => (
            WriteFault::Unavailable,
            format!("failed to write `{shown}`: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: impl std::error::Error + Send + Sync + 'static) -> (WriteFault, String) {
        let error = WriteError::from_store(
            "s3://bucket/key",
            &object_store::Error::Generic {
                store: "test",
                source: Box::new(error),
            },
        );
        (error.fault, error.message)
    }

    #[test]
    fn what_is_wrong_with_a_place_is_named_with_what_to_do() {
        let system =
            |code: rustix::io::Errno| said(io::Error::from_raw_os_error(code.raw_os_error()));
        for (code, fault, text) in [
            (rustix::io::Errno::NOSPC, WriteFault::Full, "no room left"),
            (rustix::io::Errno::DQUOT, WriteFault::Full, "no room left"),
            (
                rustix::io::Errno::ACCESS,
                WriteFault::Denied,
                "check the permissions",
            ),
            (rustix::io::Errno::ROFS, WriteFault::Denied, "read-only"),
            (
                rustix::io::Errno::NOTDIR,
                WriteFault::NoPlace,
                "a part of its path is a file",
            ),
            (rustix::io::Errno::ISDIR, WriteFault::NoPlace, "is a folder"),
            (
                rustix::io::Errno::NAMETOOLONG,
                WriteFault::NoPlace,
                "not a name",
            ),
            (
                rustix::io::Errno::FBIG,
                WriteFault::TooLarge,
                "larger than its file system allows",
            ),
            (
                rustix::io::Errno::IO,
                WriteFault::Unavailable,
                "failed to write",
            ),
        ] {
            let (found, message) = system(code);
            assert_eq!(found, fault, "{message}");
            assert!(
                message.contains(text) && message.contains("`s3://bucket/key`"),
                "{message}"
            );
        }
        let not_found = object_store::Error::NotFound {
            path: "key".into(),
            source: "NoSuchBucket".into(),
        };
        let error = WriteError::from_store("s3://bucket/key", &not_found);
        assert_eq!(
            (error.fault, error.message.contains("no such bucket")),
            (WriteFault::NoPlace, true),
            "{error}"
        );
    }

    #[test]
    fn queries_are_not_repeated() {
        let (_, message) = said(io::Error::other(
            "error for https://host/key?X-Amz-Signature=secret",
        ));
        assert!(!message.contains("secret"), "{message}");
    }

    #[test]
    fn paths_below_a_prefix_are_relative_to_it() {
        let path = |text: &str| object_store::path::Path::parse(text).unwrap();
        assert_eq!(below(&path("a/b"), &path("a/b/c/d")), "c/d");
        assert_eq!(below(&path(""), &path("a")), "a");
    }
}
