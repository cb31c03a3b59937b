//! The memo's local folder.
//!
//! One file per entry, written under another name and renamed, so that processes may share the folder. The files are spread over 256 folders
//! by their names, which are hashes: each folder has its fair share of all bytes.
//!
//! The folder's size is bounded without ever looking at all of it. Once for each process that writes, and then often enough that all have had
//! their turn when a quarter of the bound was written, one of the 256 is looked at; what was seen is remembered in the file `sizes`. When all
//! together are too large, the one that is looked at gives up what was not used for longest, down to its share. So the bound holds on the
//! whole and over time, and may be exceeded by what is written during one turn. Files count with the blocks that they take.
//!
//! When an entry was used is known to [`TOUCH_AFTER`].

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sortie_protocol::Timestamp;
use tokio::runtime::Handle;

use super::{Entry, Name};
use crate::artifacts::{Temporary, touch};
use crate::clock;

/// The most that the folder takes by default: a million small results, or some thousand large ones. What was not used for longest goes.
pub const BYTES_MAX: u64 = 2 << 30;
/// The largest entry that is read: a result of the default limit (64 MiB), its log and what is around them.
pub const ENTRY_BYTES_MAX: u64 = 65 << 20;
/// Turns of looks while as much is written as the folder may hold: with the default bound a look for each 2 MiB, at 8 MiB in the mean.
const TURNS: u64 = 4;
/// The least that a file counts: no file system keeps one in less.
const FILE_BYTES_MIN: u64 = 4096;
/// An entry's time of use is set anew when it is older than this: setting it costs as much as reading the entry.
pub const TOUCH_AFTER: Duration = Duration::from_secs(3600);
/// Files under a temporary name that are older were left by a process that was killed.
pub const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How many folders there are.
const SPREAD: usize = 256;
/// What is known of the folders' sizes.
const SIZES: &str = "sizes";

/// A folder of results. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    bytes_max: u64,
    io: Handle,
    looks: Mutex<Looks>,
    looking: AtomicBool,
}

/// Which of the 256 folders is looked at when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looks {
    /// What each was seen to take; nothing before it was seen first.
    sizes: Vec<u64>,
    next: u8,
    /// Written since the last look.
    bytes: u64,
}

impl Looks {
    /// Nothing is known, and the first write is followed by a look.
    fn new() -> Self {
        Self { sizes: vec![0; SPREAD], next: 0, bytes: u64::MAX }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (next, sizes) = bytes.split_first()?;
        let sizes: Vec<u64> = sizes.chunks_exact(8).filter_map(|size| size.try_into().ok()).map(u64::from_le_bytes).collect();
        (sizes.len() == SPREAD).then(|| Self { sizes, next: *next, ..Self::new() })
    }

    fn to_bytes(&self) -> Vec<u8> {
        std::iter::once(self.next).chain(self.sizes.iter().flat_map(|size| size.to_le_bytes())).collect()
    }

    /// A file was written where all together may have `bytes_max`. Returns which folder to look at, if one is due.
    fn on_written(&mut self, folder: u8, bytes: u64, bytes_max: u64) -> Option<u8> {
        if let Some(size) = self.sizes.get_mut(usize::from(folder)) {
            *size = size.saturating_add(bytes);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes < bytes_max / (TURNS * SPREAD as u64) {
            return None;
        }
        self.bytes = 0;
        let due = self.next;
        self.next = self.next.wrapping_add(1);
        Some(due)
    }

    /// A folder was looked at and has this size. Returns the size that it may have, when all together may have `bytes_max`.
    fn on_seen(&mut self, folder: u8, size: u64, bytes_max: u64) -> u64 {
        self.set(folder, size);
        let total = self.sizes.iter().fold(0u128, |sum, size| sum + u128::from(*size));
        if total <= u128::from(bytes_max) {
            return size;
        }
        u64::try_from(u128::from(size) * u128::from(bytes_max) / total).unwrap_or(size)
    }

    fn set(&mut self, folder: u8, size: u64) {
        if let Some(known) = self.sizes.get_mut(usize::from(folder)) {
            *known = size;
        }
    }
}

impl Local {
    /// Use `folder`, which is made when the first result is kept, for up to `bytes_max`. What tidies up runs on `io`.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, bytes_max: u64, io: Handle) -> Self {
        let folder = folder.into();
        let looks = fs::read(folder.join(SIZES)).ok().and_then(|bytes| Looks::from_bytes(&bytes)).unwrap_or_else(Looks::new);
        Self { inner: Arc::new(Inner { folder, bytes_max, io, looks: Mutex::new(looks), looking: AtomicBool::new(false) }) }
    }

    /// What is kept under `name`.
    pub(super) fn get(&self, name: Name<'_>) -> Option<Entry> {
        let (_, path) = self.inner.path(name);
        let file = fs::File::open(&path).ok()?;
        let metadata = file.metadata().ok().filter(|metadata| metadata.len() <= ENTRY_BYTES_MAX)?;
        let mut sealed = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        (&file).take(ENTRY_BYTES_MAX).read_to_end(&mut sealed).ok()?;
        let entry = Entry::open(name, &sealed)?;
        if age(&metadata) > TOUCH_AFTER {
            touch(&path);
        }
        Some(entry)
    }

    /// Keep what the function said under `name`.
    pub(super) fn put(&self, name: Name<'_>, entry: &Entry) {
        let (folder, path) = self.inner.path(name);
        match self.inner.write(name, entry, &path) {
            Ok(bytes) => {
                let due = self.inner.looks.lock().on_written(folder, bytes, self.inner.bytes_max);
                if let Some(due) = due {
                    self.look(due);
                }
            }
            Err(error) => {
                tracing::warn!(folder = %self.inner.folder.display(), %error, "failed to keep a result; it will be computed again");
            }
        }
    }

    /// Look at a folder, unless one is being looked at.
    fn look(&self, folder: u8) {
        if self.inner.looking.swap(true, Ordering::Acquire) {
            return;
        }
        let inner = self.inner.clone();
        // Bounded: one at a time.
        self.inner.io.spawn_blocking(move || {
            inner.tidy(folder);
            inner.looking.store(false, Ordering::Release);
        });
    }
}

impl Inner {
    fn write(&self, name: Name<'_>, entry: &Entry, path: &Path) -> io::Result<u64> {
        let sealed = entry.seal(name).map_err(io::Error::other)?;
        let folder = path.parent().unwrap_or(&self.folder);
        let mut temporary = match Temporary::create(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                Temporary::create(folder)?
            }
            created => created?,
        };
        temporary.file.write_all(&sealed)?;
        let taken = taken(&temporary.file.metadata()?);
        temporary.rename(path)?;
        Ok(taken)
    }

    fn path(&self, name: Name<'_>) -> (u8, PathBuf) {
        let name = name.to_hex();
        let (folder, rest) = name.split_at_checked(2).unwrap_or(("", &name));
        (u8::from_str_radix(folder, 16).unwrap_or(0), self.folder.join(folder).join(rest))
    }

    /// Look at one folder, and make it smaller if all are too large.
    fn tidy(&self, folder: u8) {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.join(format!("{folder:02x}"))).into_iter().flatten().filter_map(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            if is_temporary(&entry.path()) {
                if age(&metadata) > TEMPORARY_AGE_MAX {
                    remove(&entry.path());
                }
            } else {
                files.push((modified(&metadata), taken(&metadata), entry.path()));
            }
        }
        files.sort();
        let mut size = files.iter().map(|(_, bytes, _)| bytes).sum();
        let allowed = self.looks.lock().on_seen(folder, size, self.bytes_max);
        for (_, bytes, path) in files {
            if size <= allowed {
                break;
            }
            remove(&path);
            size = size.saturating_sub(bytes);
        }
        let known = {
            let mut looks = self.looks.lock();
            looks.set(folder, size);
            looks.to_bytes()
        };
        // Of several processes the last one's word counts: all of them look again and again.
        let written = Temporary::create(&self.folder).and_then(|mut temporary| {
            temporary.file.write_all(&known)?;
            temporary.rename(&self.folder.join(SIZES))
        });
        if let Err(error) = written {
            tracing::debug!(folder = %self.folder.display(), %error, "failed to remember the sizes of folders");
        }
    }
}

/// What a file takes on the disk.
pub(crate) fn taken(metadata: &fs::Metadata) -> u64 {
    (metadata.blocks() * 512).max(FILE_BYTES_MIN)
}

/// When a file was written, or noted as used.
pub(crate) fn modified(metadata: &fs::Metadata) -> Timestamp {
    let seconds = Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(0));
    Timestamp::default() + seconds + Duration::from_nanos(u64::try_from(metadata.mtime_nsec()).unwrap_or(0))
}

/// How long ago that was.
pub(crate) fn age(metadata: &fs::Metadata) -> Duration {
    clock::now().since(modified(metadata))
}

pub(crate) fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".tmp-"))
}

/// Remove a file that another process may have removed already, or may still read.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{entry, key};
    use super::*;

    fn all(folder: &Path) -> Vec<PathBuf> {
        glob::glob(&format!("{}/??/*", folder.display())).unwrap().map(Result::unwrap).collect()
    }

    fn size(folder: &Path) -> u64 {
        all(folder).iter().map(|path| taken(&fs::metadata(path).unwrap())).sum()
    }

    /// Wait until no look is under way.
    fn quiet(local: &Local) {
        let deadline = clock::instant() + Duration::from_secs(30);
        while local.inner.looking.load(Ordering::Acquire) {
            assert!(clock::instant() < deadline, "a look does not end");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn what_was_kept_is_found_and_what_was_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path().join("memo"), BYTES_MAX, Handle::current());
        let key = key("f");
        let name = Name { tenant: "a", key: &key };
        assert!(local.get(name).is_none());
        local.put(name, &entry(3));
        assert_eq!(local.get(name), Some(entry(3)));
        assert!(local.get(Name { tenant: "b", ..name }).is_none());
        let (_, path) = local.inner.path(name);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(local.get(name).is_none());
        quiet(&local);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_folder_stays_within_its_bound_whoever_writes_to_it() {
        const MAX: u64 = 4 << 20;
        let folder = tempfile::tempdir().unwrap();
        // Two processes, as far as the folder knows.
        let locals = [0, 1].map(|_| Local::new(folder.path(), MAX, Handle::current()));
        for n in 0..4000 {
            let key = key(&n.to_string());
            let local = &locals[n % 2];
            local.put(Name { tenant: "a", key: &key }, &entry(20_000));
            // As if looking took no time: of the looks that are due while one is under way, none is made.
            quiet(local);
        }
        // 4000 times 20 KiB were written, more than 5 MiB in each turn of looks.
        assert!(size(folder.path()) < 20 << 20, "{}", size(folder.path()));
        let kept = all(folder.path()).len();
        assert!(kept > 100, "{kept}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_short_processes_keep_the_bound_too() {
        const MAX: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        for n in 0..1500 {
            let key = key(&n.to_string());
            let local = Local::new(folder.path(), MAX, Handle::current());
            local.put(Name { tenant: "a", key: &key }, &entry(8000));
            quiet(&local);
        }
        assert!(size(folder.path()) < 5 << 20, "{}", size(folder.path()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path(), 1 << 30, Handle::current());
        let keys: Vec<_> = (0..2000).map(|n| key(&n.to_string())).collect();
        let name = |n: usize| Name { tenant: "a", key: &keys[n] };
        for n in 0..keys.len() {
            local.put(name(n), &entry(4000));
            let file = fs::File::options().append(true).open(local.inner.path(name(n)).1).unwrap();
            let day = Duration::from_secs(24 * 3600);
            file.set_modified(std::time::UNIX_EPOCH + day * 1000 + Duration::from_secs(n as u64)).unwrap();
        }
        quiet(&local);
        // The oldest of all is used.
        assert!(local.get(name(0)).is_some());
        let half = Local::new(folder.path(), size(folder.path()) / 2, Handle::current());
        // Once all were seen it is known that they are too many, and each gives up its share; until enough of them have.
        for _ in 0..8 {
            (0..=255).for_each(|folder| half.inner.tidy(folder));
        }
        let kept: Vec<usize> = (0..keys.len()).filter(|n| local.inner.path(name(*n)).1.exists()).collect();
        assert!(kept.first() == Some(&0), "{:?}", kept.first());
        let newer = kept.iter().filter(|n| **n >= keys.len() / 2).count();
        assert!(kept.len() > keys.len() / 4 && newer * 4 > kept.len() * 3, "{newer} of {}", kept.len());
    }

    #[test]
    fn what_is_known_of_sizes_is_remembered_and_nonsense_is_not() {
        let mut looks = Looks::new();
        assert_eq!(looks.on_written(3, 10, BYTES_MAX), Some(0));
        assert_eq!(looks.on_written(3, (2 << 20) - 1, BYTES_MAX), None);
        assert_eq!(looks.on_written(4, 1, BYTES_MAX), Some(1));
        assert_eq!(looks.on_seen(3, 100, 1000), 100);
        assert_eq!(looks.on_seen(4, 300, 200), 150);
        let again = Looks::from_bytes(&looks.to_bytes()).unwrap();
        assert_eq!((again.sizes, again.next), (looks.sizes.clone(), looks.next));
        assert_eq!(Looks::from_bytes(&looks.to_bytes()[1..]), None);
        assert_eq!(Looks::from_bytes(b""), None);
        looks.set(5, u64::MAX);
        looks.set(6, u64::MAX);
        assert!(looks.on_seen(7, u64::MAX, 1) < 2);
    }
}
