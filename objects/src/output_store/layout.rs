//! Where things are below a store's location, and how large they may be.

/// The folder of objects below a store's location, with one of each tenant.
pub const OBJECTS: &str = "objects";
/// The folder of results that the memo shares, with one of each tenant.
pub const MEMO: &str = "memo";
/// The folder of incomplete objects.
pub const INCOMING: &str = "incoming";
/// Maximum size of a streamed object: S3 cannot copy, and so not rename, a larger object in one
/// request.
pub const STREAM_BYTES_MAX: u64 = 5 << 30;
