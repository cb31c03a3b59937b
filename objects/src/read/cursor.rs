//! Reads an object at any position, with adaptive read-ahead for sequential readers.
//!
//! A cursor detects the access pattern. Sequential reads make it read ahead; the read-ahead doubles
//! whenever a read still had to wait, up to [`AHEAD_BYTES_MAX`], and a jump resets it. So a scan
//! over a long object soon has several concurrent requests, and reading a footer fetches one block.
//!
//! A cursor holds only blocks that are charged to the process's memory budget.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::block::{BLOCK_BYTES, Block, Purpose, REQUEST_BYTES_MAX, gather};
use crate::Error;
use crate::objects::Object;

/// Maximum read-ahead: with requests of 8 MiB, four connections for each stream.
pub const AHEAD_BYTES_MAX: u64 = 32 << 20;
/// Initial read-ahead.
const AHEAD_BYTES_MIN: u64 = 2 << 20;
/// Blocks that a cursor keeps while reads jump: parsers go back and forth between a table and the
/// data that it refers to.
const RANDOM_BLOCKS_MAX: usize = 4;
const _: () = assert!(
    AHEAD_BYTES_MAX >= 4 * REQUEST_BYTES_MAX,
    "a stream reads as far ahead as four requests go"
);
const AHEAD_BLOCKS_MAX: u64 = AHEAD_BYTES_MAX / BLOCK_BYTES;
const AHEAD_BLOCKS_MIN: u64 = AHEAD_BYTES_MIN / BLOCK_BYTES;

/// The expected access pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Unknown, or random access.
    Random,
    /// Sequentially from some position.
    Sequential,
}

/// A reader's position in an object, with its blocks. For one reader at a time.
#[derive(Debug)]
pub struct Cursor {
    object: Object,
    /// Blocks that are being fetched or wait to be read, by index, each with its share of the
    /// budget.
    held: BTreeMap<u64, Block>,
    /// How many blocks to read ahead.
    ahead: u64,
    /// The end (exclusive) of the blocks requested by read-ahead.
    asked: u64,
    /// Where the last read ended.
    end: Option<u64>,
}

impl Cursor {
    /// A cursor on `object`.
    #[must_use]
    pub fn new(object: Object, access: Access) -> Self {
        let ahead = match access {
            Access::Random => 0,
            Access::Sequential => AHEAD_BLOCKS_MIN,
        };
        Self {
            object,
            held: BTreeMap::new(),
            ahead,
            asked: 0,
            end: None,
        }
    }

    /// The object.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Read up to `len` bytes at `offset`: fewer only at the end of the object, or if `len` is more
    /// than a block.
    ///
    /// Cancel safe: a read that was dropped read nothing.
    ///
    /// # Errors
    /// When the object has changed since it was opened, or cannot be read.
    pub async fn read(&mut self, offset: u64, len: u64) -> Result<Bytes, Error> {
        let len = len
            .min(BLOCK_BYTES)
            .min(self.object.info().size.saturating_sub(offset));
        if len == 0 {
            return Ok(Bytes::new());
        }
        let bytes = self.object.stretch(offset..offset + len);
        // The first read counts as sequential, so that the read-ahead chosen by `Access` is kept.
        let in_order = self.end.is_none_or(|end| end == bytes.start);
        if !in_order {
            // Abort the read-ahead of the old position, unless other readers wait for its blocks.
            self.held.retain(|_, block| block.is_settled());
            self.ahead = 0;
            self.asked = 0;
        }
        let indices = bytes.start / BLOCK_BYTES..(bytes.end - 1) / BLOCK_BYTES + 1;
        let wanted = self.demand(&indices);
        self.ask_ahead(indices.end);
        let waits = !wanted.iter().all(Block::is_settled);
        let read = gather(&wanted, indices.start, &bytes).await;
        self.end = Some(bytes.end);
        self.let_go(in_order, bytes.end / BLOCK_BYTES);
        if waits && in_order {
            self.ahead = (self.ahead * 2).clamp(AHEAD_BLOCKS_MIN, AHEAD_BLOCKS_MAX);
        }
        if read.is_err() {
            // The next read requests failed blocks again.
            self.held.clear();
            self.asked = 0;
        }
        read
    }

    /// The blocks of this read: at most two, because a read is no longer than a block.
    fn demand(&mut self, indices: &Range<u64>) -> Vec<Block> {
        let mut wanted: Vec<Block> = indices
            .clone()
            .map_while(|index| self.held.get(&index).cloned())
            .collect();
        let missing = indices.start + wanted.len() as u64;
        if missing < indices.end {
            let blocks = self.object.blocks(missing..indices.end, Purpose::Demand);
            self.keep(missing, &blocks);
            wanted.extend(blocks);
        }
        wanted
    }

    /// Keep `ahead` blocks requested beyond `from`, refilling half of them at a time so that there
    /// are few requests.
    fn ask_ahead(&mut self, from: u64) {
        let asked = self.asked.max(from);
        let to = (from + self.ahead).min(self.object.blocks_end());
        if asked < to && (asked - from) * 2 <= self.ahead {
            let blocks = self.object.blocks(asked..to, Purpose::Ahead);
            self.asked = asked + blocks.len() as u64;
            self.keep(asked, &blocks);
        }
    }

    /// Drop blocks that were read, except the current one and, while reads jump, a few recent ones.
    fn let_go(&mut self, in_order: bool, current: u64) {
        if in_order {
            self.held = self.held.split_off(&current);
        }
        while !in_order && self.held.len() > RANDOM_BLOCKS_MAX {
            let other = self.held.keys().copied().find(|index| *index != current);
            let Some(other) = other else { break };
            self.held.remove(&other);
        }
    }

    /// Hold the blocks that are charged to the budget. The others come from the cache when they are
    /// read again.
    fn keep(&mut self, first: u64, blocks: &[Block]) {
        self.held.extend(
            (first..)
                .zip(blocks)
                .filter(|(_, block)| block.is_paid())
                .map(|(index, block)| (index, block.clone())),
        );
    }
}
