//! Writes and reads files in directories that several processes share.
//!
//! A file gets its name by a rename when it is complete, so a reader finds the whole file or none,
//! even if a process is killed while it writes. Nothing is synced: after a power failure a file may
//! be short or empty, so readers check the content.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sortie_protocol::Timestamp;

use crate::clock;

/// Temporary files older than this were left behind by a killed process.
pub const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The minimum size that a file counts as: file systems allocate at least one block.
const FILE_BYTES_MIN: u64 = 4096;

/// A temporary file: other processes do not see it under its final name until it is renamed. It is
/// removed if dropped before.
#[derive(Debug)]
pub struct Temporary {
    /// Open for writing.
    pub file: fs::File,
    path: PathBuf,
}

impl Temporary {
    /// Create a file in `folder` with a unique name, readable by this user only.
    ///
    /// # Errors
    /// The system's error.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(temporary_name()?);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { file, path })
    }

    /// Give the file its final name, unless a file of that name exists.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::AlreadyExists`] if the name is taken.
    pub fn link(&self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, path)
    }

    /// Give the file its final name, replacing an existing file.
    ///
    /// # Errors
    /// The system's error.
    pub fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

/// A name that no other file has, for one that is not complete.
pub(crate) fn temporary_name() -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".tmp-{:016x}", u64::from_le_bytes(random)))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// Set the file's time of last use to now.
pub fn touch(path: &Path) {
    if let Ok(file) = OpenOptions::new().append(true).open(path) {
        // Only the order of eviction depends on it.
        let _ = file.set_times(
            fs::FileTimes::new()
                .set_modified(std::time::UNIX_EPOCH + clock::now().since(Default::default())),
        );
    }
}

/// The disk space that a file takes.
#[must_use]
pub fn taken(metadata: &fs::Metadata) -> u64 {
    (metadata.blocks() * 512).max(FILE_BYTES_MIN)
}

/// When a file was written or last used ([`touch`]).
#[must_use]
pub fn modified(metadata: &fs::Metadata) -> Timestamp {
    let seconds = Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(0));
    Timestamp::default()
        + seconds
        + Duration::from_nanos(u64::try_from(metadata.mtime_nsec()).unwrap_or(0))
}

/// The time since [`modified`].
#[must_use]
pub fn age(metadata: &fs::Metadata) -> Duration {
    clock::now().since(modified(metadata))
}

/// Whether this is the name of a temporary file.
#[must_use]
pub fn is_temporary(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(".tmp-"))
}
