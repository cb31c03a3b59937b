//! Objects: the inputs of tasks, wherever they are.
//!
//! The only module that touches `object_store`. It turns a URL or path into an [`Object`] that is pinned to one version, reads ranges of it,
//! and lists patterns. It runs all I/O on a runtime of its own, so that functions which compute never keep a read waiting.
//!
//! Bounds: a request is tried [`RETRIES_MAX`] times within [`RETRY_TIME_MAX`]; one range is at most [`RANGE_BYTES_MAX`]. Errors name the object
//! without credentials or query, and say what kind of trouble it is.

mod files;
mod list;
mod location;
mod range;
mod stores;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{Attribute, GetOptions, GetRange, ObjectMeta, ObjectStore};
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;

pub use self::files::Files;
pub use self::location::{Address, Location, Malformed};
pub use self::range::ByteRange;
use self::stores::Stores;
pub use self::stores::{Config, S3};

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

/// An object could not be found, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of trouble it is.
    pub fault: InputFault,
    /// Which object, and what is wrong, in one line without credentials.
    pub message: String,
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

    /// Find the object at `address` and pin its present version. Reads nothing of it.
    ///
    /// # Errors
    /// When it is not there, may not be read ([`Config::files`]), ends before the range starts, or the store does not answer.
    pub async fn open(&self, address: &Address) -> Result<Object, Error> {
        let (shown, location) = (address.to_string(), &address.location);
        let (store, path) = match location {
            Location::File(path) => self.shared.stores.of(&Location::File(self.admit(path).await?))?,
            Location::S3 { .. } | Location::Http(_) => self.shared.stores.of(location)?,
        };
        let opening = {
            let (store, path) = (store.clone(), path.clone());
            async move { store.get_opts(&path, GetOptions { head: true, ..GetOptions::default() }).await }
        };
        let found = on(&self.shared.io, opening).await?.map_err(|error| Error::from_store(&shown, &error))?;
        let content_type = found.attributes.get(&Attribute::ContentType).map(|value| value.as_ref().to_owned());
        let Range { start, end } = within(address, found.meta.size)?;
        let info = Info { name: location.name(), size: end - start, etag: found.meta.e_tag.clone(), content_type };
        let meta = ObjectMeta { location: path, ..found.meta };
        Ok(Object { shared: Arc::new(Opened { shown, info, store, meta, start, io: self.shared.io.clone() }) })
    }

    /// The objects that a location or pattern names, in lexical order; paths are relative to `folder`. A URL without wildcards names itself,
    /// unseen; a local file is looked at.
    ///
    /// # Errors
    /// When nothing matches, a folder cannot be listed, or the store cannot list at all.
    pub async fn expand(&self, pattern: &str, folder: &Path) -> Result<Vec<Address>, Error> {
        list::expand(self, pattern, folder).await
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

impl Error {
    fn new(fault: InputFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    fn from_store(shown: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => Self::new(InputFault::Missing, format!("there is nothing at `{shown}`")),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::new(InputFault::Denied, format!("`{shown}` may not be read; check the credentials and the file's permissions"))
            }
            E::Precondition { .. } | E::NotModified { .. } => {
                Self::new(InputFault::Changed, format!("`{shown}` was replaced while the task read it"))
            }
            E::InvalidPath { .. } => Self::new(InputFault::Malformed, format!("`{shown}` is not a name that the store accepts")),
            other if denied_by_system(other) => {
                Self::new(InputFault::Denied, format!("`{shown}` may not be read; check the file's permissions"))
            }
            other => Self::new(InputFault::Unavailable, format!("failed to read `{shown}`: {}", root_cause(other))),
        }
    }
}

fn denied_by_system(error: &object_store::Error) -> bool {
    sources(error).any(|source| source.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied))
}

fn sources<'a>(error: &'a object_store::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: Option<&'a (dyn std::error::Error + 'static)> = std::error::Error::source(error);
    std::iter::successors(first, |source| source.source())
}

/// The innermost reason, in one line, without what may hold credentials: outer errors repeat URLs with their queries.
fn root_cause(error: &object_store::Error) -> String {
    let text = sources(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    let line = text.lines().next().unwrap_or_default();
    let safe: Vec<&str> = line.split(' ').map(|word| word.split_once('?').map_or(word, |(before, _)| before)).collect();
    sortie_protocol::outcome::cut(safe.join(" "), 300)
}

#[cfg(test)]
mod tests;
