//! Reading an object here and there, and ahead of whoever reads it in order.
//!
//! A cursor sees how it is used. Reads that follow each other make it fetch ahead, twice as far
//! whenever it had to wait all the same, up to [`AHEAD_BYTES_MAX`]; a jump starts over. So a scan
//! over a long object soon has several requests side by side, and a look into a footer fetches one
//! block.
//!
//! What a cursor holds is accounted for in the process's budget; it keeps nothing that is not.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

use super::block::{BLOCK_BYTES, Block, Purpose, REQUEST_BYTES_MAX, gather};
use crate::Error;
use crate::objects::Object;

/// How far a cursor reads ahead at most: with requests of 8 MiB, four connections for each stream.
pub const AHEAD_BYTES_MAX: u64 = 32 << 20;
/// How far it begins to.
const AHEAD_BYTES_MIN: u64 = 2 << 20;
/// Blocks that a cursor keeps while reads jump: parsers go back and forth between a table and what
/// it tells of.
const RANDOM_BLOCKS_MAX: usize = 4;
const _: () = assert!(
    AHEAD_BYTES_MAX >= 4 * REQUEST_BYTES_MAX,
    "a stream reads as far ahead as four requests go"
);
const AHEAD_BLOCKS_MAX: u64 = AHEAD_BYTES_MAX / BLOCK_BYTES;
const AHEAD_BLOCKS_MIN: u64 = AHEAD_BYTES_MIN / BLOCK_BYTES;

/// How an object is going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anywhere, so far as is known.
    Random,
    /// From a position on, in order.
    Sequential,
}

/// A place in an object, and what is held around it. Not for several readers at once.
#[derive(Debug)]
pub struct Cursor {
    object: Object,
    /// Blocks by index that are under way or wait to be read, each with its part of the budget.
    held: BTreeMap<u64, Block>,
    /// How many blocks to have under way beyond what was read.
    ahead: u64,
    /// Up to which block was asked ahead.
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

    /// Up to `len` bytes at `offset`: fewer only at the end of the object, and where `len` is more
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
        // The first read counts as in order: whoever said how it is going to be read is believed.
        let in_order = self.end.is_none_or(|end| end == bytes.start);
        if !in_order {
            // What was fetched for the way that is not taken ends, if nobody else waits for it.
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
            // What failed is asked for anew by the next read.
            self.held.clear();
            self.asked = 0;
        }
        read
    }

    /// The blocks that are read now, two at most because a read is no longer than a block.
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

    /// Have enough under way beyond `from`; half of it at a time, so that it comes in few requests.
    fn ask_ahead(&mut self, from: u64) {
        let asked = self.asked.max(from);
        let to = (from + self.ahead).min(self.object.blocks_end());
        if asked < to && (asked - from) * 2 <= self.ahead {
            let blocks = self.object.blocks(asked..to, Purpose::Ahead);
            self.asked = asked + blocks.len() as u64;
            self.keep(asked, &blocks);
        }
    }

    /// Of what was read, keep the block that is read on, and where reads jump some of those they
    /// came from.
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

    /// Hold what is accounted for. The rest comes from the cache when it is read again.
    fn keep(&mut self, first: u64, blocks: &[Block]) {
        self.held.extend(
            (first..)
                .zip(blocks)
                .filter(|(_, block)| block.is_paid())
                .map(|(index, block)| (index, block.clone())),
        );
    }
}
