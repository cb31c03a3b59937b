//! Opens objects of all kinds of stores, and reads them pinned to one version.
//!
//! The entry point of this crate: finds the store of an address, looks up the version or takes it
//! from the pin, and reads its blocks.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path as StorePath;
use object_store::{Attribute, GetOptions, GetRange, ObjectMeta};
use sortie_protocol::Pin;
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;

use crate::background::on;
use crate::config::{Config, Prefetch};
use crate::metrics::Metrics;
use crate::read::block::{BLOCK_BYTES, Block, Purpose, gather};
use crate::read::blocks::Blocks;
use crate::read::version::{Locality, Version};
use crate::stores::{Store, Stores};
use crate::{Address, Error, Files, Location};

/// How much of an object is fetched before its task starts: all of most documents, and enough of a
/// long one to overlap reading it with fetching the rest.
pub const PREFETCH_BYTES_MAX: u64 = 8 << 20;

/// Opens objects. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stores: Stores,
    blocks: Arc<Blocks>,
    pub(crate) io: Handle,
}

/// One version of an object. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    shared: Arc<Opened>,
    /// The object's first blocks, if they were prefetched.
    prefetched: Arc<[Block]>,
}

#[derive(Debug)]
struct Opened {
    info: Info,
    /// Offset of this object's first byte in the stored object (for an address with a range).
    start: u64,
    version: Arc<Version>,
    blocks: Arc<Blocks>,
}

/// Metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The last segment of its path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The store's validator of this version, if it gives one.
    pub etag: Option<String>,
    /// Its media type, if the store knows it.
    pub content_type: Option<String>,
}

impl Objects {
    /// Create it from `config`, with all I/O on `io`.
    #[must_use]
    pub fn new(config: Config, io: Handle) -> Self {
        let blocks = Arc::new(Blocks::new(&config, io.clone()));
        Self {
            shared: Arc::new(Shared {
                stores: Stores::new(config),
                blocks,
                io,
            }),
        }
    }

    /// Whether objects are fetched before they are needed.
    #[must_use]
    pub fn prefetch(&self) -> Prefetch {
        self.shared.blocks.prefetch
    }

    /// Metrics of all reads so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.blocks.metrics()
    }

    /// Wait a few seconds at most until pending blocks are written to the disk cache, so that later
    /// processes need not fetch them. Cancel safe.
    pub async fn flush_disk(&self) {
        self.shared.blocks.flush().await;
    }

    /// Find the object at `address` and pin its version: the version of `pin`, else the current
    /// one. Reads no content. For a pinned remote object no request is made, because every read is
    /// checked against the pin.
    ///
    /// # Errors
    /// When the object does not exist, may not be read ([`Config::files`]), is not the version of
    /// `pin`, is shorter than the range of `address`, or the store does not answer.
    pub async fn open(&self, address: &Address, pin: Option<&Pin>) -> Result<Object, Error> {
        let location = &address.location;
        let shown = location.to_string();
        let (store, path, locality) = match location {
            Location::File(path) => {
                let (store, path) = self
                    .shared
                    .stores
                    .of(&Location::File(self.admit(path).await?))?;
                (store, path, Locality::Here)
            }
            Location::Bucket { .. } | Location::Http(_) => {
                let (store, path) = self.shared.stores.of(location)?;
                (store, path, Locality::Remote)
            }
        };
        let (meta, content_type) = match (pin, locality) {
            (Some(pin), Locality::Remote) => (pinned(path, pin), None),
            (_, Locality::Here) | (None, Locality::Remote) => {
                self.look(&shown, &store, path).await?
            }
        };
        if pin.is_some_and(|pin| meta.e_tag.as_deref() != Some(&*pin.etag)) {
            return Err(Error::new(
                InputFault::Changed,
                format!("`{shown}` was replaced after it was listed"),
            ));
        }
        let bytes = match address.bytes {
            None => 0..meta.size,
            Some(range) => range.within(meta.size).ok_or_else(|| {
                Error::new(
                    InputFault::Malformed,
                    format!(
                        "`{address}` names bytes past the end: the object has {}",
                        meta.size
                    ),
                )
            })?,
        };
        let info = Info {
            name: location.name(),
            size: bytes.end - bytes.start,
            etag: meta.e_tag.clone(),
            content_type,
        };
        let name = self.shared.stores.name(location);
        let version = Arc::new(Version::new(&name, shown, store, meta, locality));
        let opened = Opened {
            info,
            start: bytes.start,
            version,
            blocks: self.shared.blocks.clone(),
        };
        Ok(Object {
            shared: Arc::new(opened),
            prefetched: Arc::default(),
        })
    }

    /// Check the configuration for requests to the bucket of `location`, without making a request.
    /// Locations that are not in a bucket always pass.
    ///
    /// # Errors
    /// When the configuration of its service is invalid.
    pub fn check(&self, location: &Location) -> Result<(), Error> {
        match location {
            Location::Bucket { .. } => self.shared.stores.of_place(location).map(drop),
            Location::File(_) | Location::Http(_) => Ok(()),
        }
    }

    /// A store's metadata of an object, and its media type.
    async fn look(
        &self,
        shown: &str,
        store: &Store,
        path: StorePath,
    ) -> Result<(ObjectMeta, Option<String>), Error> {
        let looking = {
            let (store, path) = (store.clone(), path.clone());
            async move {
                match store
                    .get_opts(
                        &path,
                        GetOptions {
                            head: true,
                            ..GetOptions::default()
                        },
                    )
                    .await
                {
                    // The answer to a HEAD request has no body that would tell the reason.
                    Err(error) if Error::is_vague(&error) => {
                        let first = GetOptions {
                            range: Some(GetRange::Bounded(0..1)),
                            ..GetOptions::default()
                        };
                        Err(store.get_opts(&path, first).await.err().unwrap_or(error))
                    }
                    answer => answer,
                }
            }
        };
        let found = on(&self.shared.io, looking)
            .await?
            .map_err(|error| Error::from_store(shown, &error))?;
        let content_type = found
            .attributes
            .get(&Attribute::ContentType)
            .map(|value| value.as_ref().to_owned());
        Ok((
            ObjectMeta {
                location: path,
                ..found.meta
            },
            content_type,
        ))
    }

    /// Run `future` on the I/O runtime, so that it makes progress without being polled by the
    /// caller. Dropping the returned handle aborts it.
    ///
    /// # Errors
    /// When the host is shutting down.
    pub async fn in_background<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        on(&self.shared.io, future).await
    }

    /// The resolved path of a local file, if it may be read.
    pub(crate) async fn admit(&self, path: &Path) -> Result<PathBuf, Error> {
        if *self.shared.stores.files() == Files::Everywhere {
            return Ok(path.to_owned());
        }
        let (shared, path) = (self.shared.clone(), path.to_owned());
        let looking = self
            .shared
            .io
            .spawn_blocking(move || shared.stores.files().admit(&path));
        looking
            .await
            .map_err(|_| Error::new(InputFault::Unavailable, "the host is shutting down"))?
    }
}

impl Object {
    /// Its metadata.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// Start fetching the first [`PREFETCH_BYTES_MAX`] bytes, as far as the memory budget allows,
    /// and wait for the first block. Cancel safe.
    ///
    /// # Errors
    /// When the first block cannot be read; the task then need not start.
    pub async fn prefetch(&mut self) -> Result<(), Error> {
        let end = self
            .blocks_end()
            .min(self.blocks_start() + PREFETCH_BYTES_MAX / BLOCK_BYTES);
        let blocks = self.blocks(self.blocks_start()..end, Purpose::Ahead);
        if let Some(first) = blocks.first() {
            first.bytes().await?;
        }
        self.prefetched = blocks.into();
        Ok(())
    }

    /// Whether all blocks requested by [`Self::prefetch`] have arrived or failed.
    #[must_use]
    pub fn is_prefetched(&self) -> bool {
        self.prefetched.iter().all(Block::is_settled)
    }

    /// Wait until all blocks requested by [`Self::prefetch`] have arrived. Waiting here is cheaper
    /// than letting a started task occupy a thread while it waits. Cancel safe.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn prefetched(&self) -> Result<(), Error> {
        for block in &*self.prefetched {
            block.bytes().await?;
        }
        Ok(())
    }

    /// Read `range`, clamped to the object's end.
    ///
    /// # Errors
    /// When the object has changed since it was opened, or cannot be read.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let end = range.end.min(self.info().size);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        let bytes = self.stretch(range.start..end);
        let indices = bytes.start / BLOCK_BYTES..(bytes.end - 1) / BLOCK_BYTES + 1;
        let blocks = self.blocks(indices.clone(), Purpose::Demand);
        gather(&blocks, indices.start, &bytes).await
    }

    /// Translate a range of this object into a range of the stored object.
    pub(crate) fn stretch(&self, range: Range<u64>) -> Range<u64> {
        self.shared.start + range.start..self.shared.start + range.end
    }

    pub(crate) fn blocks_start(&self) -> u64 {
        self.stretch(0..0).start / BLOCK_BYTES
    }

    /// The index after its last block.
    pub(crate) fn blocks_end(&self) -> u64 {
        self.stretch(0..self.info().size).end.div_ceil(BLOCK_BYTES)
    }

    /// Blocks of the stored object.
    pub(crate) fn blocks(&self, indices: Range<u64>, purpose: Purpose) -> Vec<Block> {
        let start = self.blocks_start();
        let prefetched = |index: u64| {
            self.prefetched
                .get(usize::try_from(index.checked_sub(start)?).ok()?)
        };
        let mut blocks: Vec<Block> = indices
            .clone()
            .map_while(|index| prefetched(index).filter(|block| block.has_come()).cloned())
            .collect();
        let rest = indices.start + blocks.len() as u64..indices.end;
        if !rest.is_empty() {
            blocks.extend(self.shared.blocks.get(&self.shared.version, rest, purpose));
        }
        blocks
    }
}

/// The metadata that a pin contains.
fn pinned(location: StorePath, pin: &Pin) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: Default::default(),
        size: pin.size,
        e_tag: Some(pin.etag.to_string()),
        version: None,
    }
}
