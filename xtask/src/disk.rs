//! How much of the disk is free. A build that fills it fails in compilers, linkers and tests alike,
//! with messages that rarely name the cause.

use std::io;
use std::path::Path;

/// What the first build, the tests and all checks write below `target`, in bytes, without what
/// cargo keeps for incremental builds.
pub(crate) const ALL_CHECKS: u64 = 8 * GIB;
/// With less than this, the disk is the likely cause of a failure.
const SCARCE: u64 = GIB;
const GIB: u64 = 1 << 30;

/// The bytes that can still be written to the file system of this folder.
pub(crate) fn free(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Says that the disk is full, if it nearly is.
pub(crate) fn advice(folder: &Path) -> Option<String> {
    let free = free(folder).ok().filter(|free| *free < SCARCE)?;
    Some(format!(
        "only {} are free for `{}`: a first run of all checks writes {}",
        shown(free),
        folder.display(),
        shown(ALL_CHECKS)
    ))
}

/// A size in GiB.
pub(crate) fn shown(bytes: u64) -> String {
    let tenths = bytes / (GIB / 10);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_gibibytes() {
        assert_eq!(shown(0), "0.0 GiB");
        assert_eq!(shown(GIB - 1), "1.0 GiB");
        assert_eq!(shown(3 * GIB / 2), "1.5 GiB");
        assert_eq!(shown(ALL_CHECKS), "8.0 GiB");
    }

    #[test]
    fn the_disk_of_this_folder_has_room() {
        let free = free(Path::new(".")).unwrap();
        assert!(free > 0);
    }
}
