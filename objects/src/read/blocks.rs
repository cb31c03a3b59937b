//! The block cache: starts and shares the requests that fetch blocks, for all tasks of a process.
//!
//! An object is read in blocks of [`BLOCK_BYTES`]. A reader that asks for a block gets it from the
//! cache, joins the request that is fetching it, or starts one. So each block is fetched once while
//! it fits into memory, however many tasks read it. Adjacent missing blocks share one request of at
//! most [`REQUEST_BYTES_MAX`]; several requests run side by side.
//!
//! Memory: half of the budget is the cache (least recently used blocks go first); with a disk tier
//! an eighth of the budget is taken from that half for pending disk writes. The other half is for
//! blocks that are being fetched or wait to be read. Reading ahead takes from it and is refused
//! when it is used up, so reading ahead never delays a task. A block that a task needs now is never
//! refused, because the tasks that hold the rest may be waiting too; a task exceeds the budget by
//! at most two blocks.
//!
//! A request is aborted when no reader waits for it. Blocks of objects without a validator are not
//! shared, and local files are left to the operating system's page cache.
//!
//! A request first looks into the disk tier (`disk`) and asks the store for the ranges between the
//! blocks that it found there; what it fetched is written to the disk tier.

use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SetOnce};

use super::block::{BLOCK_BYTES, Block, Cell, Purpose, REQUEST_BYTES_MAX, Run};
use super::fetch;
use super::held::Held;
use super::version::Version;
use crate::metrics::Metrics;
use crate::{Config, Prefetch};

/// Bytes per semaphore permit; blocks of small objects take fewer permits.
const PERMIT_BYTES: u64 = 1 << 10;

/// Gives blocks to all readers of a process, and starts the requests for those that are missing.
#[derive(Debug)]
pub(crate) struct Blocks {
    held: Arc<Held>,
    ahead: Arc<Semaphore>,
    pub(crate) prefetch: Prefetch,
    io: Handle,
}

impl Blocks {
    /// A block cache with the budget and disk of `config`, making requests on `io`.
    pub(crate) fn new(config: &Config, io: Handle) -> Self {
        let half = config.memory.as_u64() / 2;
        let writes = config
            .disk
            .as_ref()
            .map_or(0, |_| config.memory.as_u64() / 8);
        let permits = usize::try_from(half / PERMIT_BYTES)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            held: Arc::new(Held::new(config, half - writes, writes, io.clone())),
            ahead: Arc::new(Semaphore::new(permits)),
            prefetch: config.prefetch,
            io,
        }
    }

    /// Metrics of all reads so far.
    pub(crate) fn metrics(&self) -> Metrics {
        self.held.metrics()
    }

    /// Wait, for a bounded time, until pending blocks are written to disk. Cancel safe.
    pub(crate) async fn flush(&self) {
        self.held.flush().await;
    }

    /// The blocks of `version` at these indices; read-ahead returns only as many as the budget
    /// allows.
    pub(crate) fn get(
        &self,
        version: &Arc<Version>,
        indices: Range<u64>,
        purpose: Purpose,
    ) -> Vec<Block> {
        if (purpose, self.prefetch) == (Purpose::Ahead, Prefetch::Off) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut coming = self.held.coming();
        for index in indices {
            let key = version.key(index);
            if let Some(block) = coming.find(&key) {
                self.held.counters.hit(purpose);
                found.push(block);
                continue;
            }
            let permit = self.permit(version.block_bytes(index));
            if permit.is_none() && purpose == Purpose::Ahead {
                break;
            }
            self.held.counters.miss();
            let cell = Arc::new(Cell {
                content: SetOnce::new(),
                permit,
            });
            coming.insert(key, &cell);
            extend(&mut runs, index, &cell);
            found.push(Block::Coming(cell));
        }
        drop(coming);
        for run in runs {
            // Ends with its last cell, or when no reader waits for the remaining ones; so the
            // number of tasks is bounded by the readers that hold cells.
            drop(
                self.io
                    .spawn(fetch::run(self.held.clone(), version.clone(), run)),
            );
        }
        found
    }

    /// A part of the budget for blocks under way, if there is so much left.
    pub(crate) fn permit(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        self.ahead.clone().try_acquire_many_owned(permits).ok()
    }
}

/// Append a block to the last run, or start a new run.
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
