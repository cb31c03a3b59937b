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
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use object_store::{
    Attribute, AttributeValue, Attributes, GetOptions, MultipartUpload, PutMultipartOptions,
    PutOptions, PutPayload,
};
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::background::{ended, on};
use crate::blocking::Pool;
use crate::error::system_error;
use crate::objects::Objects;
use crate::shown::shown;
use crate::stores::Spot;
use crate::stores::bucket::Keyed;
use crate::stores::local::{self, Links, LocalFile, Parts, done};
use crate::write_error::{WriteError, WriteFault};
use crate::{Error, Location};

/// The size of an upload's parts. S3 accepts no parts below 5 MiB, and some stores require equal
/// sizes.
pub const PART_BYTES: usize = 8 << 20;
/// Concurrent parts of one upload. With the one being filled, an upload holds 40 MiB.
pub const PARTS_IN_FLIGHT_MAX: usize = 4;
/// Maximum number of parts, S3's limit: with [`PART_BYTES`], objects of up to 78 GiB. Writing more
/// is an error.
pub const PARTS_MAX: usize = 10_000;

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
        let place = self.writable(location)?;
        let options = PutOptions {
            attributes: attributes(location, content_type),
            ..PutOptions::default()
        };
        let putting = async move { place.put(data, options).await };
        finished(on(&self.shared.io, putting).await, &shown(location))
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
        Ok(Upload {
            shown: shown(location),
            place: self.writable(location)?,
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
        let shown = shown(location);
        let too_large = Error::new(
            InputFault::Unavailable,
            format!("`{shown}` has more than the {bytes_max} bytes that are expected"),
        );
        let read = match self.place(location)? {
            Place::File(path, pool) => {
                let file = LocalFile {
                    path,
                    links: Links::Followed,
                };
                done(pool.run(move || file.read_whole(bytes_max)).await)
            }
            Place::Bucket(object) => {
                on(
                    &self.shared.io,
                    async move { small(&object, bytes_max).await },
                )
                .await?
            }
        };
        match read {
            Ok(Some(data)) => Ok(Some(data)),
            Ok(None) => Err(too_large),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(Error::from_store(&shown, &error)),
        }
    }

    /// The size of the object at `location`, if it exists. Like [`Self::get_small`], but reads no
    /// content.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn size(&self, location: &Location) -> Result<Option<u64>, Error> {
        match self.measure(location).await? {
            Ok(size) => Ok(Some(size)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(Error::from_store(&shown(location), &error)),
        }
    }

    /// Whether there is an object at `location`. Where the store refuses to say, there is none.
    ///
    /// # Errors
    /// When it does not answer at all.
    pub(crate) async fn has(&self, location: &Location) -> Result<bool, Error> {
        let error = match self.measure(location).await? {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        // An answer to this question has no body that would say more.
        if is_missing(&error) || Error::is_vague(&error) {
            return Ok(false);
        }
        match Error::from_store(&shown(location), &error) {
            error if error.fault == InputFault::Unavailable => Err(error),
            _ => Ok(false),
        }
    }

    /// What the store says of the size of an object.
    async fn measure(&self, location: &Location) -> Result<object_store::Result<u64>, Error> {
        match self.place(location)? {
            Place::File(path, pool) => {
                let looking = pool.run(move || match std::fs::metadata(&path)? {
                    found if found.is_file() => Ok(found.len()),
                    _ => Err(io::ErrorKind::NotFound.into()),
                });
                Ok(done(looking.await))
            }
            Place::Bucket(object) => {
                let looking = async move { object.meta().await.map(|meta| meta.size) };
                on(&self.shared.io, looking).await
            }
        }
    }

    /// Remove the object at `location`. A missing object is not an error.
    ///
    /// # Errors
    /// When it may not be removed, or the store does not answer.
    pub async fn remove(&self, location: &Location) -> Result<(), WriteError> {
        let removed = match self.writable(location)? {
            Place::File(path, pool) => {
                Ok(done(pool.run(move || std::fs::remove_file(&path)).await))
            }
            Place::Bucket(object) => {
                on(&self.shared.io, async move { object.remove().await }).await
            }
        };
        match removed {
            Ok(Err(error)) if is_missing(&error) => Ok(()),
            other => finished(other, &shown(location)),
        }
    }

    /// Rename the object at `from` to `to` in the same store, replacing an existing one.
    ///
    /// # Errors
    /// When the location cannot be written to.
    pub async fn rename(&self, from: &Location, to: &Location) -> Result<(), WriteError> {
        let renamed = match (self.writable(from)?, self.writable(to)?) {
            (Place::File(from, pool), Place::File(to, _)) => {
                Ok(done(pool.run(move || local::rename(&from, &to)).await))
            }
            (Place::Bucket(from), Place::Bucket(to)) => {
                let renaming = async move {
                    from.copy(&to).await?;
                    from.remove().await
                };
                on(&self.shared.io, renaming).await
            }
            (Place::File(..), Place::Bucket(_)) | (Place::Bucket(_), Place::File(..)) => {
                return Err(WriteError::new(
                    WriteFault::NoPlace,
                    format!("`{}` is in another store", shown(to)),
                ));
            }
        };
        finished(renamed, &shown(to))
    }

    /// Where this process keeps something, or reads what it kept.
    fn place(&self, location: &Location) -> Result<Place, Error> {
        match self.shared.stores.of(location)? {
            Spot::File(path) => Ok(Place::File(path, self.shared.files.clone())),
            Spot::Bucket(object) => Ok(Place::Bucket(object)),
            Spot::Web(_) => Err(Error::new(
                InputFault::Malformed,
                format!(
                    "`{}` is on a web server, which keeps nothing",
                    shown(location)
                ),
            )),
        }
    }

    fn writable(&self, location: &Location) -> Result<Place, WriteError> {
        if matches!(location, Location::Http(_)) {
            let message = format!(
                "`{}` cannot be written to: it is on a web server; write to a file or to an \
                 object store",
                shown(location)
            );
            return Err(WriteError::new(WriteFault::NoPlace, message));
        }
        self.place(location).map_err(WriteError::no_place)
    }
}

/// A place that can be written to.
#[derive(Debug, Clone)]
enum Place {
    File(PathBuf, Pool),
    Bucket(Keyed),
}

impl Place {
    async fn put(self, data: Bytes, options: PutOptions) -> object_store::Result<()> {
        match self {
            Self::File(path, pool) => done(pool.run(move || local::put(&path, &data)).await),
            Self::Bucket(object) => object.put(PutPayload::from_bytes(data), options).await,
        }
    }

    async fn upload(
        self,
        attributes: Attributes,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        match self {
            Self::File(path, pool) => {
                let parts = pool.clone();
                let begun = pool.run(move || Parts::begin(&path, parts)).await;
                done(begun).map(|parts| Box::new(parts) as Box<dyn MultipartUpload>)
            }
            Self::Bucket(object) => {
                let options = PutMultipartOptions {
                    attributes,
                    ..PutMultipartOptions::default()
                };
                object.upload(options).await
            }
        }
    }
}

/// All of an object, if it has at most `bytes_max`.
async fn small(object: &Keyed, bytes_max: u64) -> object_store::Result<Option<Bytes>> {
    let found = object.get(GetOptions::default()).await?;
    if found.meta.size > bytes_max {
        return Ok(None);
    }
    let mut data = BytesMut::new();
    let mut chunks = found.into_stream();
    while let Some(chunk) = chunks.try_next().await? {
        // What a server says of the size need not be true.
        if (data.len() + chunk.len()) as u64 > bytes_max {
            return Ok(None);
        }
        data.extend_from_slice(&chunk);
    }
    Ok(Some(data.freeze()))
}

/// Whether an object, or the file that it would be in, is not there.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
        || system_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// An object that is being written. It appears when [`Upload::finish`] returns; dropping it before
/// gives it up.
#[derive(Debug)]
pub struct Upload {
    shown: String,
    place: Place,
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
        let (place, io) = (self.place.clone(), self.io.clone());
        let attributes = self.attributes.clone();
        // Guarded on the other side: what the store has begun when this future is dropped is
        // aborted.
        let beginning = async move {
            let upload = place.upload(attributes).await?;
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

    /// Send what was appended, and wait until the store has it. The object does not appear yet, and
    /// nothing may be appended after that, because stores require parts of a size.
    ///
    /// # Errors
    /// When the location cannot be written to.
    pub async fn flush(&mut self) -> Result<(), WriteError> {
        self.check()?;
        // A store may refuse an upload without parts.
        if !self.filling.is_empty() || self.parts_count == 0 {
            self.send_part().await?;
        }
        while self.parts_under_way() > 0 {
            self.await_part().await?;
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
            let (place, data) = (self.place.clone(), self.filling.split().freeze());
            let options = PutOptions {
                attributes: std::mem::take(&mut self.attributes),
                ..PutOptions::default()
            };
            let putting = async move { place.put(data, options).await };
            return finished(on(&self.io, putting).await, &self.shown);
        }
        self.flush().await?;
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
            return Err(self.fail(WriteError::new(WriteFault::TooLarge, message)));
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

fn finished<T>(
    ended: Result<object_store::Result<T>, Error>,
    shown: &str,
) -> Result<T, WriteError> {
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(WriteError::from_store(shown, &error)),
        Err(Error { message, .. }) => Err(WriteError::new(
            WriteFault::Unavailable,
            format!("failed to write `{shown}`: {message}"),
        )),
    }
}
