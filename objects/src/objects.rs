//! Opens objects of all kinds of stores, and reads them pinned to one version.
//!
//! The entry point of this crate: finds the store of an address, looks up the version or takes it
//! from the pin, and reads its blocks.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{Attribute, GetOptions};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{ObjectRef, Pin};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::background::on;
use crate::blocking::{FILES_MAX, LISTINGS_MAX, Pool};
use crate::config::{Config, Prefetch};
use crate::error::dangling;
use crate::metrics::Metrics;
use crate::read::block::{BLOCK_BYTES, Block, Purpose, gather};
use crate::read::blocks::Blocks;
use crate::read::version::{Looked, Source, Version};
use crate::shown::shown;
use crate::stores::bucket::Keyed;
use crate::stores::local::{Links, LocalFile};
use crate::stores::web::{Opened, WebFile};
use crate::stores::{Spot, Stores};
use crate::{Address, ByteRange, Error, Files, Location, VersionId};

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
    /// For local files.
    pub(crate) files: Pool,
    /// For listings of local folders.
    pub(crate) listings: Pool,
    pub(crate) io: Handle,
}

/// One version of an object. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Object {
    shared: Arc<Pinned>,
    /// Blocks that were fetched before anybody asked, the first ones of the object.
    prefetched: Arc<[Block]>,
}

#[derive(Debug)]
struct Pinned {
    /// How others open the same version.
    named: ObjectRef,
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
                stores: Stores::new(config, io.clone()),
                blocks,
                files: Pool::new(FILES_MAX, io.clone()),
                listings: Pool::new(LISTINGS_MAX, io.clone()),
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

    /// Find what is at `address` and pin its version: the one that `pin` says, else the present
    /// one. Reads nothing of it, but from a web server, which is asked in no other way; a pinned
    /// object behind a network is not even asked for, because every read is held against the pin.
    ///
    /// # Errors
    /// When it is not there, may not be read ([`Config::files`], [`Config::web_networks`]), has not
    /// the version of `pin`, is shorter than the range that is asked for, or the store does not
    /// answer.
    pub async fn open(&self, address: &Address, pin: Option<&Pin>) -> Result<Object, Error> {
        match self.shared.stores.of(&address.location)? {
            Spot::File(path) => {
                let file = self.admit(&path).await?;
                self.open_file(address, file, pin).await
            }
            Spot::Bucket(object) => {
                let (shown, version) = (shown(&address.location), address.version.clone());
                let found = match pin {
                    Some(pin) => Looked::pinned(pin),
                    None => {
                        let (object, shown, version) =
                            (object.clone(), shown.clone(), version.clone());
                        on(&self.shared.io, async move {
                            look(&shown, &object, version.as_ref()).await
                        })
                        .await??
                    }
                };
                let (size, content_type) = (found.size, found.content_type.clone());
                let etag = found.etag.clone();
                let source = Source::Bucket {
                    object,
                    version,
                    found,
                };
                self.made(address, size, (etag, content_type), source, Vec::new())
            }
            // Boxed: a request and its redirects would make every caller's future a large one.
            Spot::Web(file) => Box::pin(self.open_web(address, file, pin)).await,
        }
    }

    /// The file, pinned. The address is the one that was named, so it may be that of a link.
    pub(crate) async fn open_file(
        &self,
        address: &Address,
        file: LocalFile,
        pin: Option<&Pin>,
    ) -> Result<Object, Error> {
        let name = shown(&address.location);
        let (looked, named) = (file.clone(), address.location.clone());
        let looking = move || {
            looked.stamp(&name).map_err(|error| match named {
                Location::File(path) if is_dangling(&error, &path) => dangling(&name),
                _ => error,
            })
        };
        let stamp = self.shared.files.run(looking).await??;
        let (size, etag) = (stamp.size, Some(stamp.etag.clone()));
        if pin.is_some_and(|pin| etag.as_deref() != Some(&*pin.etag)) {
            return Err(replaced(address));
        }
        let pool = self.shared.files.clone();
        let source = Source::File { file, stamp, pool };
        self.made(address, size, (etag, None), source, Vec::new())
    }

    /// A file on a web server, with what came of it.
    async fn open_web(
        &self,
        address: &Address,
        file: WebFile,
        pin: Option<&Pin>,
    ) -> Result<Object, Error> {
        let name = shown(&address.location);
        let range = first_range(address.bytes, self.prefetch());
        let blocks = self.shared.blocks.clone();
        let asked = file.clone();
        let opening = async move {
            let mut permits = Vec::new();
            let reserve = |bytes| {
                blocks
                    .permit(bytes)
                    .map(|permit| permits.push(permit))
                    .is_some()
            };
            let opened = asked.open(&name, range, reserve).await;
            opened.map(|opened| (opened, permits))
        };
        let (opened, permits) = on(&self.shared.io, opening).await??;
        let Opened {
            known,
            bytes,
            start,
        } = opened;
        let (size, content_type) = (known.size, known.content_type.clone());
        let etag = known.strong_etag().map(ToOwned::to_owned);
        if pin.is_some_and(|pin| etag.as_deref() != Some(&*pin.etag)) {
            return Err(replaced(address));
        }
        let here = blocks_in(&bytes, start, size, permits);
        let source = Source::Web {
            file,
            known: Box::new(known),
        };
        self.made(address, size, (etag, content_type), source, here)
    }

    /// The object of which this is known, with blocks that are here already.
    fn made(
        &self,
        address: &Address,
        size: u64,
        (etag, content_type): (Option<String>, Option<String>),
        source: Source,
        here: Vec<(u64, Block)>,
    ) -> Result<Object, Error> {
        let bytes = match address.bytes {
            None => 0..size,
            Some(range) => range.within(size).ok_or_else(|| {
                Error::new(
                    InputFault::Malformed,
                    format!("`{address}` names bytes past the end: the object has {size}"),
                )
            })?,
        };
        let info = Info {
            name: address.location.name(),
            size: bytes.end - bytes.start,
            etag: etag.clone(),
            content_type,
        };
        let version = Version::new(
            &self.shared.stores.name(address),
            shown(&address.location),
            source,
            (size, etag),
        );
        let first = bytes.start / BLOCK_BYTES;
        let prefetched = (first..)
            .map_while(|index| here.iter().find(|(at, _)| *at == index))
            .map(|(_, block)| block.clone())
            .collect();
        let pin = info.etag.as_deref().map(|etag| Pin {
            etag: etag.into(),
            size,
        });
        let named = ObjectRef {
            address: address.clone(),
            pin,
        };
        let opened = Pinned {
            named,
            info,
            start: bytes.start,
            version: Arc::new(version),
            blocks: self.shared.blocks.clone(),
        };
        Ok(Object {
            shared: Arc::new(opened),
            prefetched,
        })
    }

    /// Check the configuration for requests to the bucket of `location`, without making a request.
    /// Locations that are not in a bucket always pass.
    ///
    /// # Errors
    /// When the configuration of its service is invalid.
    pub fn check(&self, location: &Location) -> Result<(), Error> {
        match location {
            Location::Bucket { .. } => self.shared.stores.bucket(location).map(drop),
            Location::File(_) | Location::Http(_) => Ok(()),
        }
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

    /// How to open a local file, if it may be read.
    pub(crate) async fn admit(&self, path: &Path) -> Result<LocalFile, Error> {
        if *self.shared.stores.files() == Files::Everywhere {
            return Ok(LocalFile {
                path: path.to_owned(),
                links: Links::Followed,
            });
        }
        let (shared, path) = (self.shared.clone(), path.to_owned());
        self.shared
            .files
            .run(move || shared.stores.files().admit(&path))
            .await?
    }
}

/// The first bytes that a web server is asked for: the block where reading is going to begin, or as
/// little as tells how large the file is.
fn first_range(bytes: Option<ByteRange>, prefetch: Prefetch) -> Range<u64> {
    let first = match (prefetch, bytes) {
        (Prefetch::Off, _) | (_, Some(ByteRange::Last(_))) => return 0..1,
        (Prefetch::On, None) => 0,
        (Prefetch::On, Some(ByteRange::From(first) | ByteRange::Within(first, _))) => first,
    };
    let start = first / BLOCK_BYTES * BLOCK_BYTES;
    start..start.saturating_add(BLOCK_BYTES)
}

/// What a store says of a version of an object.
async fn look(shown: &str, object: &Keyed, version: Option<&VersionId>) -> Result<Looked, Error> {
    let answer = match object.head(version).await {
        // An answer to this question has no body, which would say why; and some servers answer only
        // who reads.
        Err(error) if Error::is_vague(&error) => match object.first(0..1, version).await {
            Ok(answer) => Ok(answer),
            // There is nothing to read where the question is not answered either.
            Err(other) if Error::is_vague(&other) => Err(error),
            Err(other) => Err(other),
        },
        answer => answer,
    };
    let answer = answer.map_err(|error| Error::from_store(shown, &error))?;
    Ok(Looked {
        size: answer.meta.size,
        etag: answer.meta.e_tag,
        unmodified: GetOptions {
            if_unmodified_since: Some(answer.meta.last_modified),
            ..GetOptions::default()
        },
        content_type: answer
            .attributes
            .get(&Attribute::ContentType)
            .map(|value| value.as_ref().to_owned()),
    })
}

/// Whether what is missing is not the file of this name, but what it is a link to.
fn is_dangling(error: &Error, path: &Path) -> bool {
    error.fault == InputFault::Missing && path.is_symlink()
}

fn replaced(address: &Address) -> Error {
    Error::new(
        InputFault::Changed,
        format!(
            "`{}` was replaced after it was listed",
            shown(&address.location)
        ),
    )
}

/// The blocks that are whole in bytes that begin at `start` of an object of this size, each with
/// its index.
fn blocks_in(
    bytes: &Bytes,
    start: u64,
    size: u64,
    permits: Vec<OwnedSemaphorePermit>,
) -> Vec<(u64, Block)> {
    let permits = Arc::new(permits);
    let end = start + bytes.len() as u64;
    let mut blocks = Vec::new();
    for index in start.div_ceil(BLOCK_BYTES)..end.div_ceil(BLOCK_BYTES) {
        let (first, last) = (index * BLOCK_BYTES, ((index + 1) * BLOCK_BYTES).min(size));
        let within = |position: u64| usize::try_from(position - start).unwrap_or(usize::MAX);
        if last > end {
            break;
        }
        let bytes = bytes.slice(within(first)..within(last));
        let block = Block::Brought {
            bytes,
            _paid: permits.clone(),
        };
        blocks.push((index, block));
    }
    blocks
}

impl Object {
    /// Its name and the version that is read, for others to open the same. Without a version, if
    /// the store does not say which it is.
    #[must_use]
    pub fn named(&self) -> &ObjectRef {
        &self.shared.named
    }

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
        if self.prefetched.len() as u64 >= end - self.blocks_start() {
            return Ok(());
        }
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
