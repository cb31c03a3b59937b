//! Reads objects in blocks that all tasks of a process share, with a memory cache, a disk cache and
//! read-ahead; lists patterns and prefixes.

pub(crate) mod block;
pub(crate) mod blocks;
pub(crate) mod cursor;
pub(crate) mod disk;
pub(crate) mod entries;
pub(crate) mod fetch;
pub(crate) mod held;
pub(crate) mod list;
pub(crate) mod pattern;
pub(crate) mod pending;
pub(crate) mod prefix;
pub(crate) mod version;
pub(crate) mod walk;
