//! The state of one request for blocks: which are on disk, which are still requested, and who waits
//! for them.
//!
//! If a request ends before its last block, the readers that wait for the remaining blocks get an
//! error, also when it is dropped.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use sortie_protocol::outcome::InputFault;

use super::block::{BLOCK_BYTES, Cell, Run};
use super::disk::Tier;
use super::held::Held;
use super::version::Version;
use crate::Error;

/// Adjacent blocks.
pub(crate) enum Stretch {
    /// One block that was found on disk.
    Kept(Bytes),
    /// The number of blocks that were not.
    Missing(usize),
}

/// The remaining blocks of a request. Their readers get an error if it is dropped early.
pub(crate) struct Pending {
    held: Arc<Held>,
    version: Arc<Version>,
    index: u64,
    cells: std::vec::IntoIter<Weak<Cell>>,
}

impl Pending {
    pub(crate) fn new(held: Arc<Held>, version: Arc<Version>, run: Run) -> Self {
        Self {
            held,
            version,
            index: run.index,
            cells: run.cells.into_iter(),
        }
    }

    /// Look up the remaining blocks on disk.
    pub(crate) async fn look_up(&self) -> Vec<Stretch> {
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

    /// The disk tier, if these blocks are kept there.
    fn disk(&self) -> Option<&Arc<Tier>> {
        self.held.disk.as_ref().filter(|_| self.version.is_shared())
    }

    /// The byte range of the next `count` blocks, which are about to be requested.
    pub(crate) fn ask(&self, count: usize) -> Range<u64> {
        self.held.counters.request();
        let start = self.index * BLOCK_BYTES;
        start..(start + count as u64 * BLOCK_BYTES).min(self.version.size())
    }

    /// Whether a reader waits for one of them.
    pub(crate) fn is_wanted(&self) -> bool {
        self.cells
            .as_slice()
            .iter()
            .any(|cell| cell.strong_count() > 0)
    }

    /// Size of the next block.
    pub(crate) fn next_bytes(&self) -> usize {
        usize::try_from(self.version.block_bytes(self.index)).unwrap_or(usize::MAX)
    }

    /// The next block was fetched from the store.
    pub(crate) fn settle(&mut self, bytes: Bytes) {
        self.held.counters.fetched(bytes.len());
        if let Some(disk) = self.disk() {
            disk.put(self.version.key(self.index), bytes.clone());
        }
        self.settle_kept(bytes);
    }

    /// The next block was found on disk.
    pub(crate) fn settle_kept(&mut self, bytes: Bytes) {
        if let Some(cell) = self.cells.next() {
            self.held
                .settle(&self.version, self.index, &cell, Ok(bytes));
            self.index += 1;
        }
    }

    /// The remaining blocks failed.
    pub(crate) fn fail(&mut self, error: &Error) {
        for cell in self.cells.by_ref() {
            self.held
                .settle(&self.version, self.index, &cell, Err(error.clone()));
            self.index += 1;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Nothing to do once all blocks have arrived.
        let shown = self.version.shown().to_owned();
        self.fail(&Error::new(
            InputFault::Unavailable,
            format!("failed to read `{shown}`: the host is shutting down"),
        ));
    }
}
