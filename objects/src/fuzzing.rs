//! Entry points of the fuzz targets: listings, patterns, headers and blocks on disk.
//!
//! Not part of the API: this module has no promise of stability, and nothing else uses it. It takes
//! bytes and returns plain values, so that the decoders themselves stay private.

use std::ops::Range;

use bytes::Bytes;

use crate::read::block::Key;
use crate::read::disk;
use crate::read::pattern::Pattern;
use crate::stores::page::Page;
use crate::stores::web;

/// The keys on a page of a store's listing, each with its size.
///
/// # Errors
/// Why it cannot be read.
pub fn listing_page(xml: &[u8]) -> Result<Vec<(String, u64)>, String> {
    let page = Page::parse(xml).map_err(|error| error.to_string())?;
    let entries = page.entries.into_iter();
    Ok(entries.map(|listed| (listed.key, listed.size)).collect())
}

/// Whether a pattern matches a key.
///
/// # Errors
/// What is wrong with the pattern.
pub fn pattern(pattern: &str, key: &str) -> Result<bool, &'static str> {
    Pattern::parse(pattern).map(|pattern| pattern.matches(key))
}

/// What the header `Content-Range` says: the range, if there is one, and the size.
#[must_use]
pub fn content_range(header: &str) -> Option<(Option<Range<u64>>, u64)> {
    web::content_range_of(header)
}

/// A block's content from its file, under this name.
#[must_use]
pub fn disk_block(version: [u8; 16], index: u64, file: Vec<u8>) -> Option<Bytes> {
    disk::open(&Key { version, index }, file)
}

/// The file that is written for a block.
#[must_use]
pub fn disk_file(version: [u8; 16], index: u64, content: &[u8]) -> Vec<u8> {
    let sum = disk::seal(&Key { version, index }, content);
    [sum.as_bytes(), content].concat()
}
