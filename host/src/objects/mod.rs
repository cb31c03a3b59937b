//! Objects: the inputs of tasks, wherever they are.
//!
//! The only module that touches `object_store`. It turns a URL or path into an [`Object`] that is pinned to one version, reads ranges of it,
//! and lists patterns. It runs all I/O on a runtime of its own, so that functions which compute never keep a read waiting.
//!
//! Bounds: a request is repeated [`RETRIES_MAX`] times within [`RETRY_TIME_MAX`], and [`REQUESTS_MAX`] of a bucket are under way at once; a server
//! keeps quiet for at most [`Patience`]; a listing is [`AHEAD_MAX`] names ahead; one range is at most [`RANGE_BYTES_MAX`]. Errors name the object
//! without credentials or query, and say what kind of trouble it is.

mod config;
mod error;
mod files;
mod list;
mod location;
mod metadata;
mod range;
mod stores;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path as StorePath;
use object_store::{Attribute, GetOptions, GetRange, ObjectMeta, ObjectStore};
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;

pub use self::config::{Addressing, Az, AzCredentials, Config, Gs, GsCredentials, Patience, Payer, S3, S3Credentials, Secret};
pub use self::error::Error;
pub use self::files::Files;
pub use self::list::{AHEAD_MAX, Found, Listing, Named, includes, pattern};
pub use self::location::{Address, Location, Malformed, Service};
pub use self::metadata::METADATA_TIME_MAX;
pub use self::range::ByteRange;
pub use self::stores::{CONNECT_TIME_MAX, READ_TIME_MAX, REQUESTS_MAX};
use self::stores::{Store, Stores};

/// How often a request is repeated after an answer that repetition can mend.
pub const RETRIES_MAX: usize = 5;
/// How long repetition may take in all.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
/// The most one range read brings into memory.
pub const RANGE_BYTES_MAX: u64 = 16 << 20;

/// Opens objects. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stores: Stores,
    io: Handle,
}

/// One version of an object, or of some of its bytes: sizes and offsets are those of what was asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    shared: Arc<Opened>,
}

#[derive(Debug)]
struct Opened {
    shown: String,
    info: Info,
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    /// Where in the stored object this one starts.
    start: u64,
    io: Handle,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The last segment of its path.
    pub name: String,
    /// How many bytes can be read of it.
    pub size: u64,
    /// The store's validator of this version, if it gives one.
    pub etag: Option<String>,
    /// Its media type, if the store knows it.
    pub content_type: Option<String>,
}

impl Objects {
    /// Objects through `config`, with all I/O on `io`.
    #[must_use]
    pub fn new(config: Config, io: Handle) -> Self {
        Self { shared: Arc::new(Shared { stores: Stores::new(config), io }) }
    }

    /// Find the object at `address` and pin a version of it: the one that is named, or else the present one. Reads nothing of it. A pinned
    /// object that is no local file is not looked at: that it is gone or another by now shows when it is read.
    ///
    /// # Errors
    /// When it is not there, is another version, may not be read ([`Config::files`]), ends before the range starts, or the store does not
    /// answer.
    pub async fn open(&self, address: &Address, pin: Option<&Pin>) -> Result<Object, Error> {
        let (shown, location) = (address.to_string(), &address.location);
        let (store, path) = match location {
            Location::File(path) => self.shared.stores.of(&Location::File(self.admit(path).await?)).await?,
            Location::Bucket { .. } | Location::Http(_) => self.shared.stores.of(location).await?,
        };
        let is_local = matches!(location, Location::File(_));
        let (meta, content_type) = match pin {
            Some(Pin { etag, size }) if !is_local => {
                // The validator decides: no time is sent along with it.
                let e_tag = Some(String::from(&**etag));
                (ObjectMeta { location: path, last_modified: Default::default(), size: *size, e_tag, version: None }, None)
            }
            _ => self.look(&shown, &store, path).await?,
        };
        if let Some(pin) = pin
            && meta.e_tag.as_deref() != Some(&*pin.etag)
        {
            let message = format!("`{shown}` was replaced after it was submitted; submit it again to read what is there now");
            return Err(Error::new(InputFault::Changed, message));
        }
        let Range { start, end } = within(address, meta.size)?;
        let info = Info { name: location.name(), size: end - start, etag: meta.e_tag.clone(), content_type };
        Ok(Object { shared: Arc::new(Opened { shown, info, store: store.objects, meta, start, io: self.shared.io.clone() }) })
    }

    /// What the store says of an object, and its media type.
    async fn look(&self, shown: &str, store: &Store, path: StorePath) -> Result<(ObjectMeta, Option<String>), Error> {
        let (objects, named) = (store.objects.clone(), path.clone());
        let looking = async move {
            match objects.get_opts(&named, GetOptions { head: true, ..GetOptions::default() }).await {
                // Such an answer has no reason in it, and whoever signed the URL for reading did not sign this.
                Err(first) if error::is_silent(&first) => {
                    let one = GetOptions { range: Some(GetRange::Bounded(0..1)), ..GetOptions::default() };
                    objects.get_opts(&named, one).await.map_err(|second| if error::says_more(&second) { second } else { first })
                }
                answer => answer,
            }
        };
        let found = on(&self.shared.io, looking).await?.map_err(|error| Error::from_store(shown, &error).asked_by(store.identity))?;
        let content_type = found.attributes.get(&Attribute::ContentType).map(|value| value.as_ref().to_owned());
        Ok((ObjectMeta { location: path, ..found.meta }, content_type))
    }

    /// Where to open a local file, if it may be read.
    async fn admit(&self, path: &Path) -> Result<PathBuf, Error> {
        if *self.shared.stores.files() == Files::Everywhere {
            return Ok(path.to_owned());
        }
        let (shared, path) = (self.shared.clone(), path.to_owned());
        let looking = self.shared.io.spawn_blocking(move || shared.stores.files().admit(&path));
        looking.await.map_err(|_| Error::new(InputFault::Unavailable, "the host is shutting down"))?
    }
}

impl Object {
    /// What is known of it.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// Read `range`, cut to the object's end and to [`RANGE_BYTES_MAX`].
    ///
    /// # Errors
    /// When the object has changed since it was opened, or cannot be read.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let end = range.end.min(self.shared.info.size).min(range.start.saturating_add(RANGE_BYTES_MAX));
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let opened = self.shared.clone();
        let (start, end) = (opened.start + range.start, opened.start + end);
        let reading = async move {
            let mut options = GetOptions { range: Some(GetRange::Bounded(start..end)), ..GetOptions::default() };
            match &opened.meta.e_tag {
                Some(etag) => options.if_match = Some(etag.clone()),
                // The best there is without a validator, to the resolution of the store's clock.
                None => options.if_unmodified_since = Some(opened.meta.last_modified),
            }
            opened.store.get_opts(&opened.meta.location, options).await?.bytes().await
        };
        let shown = &self.shared.shown;
        let bytes = on(&self.shared.io, reading).await?.map_err(|error| Error::from_store(shown, &error))?;
        if bytes.len() as u64 == end - start {
            Ok(bytes)
        } else {
            let message = format!("`{shown}` answered {} bytes where {} were asked for", bytes.len(), end - start);
            Err(Error { fault: InputFault::Unavailable, message })
        }
    }
}

/// The bytes that an address means of an object of `size` bytes.
fn within(address: &Address, size: u64) -> Result<Range<u64>, Error> {
    let Some(bytes) = address.bytes else { return Ok(0..size) };
    bytes.within(size).ok_or_else(|| {
        let message = format!("`{address}` starts behind the end of the object, which has {size} bytes");
        Error::new(InputFault::Malformed, message)
    })
}

/// Run I/O on the I/O runtime. Dropping the future aborts it.
async fn on<T: Send + 'static>(io: &Handle, future: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
    struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);
    impl<T> Drop for AbortOnDrop<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut task = AbortOnDrop(io.spawn(future));
    (&mut task.0).await.map_err(|error| Error {
        fault: InputFault::Unavailable,
        message: if error.is_panic() { "reading an object failed inside the host" } else { "the host is shutting down" }.into(),
    })
}

#[cfg(test)]
mod tests;
