//! Blocks: parts of objects that are in memory or being fetched; joins the bytes of several.
//!
//! Plain values that the cache, the disk tier and requests share. Nothing here starts a request.

use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, SetOnce};

use crate::Error;

/// The size of a block, the unit of caching and fetching: most documents are smaller, and at 40
/// MB/s transferring it takes as long as waiting for the answer's first byte.
pub const BLOCK_BYTES: u64 = 1 << 20;
/// Maximum size of one request: large enough that the latency of its first byte matters little,
/// small enough that several requests can share a long object.
pub const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Names a block: a version of an object, and the block's place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) version: [u8; 16],
    pub(crate) index: u64,
}

/// A block that is being fetched.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) content: SetOnce<Result<Bytes, Error>>,
    /// Its share of the memory budget; `None` if the budget was exceeded.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// A block, in memory or being fetched.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Here(Bytes),
    /// Came with what opened its object, and is held as long as that is, with its part of the
    /// budget.
    Brought {
        bytes: Bytes,
        _paid: Arc<Vec<OwnedSemaphorePermit>>,
    },
    Coming(Arc<Cell>),
}

/// Why a block is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A reader waits for it.
    Demand,
    /// A reader will probably need it.
    Ahead,
}

/// Blocks fetched by one request, the first at `index`.
pub(crate) struct Run {
    pub(crate) index: u64,
    pub(crate) cells: Vec<Weak<Cell>>,
}

impl Block {
    /// Its bytes. Cancel safe.
    pub(crate) async fn bytes(&self) -> Result<Bytes, Error> {
        match self {
            Self::Here(bytes) | Self::Brought { bytes, .. } => Ok(bytes.clone()),
            Self::Coming(cell) => cell.content.wait().await.clone(),
        }
    }

    /// Whether it has arrived or failed.
    pub(crate) fn is_settled(&self) -> bool {
        match self {
            Self::Here(_) | Self::Brought { .. } => true,
            Self::Coming(cell) => cell.content.get().is_some(),
        }
    }

    /// Whether it has arrived.
    pub(crate) fn has_come(&self) -> bool {
        match self {
            Self::Here(_) | Self::Brought { .. } => true,
            Self::Coming(cell) => matches!(cell.content.get(), Some(Ok(_))),
        }
    }

    /// Whether it may be kept: its memory is charged to the budget.
    pub(crate) fn is_paid(&self) -> bool {
        match self {
            // The cache may have evicted it meanwhile.
            Self::Here(_) => false,
            Self::Brought { .. } => true,
            Self::Coming(cell) => cell.permit.is_some(),
        }
    }
}

/// The wanted bytes in one piece.
pub(crate) async fn gather(
    blocks: &[Block],
    first: u64,
    bytes: &Range<u64>,
) -> Result<Bytes, Error> {
    if let [block] = blocks {
        return Ok(part(&block.bytes().await?, first, bytes));
    }
    let mut all = BytesMut::new();
    for (index, block) in (first..).zip(blocks) {
        all.extend_from_slice(&part(&block.bytes().await?, index, bytes));
    }
    Ok(all.freeze())
}

/// The part of the range `bytes` that lies in a block.
fn part(block: &Bytes, index: u64, bytes: &Range<u64>) -> Bytes {
    let start = index * BLOCK_BYTES;
    let within = |position: u64| {
        usize::try_from(position.saturating_sub(start))
            .unwrap_or(usize::MAX)
            .min(block.len())
    };
    block.slice(within(bytes.start)..within(bytes.end))
}
