//! Opens objects, wherever they are, and reads them pinned to one version.
//!
//! The way in to everything else here: a store is found for an address, the version is looked up or
//! taken from the pin, and blocks of it are read.

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
/// long one that reading on overlaps with what comes next.
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
    /// Blocks that were fetched before anybody asked, the first ones of the object.
    prefetched: Arc<[Block]>,
}

#[derive(Debug)]
struct Opened {
    info: Info,
    /// Where it begins in what is stored.
    start: u64,
    version: Arc<Version>,
    blocks: Arc<Blocks>,
}

/// What is known of an object without reading it.
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
    /// Objects through `config`, with all I/O on `io`.
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

    /// Whether objects are read ahead of who needs them.
    #[must_use]
    pub fn prefetch(&self) -> Prefetch {
        self.shared.blocks.prefetch
    }

    /// What reading has cost so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.blocks.metrics()
    }

    /// Wait until what is being written to disk is, for some seconds at most: whoever comes next
    /// need not fetch it. Cancel safe.
    pub async fn flush_disk(&self) {
        self.shared.blocks.flush().await;
    }

    /// Find what is at `address` and pin its version: the one that `pin` says, else the present
    /// one. Reads nothing of it; a pinned object behind a network is not even asked for,
    /// because every read is held against the pin.
    ///
    /// # Errors
    /// When it is not there, may not be read ([`Config::files`]), has not the version of `pin`, is
    /// shorter than the range that is asked for, or the store does not answer.
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

    /// Whether requests to the bucket of `location` can be made at all, as far as is known without
    /// making one. What is in none always can.
    ///
    /// # Errors
    /// When what is configured for its service cannot be used.
    pub fn check(&self, location: &Location) -> Result<(), Error> {
        match location {
            Location::Bucket { .. } => self.shared.stores.of_place(location).map(drop),
            Location::File(_) | Location::Http(_) => Ok(()),
        }
    }

    /// What a store says of an object, and its media type.
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
                    // An answer to this question has no body, which would say why.
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

    /// Run `future` where objects are read, so that it goes on whoever looks at it. Dropping what
    /// comes back ends it.
    ///
    /// # Errors
    /// When the host is shutting down.
    pub async fn in_background<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Error> {
        on(&self.shared.io, future).await
    }

    /// Where to open a local file, if it may be read.
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
    /// What is known of it.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// Ask for its first [`PREFETCH_BYTES_MAX`], as far as the memory budget goes, and wait for the
    /// first block of them. Cancel safe.
    ///
    /// # Errors
    /// When that cannot be read: whoever would read it need not start.
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

    /// Whether all that [`Self::prefetch`] asked for is here, or the reason why a part of it is
    /// not.
    #[must_use]
    pub fn is_prefetched(&self) -> bool {
        self.prefetched.iter().all(Block::is_settled)
    }

    /// Wait until all that [`Self::prefetch`] asked for is here: before somebody starts to read who
    /// would occupy more than a wait does. Cancel safe.
    ///
    /// # Errors
    /// When a part of it cannot be read.
    pub async fn prefetched(&self) -> Result<(), Error> {
        for block in &*self.prefetched {
            block.bytes().await?;
        }
        Ok(())
    }

    /// Read `range`, cut to the object's end.
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

    /// Where a stretch of this object lies in what is stored.
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

    /// Blocks of what is stored.
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

/// What is known of an object whose version is known.
fn pinned(location: StorePath, pin: &Pin) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: Default::default(),
        size: pin.size,
        e_tag: Some(pin.etag.to_string()),
        version: None,
    }
}
