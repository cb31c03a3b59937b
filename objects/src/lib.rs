//! Reads and writes objects in S3, Google Cloud Storage, Azure Blob Storage, web servers and local
//! files.
//!
//! Names go to the wire as they were written: a key, a path or a URL is the one of the object that
//! is read, or that object's task fails.
//!
//! An address becomes an [`Object`] that is pinned to one version. It is read through blocks that
//! all tasks of a process share and that may be kept on disk, ahead of who reads in order
//! ([`Cursor`]); patterns and prefixes are listed. [`Upload`] writes objects, [`output_store`]
//! stores objects under the digest of their content, and [`values`] stores values that are too
//! large for a message. [`dir`] and [`sized_dir`] manage directories that several processes share.
//!
//! The only crate that uses `object_store`. It does not depend on wasmtime and never runs a
//! function, so a client without a host can read any result. It never reads the environment. All
//! I/O runs on a runtime that the caller passes in, so that functions that compute never delay a
//! read.
//!
//! Bounds: a request is retried at most [`RETRIES_MAX`] times within [`RETRY_TIME_MAX`]; objects
//! held in memory stay within [`Config::memory`], except for two blocks of each waiting task.
//! Errors name the object without credentials or query, and have a kind.

pub mod dir;
pub mod failure_episode;
#[doc(hidden)]
pub mod fuzzing;
pub mod output_store;
pub mod shortage;
pub mod sized_dir;
pub mod values;

mod background;
mod blocking;
mod clock;
mod config;
mod error;
mod files;
mod metrics;
mod networks;
mod objects;
mod read;
mod refusals;
mod shown;
mod stores;
mod upload;
mod write_error;

pub use self::config::{
    Addressing, Az, AzCredentials, Config, Disk, Gs, GsCredentials, MEMORY_DEFAULT, Payer,
    Prefetch, S3, S3Credentials, Secret, Token,
};
pub use self::error::Error;
pub use self::files::{Files, Folder};
pub use self::metrics::{DiskMetrics, Metrics};
pub use self::networks::{Network, Networks, NoNetwork};
pub use self::objects::{Info, Object, Objects, PREFETCH_BYTES_MAX};
pub use self::output_store::{OutputStore, TenantStore};
pub use self::read::block::{BLOCK_BYTES, REQUEST_BYTES_MAX};
pub use self::read::cursor::{AHEAD_BYTES_MAX, Access, Cursor};
pub use self::read::disk::{PAUSE as DISK_PAUSE, READ_TIME_MAX as DISK_READ_TIME_MAX};
pub use self::read::entries::Entry;
pub use self::read::fetch::STALL_TIME_MAX;
pub use self::read::list::{Found, parse, parse_literal};
pub use self::read::prefix::{Listing, Prefix};
pub use self::stores::REQUESTS_MAX;
pub use self::stores::metadata_credentials::{AGENT_TIME_MAX, METADATA_TIME_MAX};
pub use self::stores::retries::{RETRIES_MAX, RETRY_TIME_MAX};
pub use self::stores::web::WHOLE_BYTES_MAX;
pub use self::upload::{PART_BYTES, PARTS_IN_FLIGHT_MAX, PARTS_MAX, Upload};
pub use self::write_error::{WriteError, WriteFault};
pub use sortie_protocol::address::{Address, ByteRange, Place, VersionId};
pub use sortie_protocol::location::{Location, Malformed, Service};

#[cfg(test)]
mod tests;
