//! The disk tier: caches blocks of remote objects on disk, beyond memory and beyond the process.
//!
//! Blocks are named by the version of their object, so an entry is never out of date. Each file
//! starts with a hash of name and content; a file that is damaged, cut short by a crash, or of
//! another block counts as a miss.
//!
//! The tier never fails a read and delays one for a bounded time only. What it cannot read comes
//! from the store; after [`READ_TIME_MAX`] without an answer it is not read for [`PAUSE`]. A failed
//! write (disk full, directory gone) is logged once, and writing pauses for [`PAUSE`]. Pending
//! writes have their share of the memory budget; when the disk is slower than the network and the
//! share is used up, further blocks are not written.
//!
//! Bounds: the directory stays within [`Disk::bytes_max`] (see [`crate::sized_dir`]); at most
//! [`WRITERS_MAX`] threads write and [`READERS_MAX`] read, even if the disk hangs.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::block::{BLOCK_BYTES, Key};
use super::version::Version;
use crate::clock;
use crate::config::Disk;
use crate::failure_episode::FailureEpisode;
use crate::metrics::{DiskMetrics, add};
use crate::sized_dir::{self, Bounds, SizedDir};

/// Concurrent writer threads: enough to keep a disk busy while one creates a folder or renames a
/// file.
const WRITERS_MAX: usize = 4;
/// Concurrent reader threads: more than a disk can use. A disk that hangs blocks these threads, and
/// no more.
const READERS_MAX: usize = 16;
/// Timeout for looking up eight blocks: longer than a busy disk takes, shorter than a user's
/// patience.
pub const READ_TIME_MAX: Duration = Duration::from_secs(5);
/// How long writing pauses after a write failed, and reading after the disk did not answer: every
/// attempt costs time, and disk problems last for a while.
pub const PAUSE: Duration = Duration::from_secs(10);
/// How long shutdown waits for pending writes.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(5);
/// A block's time of last use is updated when it is older than this. Updating costs little compared
/// with reading a megabyte, and jobs last minutes.
const TOUCH_AFTER: Duration = Duration::from_secs(60);
const HASH_BYTES: usize = 32;
/// Bytes per permit of the write budget: the minimum size of a file.
const PERMIT_BYTES: u64 = 4096;

/// The bound to give to [`SizedDir`], which may exceed its bound by what is written during one turn
/// of scans, so that the total stays within `bytes_max`.
const fn within(bytes_max: u64) -> u64 {
    bytes_max / (sized_dir::TURNS + 1) * sized_dir::TURNS
}

/// The disk cache of blocks.
#[derive(Debug)]
pub(crate) struct Tier {
    folder: SizedDir,
    io: Handle,
    room: Arc<Semaphore>,
    permits: u32,
    writes: Mutex<Writes>,
    readers: Arc<Semaphore>,
    no_writes: Pause,
    no_reads: Pause,
    writing: FailureEpisode,
    reading: FailureEpisode,
    counters: Counters,
}

/// The end of a pause, if one is on.
#[derive(Debug, Default)]
struct Pause(Mutex<Option<Instant>>);

impl Pause {
    fn begin(&self) {
        *self.0.lock() = Some(clock::instant() + PAUSE);
    }

    fn is_on(&self) -> bool {
        self.0.lock().is_some_and(|until| clock::instant() < until)
    }
}

/// Pending writes, and the number of active writers.
#[derive(Debug, Default)]
struct Writes {
    waiting: VecDeque<Write>,
    writers: usize,
}

#[derive(Debug)]
struct Write {
    key: Key,
    content: Bytes,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    read_bytes: AtomicU64,
    misses: AtomicU64,
    written_bytes: AtomicU64,
    skipped: AtomicU64,
    failures: AtomicU64,
}

impl Tier {
    /// A cache on `disk` with at most `waiting_max` bytes of pending writes.
    pub(crate) fn new(disk: &Disk, waiting_max: u64, io: Handle) -> Arc<Self> {
        let permits = u32::try_from(waiting_max / PERMIT_BYTES).unwrap_or(u32::MAX);
        let bounds = Bounds {
            bytes: within(disk.bytes_max.as_u64()),
            touch_after: TOUCH_AFTER,
        };
        Arc::new(Self {
            folder: SizedDir::new(&disk.folder, bounds, io.clone()),
            io,
            room: Arc::new(Semaphore::new(
                usize::try_from(permits).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            permits,
            writes: Mutex::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            no_writes: Pause::default(),
            no_reads: Pause::default(),
            writing: FailureEpisode::new("keeping inputs on disk"),
            reading: FailureEpisode::new("reading inputs from disk"),
            counters: Counters::default(),
        })
    }

    /// Look up these blocks, in order. If the future is dropped, the disk is read all the same.
    pub(crate) async fn get(
        self: &Arc<Self>,
        version: &Arc<Version>,
        indices: Range<u64>,
    ) -> Vec<Option<Bytes>> {
        if self.no_reads.is_on() {
            return Vec::new();
        }
        let (tier, version) = (self.clone(), version.clone());
        let looking = async {
            let reader = self.readers.clone().acquire_owned().await.ok()?;
            let looking = self.io.spawn_blocking(move || {
                let _reader = reader;
                indices.map(|index| tier.read(&version, index)).collect()
            });
            // While the host is shutting down, every lookup is a miss.
            looking.await.ok()
        };
        let Ok(found) = timeout(READ_TIME_MAX, looking).await else {
            self.no_reads.begin();
            add(&self.counters.failures, 1);
            self.reading.fails(&format_args!(
                "`{}` did not answer within {} s",
                self.folder.path().display(),
                READ_TIME_MAX.as_secs()
            ));
            return Vec::new();
        };
        found.unwrap_or_default()
    }

    fn read(&self, version: &Version, index: u64) -> Option<Bytes> {
        let (key, length) = (version.key(index), version.block_bytes(index));
        let read = match self
            .folder
            .read(&name(&key), BLOCK_BYTES + HASH_BYTES as u64)
        {
            Ok(read) => {
                self.reading.works();
                read
            }
            Err(error) => {
                add(&self.counters.failures, 1);
                self.reading.fails(&error);
                None
            }
        };
        let content = read
            .and_then(|bytes| open(&key, bytes))
            .filter(|content| content.len() as u64 == length);
        match &content {
            Some(content) => {
                add(&self.counters.hits, 1);
                add(&self.counters.read_bytes, content.len() as u64);
            }
            None => add(&self.counters.misses, 1),
        }
        content
    }

    /// Queue a fetched block for writing, unless the disk is too slow.
    pub(crate) fn put(self: &Arc<Self>, key: Key, content: Bytes) {
        let permits =
            u32::try_from((content.len() as u64).div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let room = self
            .room
            .clone()
            .try_acquire_many_owned(permits)
            .ok()
            .filter(|_| !self.no_writes.is_on());
        let Some(room) = room else {
            return add(&self.counters.skipped, 1);
        };
        let mut writes = self.writes.lock();
        writes.waiting.push_back(Write {
            key,
            content,
            _room: room,
        });
        if writes.writers < WRITERS_MAX {
            writes.writers += 1;
            let tier = self.clone();
            // SizedDir by the count above.
            self.io.spawn_blocking(move || {
                while let Some(write) = tier.next() {
                    tier.write(&write)
                }
            });
        }
    }

    /// The next block to write; a writer that finds none ends.
    fn next(&self) -> Option<Write> {
        let mut writes = self.writes.lock();
        let next = writes.waiting.pop_front();
        if next.is_none() {
            writes.writers -= 1;
        }
        next
    }

    fn write(&self, Write { key, content, .. }: &Write) {
        if self.no_writes.is_on() {
            return add(&self.counters.skipped, 1);
        }
        match self
            .folder
            .write(&name(key), &[seal(key, content).as_bytes(), content])
        {
            Ok(()) => {
                self.writing.works();
                add(&self.counters.written_bytes, content.len() as u64);
            }
            Err(error) => {
                add(&self.counters.failures, 1);
                self.no_writes.begin();
                self.writing
                    .fails(&format_args!("`{}`: {error}", self.folder.path().display()));
            }
        }
    }

    /// Wait until pending writes are done, or [`SETTLE_TIME_MAX`] has passed. Cancel safe.
    pub(crate) async fn flush(&self) {
        let _ = timeout(SETTLE_TIME_MAX, self.room.acquire_many(self.permits))
            .await
            .map(drop);
    }

    pub(crate) fn metrics(&self) -> DiskMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sized_dir::Usage {
            held_bytes,
            removed_files,
            removed_bytes,
        } = self.folder.usage();
        DiskMetrics {
            hits_total: get(&self.counters.hits),
            read_bytes_total: get(&self.counters.read_bytes),
            misses_total: get(&self.counters.misses),
            written_bytes_total: get(&self.counters.written_bytes),
            skipped_total: get(&self.counters.skipped),
            failures_total: get(&self.counters.failures),
            evictions_total: removed_files,
            evicted_bytes_total: removed_bytes,
            held_bytes,
        }
    }
}

/// The file name of a block: a hash, so that the blocks of one object are spread over all
/// subdirectories.
fn name(key: &Key) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("sortie object block name 1");
    hasher.update(&key.version).update(&key.index.to_le_bytes());
    let hash = hasher.finalize().to_hex();
    hash.chars().take(32).collect()
}

/// The hash that a block's file starts with.
pub(crate) fn seal(key: &Key, content: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("sortie object block 1");
    hasher
        .update(&key.version)
        .update(&key.index.to_le_bytes())
        .update(content);
    hasher.finalize()
}

/// The content of a block's file, if its hash is right.
pub(crate) fn open(key: &Key, bytes: Vec<u8>) -> Option<Bytes> {
    let mut content = Bytes::from(bytes);
    if content.len() < HASH_BYTES {
        return None;
    }
    let sealed = content.split_to(HASH_BYTES);
    (seal(key, &content).as_bytes()[..] == sealed[..]).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        version: [1; 16],
        index: 7,
    };

    #[test]
    fn a_block_is_taken_under_its_own_name_only_and_only_undamaged() {
        let content = b"0123456789";
        let file = [seal(&KEY, content).as_bytes(), &content[..]].concat();
        assert_eq!(open(&KEY, file.clone()).unwrap(), &content[..]);
        for other in [
            Key { index: 8, ..KEY },
            Key {
                version: [2; 16],
                ..KEY
            },
        ] {
            assert_eq!(open(&other, file.clone()), None);
            assert_ne!(name(&other), name(&KEY));
        }
        for position in 0..file.len() {
            let mut damaged = file.clone();
            damaged[position] ^= 1;
            assert_eq!(open(&KEY, damaged), None, "byte {position}");
            assert_eq!(
                open(&KEY, file[..position].to_vec()),
                None,
                "cut at {position}"
            );
        }
    }

    #[test]
    fn what_is_allowed_covers_what_is_written_in_a_turn() {
        let bytes = 1 << 30;
        assert!(
            within(bytes) + within(bytes) / sized_dir::TURNS <= bytes && within(bytes) > bytes / 2
        );
    }
}
