//! Blocks: the parts of objects that are held in memory, shared by all tasks of a process.
//!
//! An object is read in blocks of [`BLOCK_BYTES`]. A block is in the cache, or on its way, or
//! somebody's demand starts it: whoever asks for one that is on its way waits for that, so however
//! many tasks read an object, each of its blocks is fetched once while it fits. Missing blocks that
//! follow each other come with one request, of [`REQUEST_BYTES_MAX`] at most; more requests run
//! side by side.
//!
//! Memory: half of the budget is the cache's, which lets go of what was not used for longest; with
//! a disk tier, an eighth of all is taken from that for what waits to be written. The other half is
//! for blocks on their way to a task and those that wait to be read: reading ahead takes from
//! it and is refused when it is empty, so it never holds up anything. What a task needs now is
//! never refused, because whoever holds the rest may be waiting too; a task overdraws by two blocks
//! at most.
//!
//! A request ends early when nobody waits any more. Blocks of objects without a validator are
//! nobody else's, and files of this machine are left to its own cache.
//!
//! Below the cache may be a disk tier (`disk`): what is there is not asked for, and what was asked
//! for is left there. A request that finds some of its blocks there asks for the stretches between
//! them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

use super::disk::Tier;
use super::metrics::{Counters, Metrics};
use super::version::Version;
use super::{Config, Error, Prefetch, fetch};

/// How much of an object is held or fetched at least: most documents are smaller, and at 40 MB/s it
/// takes as long to come as the answer's first byte does.
pub const BLOCK_BYTES: u64 = 1 << 20;
/// The most that one request asks for: enough that waiting for its first byte costs little beside
/// it, little enough that several can share a long object.
pub const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// What one permit stands for; blocks of small objects take less than others.
const PERMIT_BYTES: u64 = 1 << 10;

/// Names a block: a version of an object, and the block's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) version: [u8; 16],
    pub(super) index: u64,
}

/// All blocks of a process.
#[derive(Debug)]
pub(super) struct Blocks {
    held: moka::sync::Cache<Key, Bytes>,
    coming: Mutex<HashMap<Key, Weak<Cell>>>,
    disk: Option<Arc<Tier>>,
    ahead: Arc<Semaphore>,
    pub(super) prefetch: Prefetch,
    io: Handle,
    counters: Arc<Counters>,
}

/// Where one block comes.
#[derive(Debug)]
pub(super) struct Cell {
    content: SetOnce<Result<Bytes, Error>>,
    /// Its part of the budget, unless it was overdrawn.
    permit: Option<OwnedSemaphorePermit>,
}

/// A block, as a reader has it.
#[derive(Debug, Clone)]
pub(super) enum Block {
    Here(Bytes),
    Coming(Arc<Cell>),
}

/// Why a block is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody waits for it.
    Demand,
    /// Somebody will, probably.
    Ahead,
}

/// Blocks that one request brings, the first at `index`.
pub(super) struct Run {
    pub(super) index: u64,
    pub(super) cells: Vec<Weak<Cell>>,
}

impl Block {
    /// Its bytes. Cancel safe.
    pub(super) async fn bytes(&self) -> Result<Bytes, Error> {
        match self {
            Self::Here(bytes) => Ok(bytes.clone()),
            Self::Coming(cell) => cell.content.wait().await.clone(),
        }
    }

    /// Whether its bytes are there, or the reason why they are not.
    pub(super) fn is_settled(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Coming(cell) => cell.content.get().is_some(),
        }
    }

    /// Whether its bytes are there.
    pub(super) fn has_come(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Coming(cell) => matches!(cell.content.get(), Some(Ok(_))),
        }
    }

    /// Whether it may be kept: its memory is accounted for.
    pub(super) fn is_paid(&self) -> bool {
        match self {
            // The cache may have let go of it meanwhile.
            Self::Here(_) => false,
            Self::Coming(cell) => cell.permit.is_some(),
        }
    }
}

impl Blocks {
    /// Blocks within the budget and the disk of `config`, with requests on `io`.
    pub(super) fn new(config: &Config, io: Handle) -> Self {
        let half = config.memory.as_u64() / 2;
        let writes = config
            .disk
            .as_ref()
            .map_or(0, |_| config.memory.as_u64() / 8);
        let counters = Arc::new(Counters::default());
        let evicted = counters.clone();
        let held = moka::sync::Cache::builder()
            .max_capacity(half - writes)
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            // What was fetched ahead must still be there when it is read: an admission policy that
            // prefers what is known would drop it.
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .eviction_listener(move |_, bytes, cause| {
                if cause.was_evicted() {
                    evicted.evicted(bytes.len());
                }
            })
            .build();
        let permits = usize::try_from(half / PERMIT_BYTES)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        let disk = config
            .disk
            .as_ref()
            .map(|disk| Tier::new(disk, writes, io.clone()));
        let ahead = Arc::new(Semaphore::new(permits));
        Self {
            held,
            coming: Mutex::default(),
            disk,
            ahead,
            prefetch: config.prefetch,
            io,
            counters,
        }
    }

    /// What reading has cost so far.
    pub(super) fn metrics(&self) -> Metrics {
        self.held.run_pending_tasks();
        let disk = self.disk.as_ref().map(|disk| disk.metrics());
        Metrics {
            disk,
            ..self.counters.read(self.held.weighted_size())
        }
    }

    /// Wait until what is being written to disk is, for a bounded time. Cancel safe.
    pub(super) async fn settled(&self) {
        if let Some(disk) = &self.disk {
            disk.settled().await;
        }
    }

    /// The blocks of `version` at these indices, as far as the purpose goes: reading ahead ends
    /// where the budget does.
    pub(super) fn get(
        self: &Arc<Self>,
        version: &Arc<Version>,
        indices: Range<u64>,
        purpose: Purpose,
    ) -> Vec<Block> {
        if (purpose, self.prefetch) == (Purpose::Ahead, Prefetch::Off) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut coming = self.coming.lock();
        for index in indices {
            let key = version.key(index);
            if let Some(block) = self.find(&coming, &key) {
                self.counters.hit(purpose);
                found.push(block);
                continue;
            }
            let permit = self.permit(version.block_bytes(index));
            if permit.is_none() && purpose == Purpose::Ahead {
                break;
            }
            self.counters.miss();
            let cell = Arc::new(Cell {
                content: SetOnce::new(),
                permit,
            });
            coming.insert(key, Arc::downgrade(&cell));
            extend(&mut runs, index, &cell);
            found.push(Block::Coming(cell));
        }
        drop(coming);
        for run in runs {
            // Ends with its last cell, or when nobody waits for those that are left; so it is
            // bounded by whoever holds cells.
            drop(
                self.io
                    .spawn(fetch::run(self.clone(), version.clone(), run)),
            );
        }
        found
    }

    /// One that is here or on its way. A block is put here before it is no longer on its way, and
    /// both are looked at under one lock.
    fn find(&self, coming: &HashMap<Key, Weak<Cell>>, key: &Key) -> Option<Block> {
        if let Some(cell) = coming.get(key).and_then(Weak::upgrade) {
            // One that failed is asked for again.
            return (!matches!(cell.content.get(), Some(Err(_)))).then_some(Block::Coming(cell));
        }
        self.held.get(key).map(Block::Here)
    }

    fn permit(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        self.ahead.clone().try_acquire_many_owned(permits).ok()
    }

    /// A block came.
    pub(super) fn settle(
        &self,
        version: &Version,
        index: u64,
        cell: &Weak<Cell>,
        content: Result<Bytes, Error>,
    ) {
        let key = version.key(index);
        if let Ok(bytes) = &content
            && version.is_shared()
        {
            self.held.insert(key, bytes.clone());
        }
        if let Some(cell) = cell.upgrade() {
            // It is set once, here.
            let _ = cell.content.set(content);
        }
        self.forget(&key, cell);
    }

    /// Nobody waits for a block any more, or it is here.
    pub(super) fn forget(&self, key: &Key, cell: &Weak<Cell>) {
        let mut coming = self.coming.lock();
        // Somebody may have asked anew meanwhile.
        if coming.get(key).is_some_and(|current| current.ptr_eq(cell)) {
            coming.remove(key);
        }
    }
}

/// Put a block behind those that one request brings, or into a new one.
fn extend(runs: &mut Vec<Run>, index: u64, cell: &Arc<Cell>) {
    let full = (REQUEST_BYTES_MAX / BLOCK_BYTES) as usize;
    match runs
        .last_mut()
        .filter(|run| run.index + run.cells.len() as u64 == index && run.cells.len() < full)
    {
        Some(run) => run.cells.push(Arc::downgrade(cell)),
        None => runs.push(Run {
            index,
            cells: vec![Arc::downgrade(cell)],
        }),
    }
}

/// Blocks that follow each other.
pub(super) enum Stretch {
    /// One that is on disk.
    Kept(Bytes),
    /// So many that are not.
    Missing(usize),
}

/// What is left of a request; whoever still waits is told when it ends without them.
pub(super) struct Pending {
    blocks: Arc<Blocks>,
    version: Arc<Version>,
    index: u64,
    cells: std::vec::IntoIter<Weak<Cell>>,
}

impl Pending {
    pub(super) fn new(blocks: Arc<Blocks>, version: Arc<Version>, run: Run) -> Self {
        Self {
            blocks,
            version,
            index: run.index,
            cells: run.cells.into_iter(),
        }
    }

    /// All that is to come, looked up on disk.
    pub(super) async fn look_up(&self) -> Vec<Stretch> {
        let count = self.cells.as_slice().len();
        let Some(disk) = self.disk() else {
            return vec![Stretch::Missing(count)];
        };
        let mut found = disk
            .get(&self.version, self.index..self.index + count as u64)
            .await;
        found.resize(count, None);
        let mut stretches = Vec::new();
        for block in found {
            match (block, stretches.last_mut()) {
                (Some(bytes), _) => stretches.push(Stretch::Kept(bytes)),
                (None, Some(Stretch::Missing(count))) => *count += 1,
                (None, _) => stretches.push(Stretch::Missing(1)),
            }
        }
        stretches
    }

    /// Where its blocks are kept beyond memory, if they are.
    fn disk(&self) -> Option<&Arc<Tier>> {
        self.blocks
            .disk
            .as_ref()
            .filter(|_| self.version.is_shared())
    }

    /// The bytes of the next `count` blocks, which are about to be asked for.
    pub(super) fn ask(&self, count: usize) -> Range<u64> {
        self.blocks.counters.request();
        let start = self.index * BLOCK_BYTES;
        start..(start + count as u64 * BLOCK_BYTES).min(self.version.size())
    }

    /// Whether anybody waits for one of them.
    pub(super) fn is_wanted(&self) -> bool {
        self.cells
            .as_slice()
            .iter()
            .any(|cell| cell.strong_count() > 0)
    }

    /// How long the next block is.
    pub(super) fn next_bytes(&self) -> usize {
        usize::try_from(self.version.block_bytes(self.index)).unwrap_or(usize::MAX)
    }

    /// The next block came from the store.
    pub(super) fn settle(&mut self, bytes: Bytes) {
        self.blocks.counters.fetched(bytes.len());
        if let Some(disk) = self.disk() {
            disk.put(self.version.key(self.index), bytes.clone());
        }
        self.settle_kept(bytes);
    }

    /// The next block is here.
    pub(super) fn settle_kept(&mut self, bytes: Bytes) {
        if let Some(cell) = self.cells.next() {
            self.blocks
                .settle(&self.version, self.index, &cell, Ok(bytes));
            self.index += 1;
        }
    }

    /// None of the rest will come.
    pub(super) fn fail(&mut self, error: &Error) {
        for cell in self.cells.by_ref() {
            self.blocks
                .settle(&self.version, self.index, &cell, Err(error.clone()));
            self.index += 1;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After all have come there is nobody left to tell.
        let shown = self.version.shown().to_owned();
        self.fail(&Error::new(
            InputFault::Unavailable,
            format!("failed to read `{shown}`: the host is shutting down"),
        ));
    }
}
