//! Results of earlier runs, in a local folder.
//!
//! A deterministic task's result follows from its key (see `sortie_protocol::memo`), so it may be taken from here instead of being computed.
//! Kept is what the function itself said: a result, or a failure that it calls final. What the platform did (traps, limits, unreadable
//! inputs) is not kept.
//!
//! One file per key, written under another name and renamed, so that processes may share the folder. Each file starts with a hash of the rest:
//! what a crash cut short is a miss. Whoever can write to the folder can forge results; it is as private as the folder of
//! [`crate::artifacts`], which it lies in.
//!
//! Bounds: a result under [`WORTH_KEEPING`] of work, from values alone, is not kept, because looking it up costs as much; the folder itself has
//! no bound yet and may be removed at any time.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sortie_protocol::memo::Key;
use sortie_protocol::{Ending, Failure, Log};

use crate::artifacts::Temporary;

/// The least work that is worth a file: writing one takes about 50 µs. Tasks that read objects are kept in any case: those have to be opened.
pub const WORTH_KEEPING: Duration = Duration::from_micros(200);
const HASH_BYTES: usize = 32;

/// A folder of results.
#[derive(Debug, Clone)]
pub struct Memo {
    folder: PathBuf,
}

/// What is kept of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) ending: Ending,
    pub(crate) log: Option<Box<Log>>,
}

impl Memo {
    /// Use `folder`, which is made when the first result is kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// What is kept under `key`.
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        let bytes = fs::read(self.path(key)).ok()?;
        let (hash, entry) = bytes.split_at_checked(HASH_BYTES)?;
        if blake3::hash(entry).as_bytes() != hash {
            return None;
        }
        ciborium::from_reader(entry).ok()
    }

    /// Keep what the function said under `key`. Failing to is not an error: the task runs again next time.
    pub(crate) fn put(&self, key: &Key, entry: &Entry) {
        if let Err(error) = self.write(key, entry) {
            tracing::warn!(folder = %self.folder.display(), %error, "failed to keep a result; it will be computed again");
        }
    }

    fn write(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let mut bytes = vec![0; HASH_BYTES];
        ciborium::into_writer(entry, &mut bytes).map_err(io::Error::other)?;
        let hash = blake3::hash(bytes.get(HASH_BYTES..).unwrap_or_default());
        if let Some(head) = bytes.get_mut(..HASH_BYTES) {
            head.copy_from_slice(hash.as_bytes());
        }
        let path = self.path(key);
        let folder = path.parent().unwrap_or(&self.folder);
        let mut temporary = match Temporary::create(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                Temporary::create(folder)?
            }
            created => created?,
        };
        temporary.file.write_all(&bytes)?;
        temporary.rename(&path)
    }

    /// Spread over 256 folders: file systems dislike millions of files in one.
    fn path(&self, key: &Key) -> PathBuf {
        let name = key.to_hex();
        let (folder, rest) = name.split_at_checked(2).unwrap_or(("", &name));
        self.folder.join(folder).join(rest)
    }
}

/// Whether an ending is the function's own word and will be the same next time.
pub(crate) fn is_word(ending: &Ending) -> bool {
    match ending {
        Ending::Completed(_) => true,
        Ending::Failed(Failure::Answer { retry, .. }) => retry.is_none(),
        Ending::Failed(Failure::Trapped { .. } | Failure::Stopped { .. } | Failure::Input { .. } | Failure::Platform { .. })
        | Ending::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::memo::KeyBuilder;
    use sortie_protocol::{Digest, FunctionRef, Limits};

    use super::*;

    fn key() -> Key {
        KeyBuilder::new(&FunctionRef { component: Digest::of(b""), name: "f".into() }, &Limits::default()).finish()
    }

    #[test]
    fn what_was_kept_is_found_and_what_was_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let memo = Memo::new(folder.path().join("memo"));
        assert!(memo.get(&key()).is_none());
        memo.put(&key(), &Entry { ending: Ending::Completed(vec![1, 2, 3].into()), log: None });
        assert_eq!(memo.get(&key()).unwrap().ending, Ending::Completed(vec![1, 2, 3].into()));
        let mut bytes = fs::read(memo.path(&key())).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(memo.path(&key()), bytes).unwrap();
        assert!(memo.get(&key()).is_none());
    }
}
