//! The memo's local tier: one file per entry, in a folder whose size is bounded.
//!
//! The least recently used entries are removed first. The time of use is exact to [`TOUCH_AFTER`].

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;

use super::entry::{Entry, Name};
use sortie_objects::sized_dir::{Bounds, SizedDir};

/// Default size of the folder: a million small results, or some thousand large ones. The least
/// recently used entries are removed. The size may be exceeded by a quarter while results are
/// written.
pub const BYTES_MAX: u64 = 2 << 30;
/// Maximum size of an entry: a result of the default limit (64 MiB), its log and the framing.
pub const ENTRY_BYTES_MAX: u64 = 65 << 20;
/// An entry's time of last use is updated when it is older than this: updating costs as much as
/// reading the entry.
pub const TOUCH_AFTER: Duration = Duration::from_secs(3600);

/// A folder of results. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Local {
    folder: SizedDir,
}

impl Local {
    /// Use `folder`, which is created when the first result is cached, for up to `bytes_max`.
    /// Cleanup runs on `io`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, bytes_max: u64, io: Handle) -> Self {
        Self {
            folder: SizedDir::new(
                folder,
                Bounds {
                    bytes: bytes_max,
                    touch_after: TOUCH_AFTER,
                },
                io,
            ),
        }
    }

    /// What is kept under `name`.
    pub(super) fn get(&self, name: Name<'_>) -> Option<Entry> {
        let sealed = self.folder.read(&name.to_hex(), ENTRY_BYTES_MAX).ok()??;
        Entry::open(name, &sealed)
    }

    /// Keep what the function said under `name`.
    pub(super) fn put(&self, name: Name<'_>, entry: &Entry) {
        let written = entry
            .seal(name)
            .map_err(std::io::Error::other)
            .and_then(|sealed| self.folder.write(&name.to_hex(), &[&sealed]));
        if let Err(error) = written {
            tracing::warn!(
                folder = %self.folder.path().display(),
                %error,
                "failed to cache a result; it will be computed again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::{entry, key};
    use super::*;

    #[tokio::test]
    async fn what_was_kept_is_found_and_what_was_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path().join("memo"), BYTES_MAX, Handle::current());
        let key = key("f");
        let name = Name {
            tenant: "a".parse().unwrap(),
            key: &key,
        };
        assert!(local.get(name).is_none());
        local.put(name, &entry(3));
        assert_eq!(local.get(name), Some(entry(3)));
        assert!(
            local
                .get(Name {
                    tenant: "b".parse().unwrap(),
                    ..name
                })
                .is_none()
        );
        let file = glob::glob(&format!("{}/memo/??/*", folder.path().display()))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(local.get(name).is_none());
    }
}
