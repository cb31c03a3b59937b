//! A size-bounded cache directory that several processes share.
//!
//! File names are hashes. They are spread over 256 subdirectories by their first byte, so each
//! subdirectory holds about the same number of bytes. A file is written under a temporary name and
//! renamed, so a reader finds the whole file or none.
//!
//! The directory is never scanned as a whole. Each process scans one subdirectory after its first
//! write, and then one whenever 1/1024 of the bound was written, so all 256 are scanned while a
//! quarter of the bound is written. The sizes that were seen are stored in the file `sizes`, and
//! the next scan continues from there in whichever process it runs. If the total exceeds the bound,
//! the scanned subdirectory removes its least recently used files until it has its share.
//!
//! Bounds: the total holds over time and may be exceeded by what is written during one turn of 256
//! scans. Files count with the disk blocks that they take. A file lock lets one process scan at a
//! time, where the file system has locks.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sortie_protocol::Timestamp;
use tokio::runtime::Handle;

use crate::dir::{TEMPORARY_AGE_MAX, Temporary, age, is_temporary, modified, taken, touch};

/// How many turns of 256 scans happen while the bound is written once: with a bound of 2 GiB, one
/// scan for each 2 MiB written, each of 8 MiB on average.
pub const TURNS: u64 = 4;
/// Number of subdirectories.
const SPREAD: usize = 256;
/// The file with the known sizes of the subdirectories.
const SIZES: &str = "sizes";
/// The lock file: the process that holds the lock scans.
const LOCK: &str = "lock";

/// Bounds of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum total size of the files.
    pub bytes: u64,
    /// A read updates a file's time of last use only if that is older than this. Updating costs as
    /// much as reading a small file.
    pub touch_after: Duration,
}

/// A size-bounded directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SizedDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    bounds: Bounds,
    io: Handle,
    looks: Mutex<Looks>,
    looking: AtomicBool,
    removed_files: AtomicU64,
    removed_bytes: AtomicU64,
}

/// The size of a directory, and what this process removed to keep it within its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Known size in bytes: other processes may have written meanwhile.
    pub held_bytes: u64,
    /// Files that this process removed to make room.
    pub removed_files: u64,
    /// Bytes of these files.
    pub removed_bytes: u64,
}

/// Schedules the scans of the 256 subdirectories.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looks {
    /// Known size of each; 0 before its first scan.
    sizes: Vec<u64>,
    /// The part of that which this process wrote and other processes do not know yet.
    written: Vec<u64>,
    next: u8,
    /// Bytes written that are not yet followed by scans.
    bytes: u64,
    /// Maximum total size.
    bytes_max: u64,
}

impl Looks {
    /// Initial state: nothing is known, and the first write triggers a scan.
    fn new(bytes_max: u64) -> Self {
        Self {
            sizes: vec![0; SPREAD],
            written: vec![0; SPREAD],
            next: 0,
            bytes: between(bytes_max),
            bytes_max,
        }
    }

    fn from_bytes(bytes: &[u8], bytes_max: u64) -> Option<Self> {
        let (next, sizes) = bytes.split_first()?;
        let sizes: Vec<u64> = sizes
            .chunks_exact(8)
            .filter_map(|size| size.try_into().ok())
            .map(u64::from_le_bytes)
            .collect();
        (sizes.len() == SPREAD).then(|| Self {
            sizes,
            next: *next,
            ..Self::new(bytes_max)
        })
    }

    fn to_bytes(&self) -> Vec<u8> {
        std::iter::once(self.next)
            .chain(self.sizes.iter().flat_map(|size| size.to_le_bytes()))
            .collect()
    }

    /// A file was written.
    fn on_written(&mut self, folder: u8, bytes: u64) {
        for sizes in [&mut self.sizes, &mut self.written] {
            if let Some(size) = sizes.get_mut(usize::from(folder)) {
                *size = size.saturating_add(bytes);
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Take over the sizes and the position of other processes' scans.
    fn adopt(&mut self, known: &Self) {
        self.next = known.next;
        self.sizes = known
            .sizes
            .iter()
            .zip(&self.written)
            .map(|(known, written)| known.saturating_add(*written))
            .collect();
    }

    /// The state was shared with other processes.
    fn told(&mut self) {
        self.written.fill(0);
    }

    /// Whether a scan is due.
    fn is_due(&self) -> bool {
        self.bytes >= between(self.bytes_max)
    }

    /// The subdirectory to scan, if a scan is due.
    fn due(&mut self) -> Option<u8> {
        let each = between(self.bytes_max);
        // More than one turn at once would find nothing new.
        self.bytes = self
            .bytes
            .min(each.saturating_mul(SPREAD as u64))
            .checked_sub(each)?;
        let due = self.next;
        self.next = self.next.wrapping_add(1);
        Some(due)
    }

    /// A scan found this size. Returns the size that the subdirectory may have.
    fn on_seen(&mut self, folder: u8, size: u64) -> u64 {
        self.set(folder, size);
        let total = self.total();
        if total <= self.bytes_max {
            return size;
        }
        u64::try_from(u128::from(size) * u128::from(self.bytes_max) / u128::from(total))
            .unwrap_or(size)
    }

    /// Known total size.
    fn total(&self) -> u64 {
        self.sizes
            .iter()
            .fold(0, |sum: u64, size| sum.saturating_add(*size))
    }

    fn set(&mut self, folder: u8, size: u64) {
        for (sizes, size) in [(&mut self.sizes, size), (&mut self.written, 0)] {
            if let Some(known) = sizes.get_mut(usize::from(folder)) {
                *known = size;
            }
        }
    }
}

/// Bytes written between two scans.
const fn between(bytes_max: u64) -> u64 {
    let bytes = bytes_max / (TURNS * SPREAD as u64);
    if bytes == 0 { 1 } else { bytes }
}

impl SizedDir {
    /// Use the directory at `path`, which is created when the first file is written. Scans run on
    /// `io`.
    pub fn new(path: impl Into<PathBuf>, bounds: Bounds, io: Handle) -> Self {
        let path = path.into();
        let looks = known(&path, bounds.bytes).unwrap_or_else(|| Looks::new(bounds.bytes));
        let (looks, looking) = (Mutex::new(looks), AtomicBool::new(false));
        let inner = Inner {
            path,
            bounds,
            io,
            looks,
            looking,
            removed_files: AtomicU64::new(0),
            removed_bytes: AtomicU64::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Read the file `name` (a hash in hexadecimal digits) and mark it as used. `None` if it does
    /// not exist or is larger than `bytes_max`.
    pub fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let (_, path) = self.inner.file(name);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if metadata.len() > bytes_max {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        (&file).take(bytes_max).read_to_end(&mut bytes)?;
        if age(&metadata) > self.inner.bounds.touch_after {
            touch(&path);
        }
        Ok(Some(bytes))
    }

    /// Write the file `name` from its parts, replacing an existing file.
    pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let (folder, path) = self.inner.file(name);
        let bytes = self.inner.write(&path, parts)?;
        self.inner.looks.lock().on_written(folder, bytes);
        self.look();
        Ok(())
    }

    /// Its size, and what this process removed.
    pub fn usage(&self) -> Usage {
        Usage {
            held_bytes: self.inner.looks.lock().total(),
            removed_files: self.inner.removed_files.load(Ordering::Relaxed),
            removed_bytes: self.inner.removed_bytes.load(Ordering::Relaxed),
        }
    }

    /// Start scanning the subdirectories that are due, unless a scan is running.
    fn look(&self) {
        if self.inner.looking.swap(true, Ordering::Acquire) {
            return;
        }
        if !self.inner.looks.lock().is_due() {
            return self.inner.looking.store(false, Ordering::Release);
        }
        let inner = self.inner.clone();
        // SizedDir: one at a time.
        self.inner.io.spawn_blocking(move || {
            inner.look();
            inner.looking.store(false, Ordering::Release);
        });
    }
}

impl Inner {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<u64> {
        let folder = path.parent().unwrap_or(&self.path);
        let mut temporary = match Temporary::create(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                Temporary::create(folder)?
            }
            created => created?,
        };
        for part in parts {
            temporary.file.write_all(part)?;
        }
        let taken = taken(&temporary.file.metadata()?);
        temporary.rename(path)?;
        Ok(taken)
    }

    /// The subdirectory of a file, and its path.
    fn file(&self, name: &str) -> (u8, PathBuf) {
        let (folder, rest) = name.split_at_checked(2).unwrap_or(("", name));
        (
            u8::from_str_radix(folder, 16).unwrap_or(0),
            self.path.join(folder).join(rest),
        )
    }

    /// Scan the subdirectories that are due, continuing where other processes stopped. If another
    /// process is scanning, they stay due.
    fn look(&self) {
        let lock = fs::File::create(self.path.join(LOCK));
        if let Ok(lock) = &lock
            && matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock))
        {
            return;
        }
        if let Some(known) = known(&self.path, self.bounds.bytes) {
            self.looks.lock().adopt(&known);
        }
        while let Some(folder) = self.due() {
            self.tidy(folder);
        }
        self.remember();
    }

    fn due(&self) -> Option<u8> {
        self.looks.lock().due()
    }

    /// Scan one subdirectory, and remove files from it if the total is over the bound.
    fn tidy(&self, folder: u8) {
        if folder == 0 {
            // Also tidy the files next to the subdirectories.
            drop(files(&self.path));
        }
        let mut files = files(&self.path.join(format!("{folder:02x}")));
        files.sort();
        let mut size = files.iter().map(|(_, bytes, _)| bytes).sum();
        let allowed = self.looks.lock().on_seen(folder, size);
        for (_, bytes, path) in files {
            if size <= allowed {
                break;
            }
            remove(&path);
            self.removed_files.fetch_add(1, Ordering::Relaxed);
            self.removed_bytes.fetch_add(bytes, Ordering::Relaxed);
            size = size.saturating_sub(bytes);
        }
        self.looks.lock().set(folder, size);
    }

    /// Store the known sizes, for other and later processes.
    fn remember(&self) {
        let known = {
            let mut looks = self.looks.lock();
            looks.told();
            looks.to_bytes()
        };
        let written = Temporary::create(&self.path).and_then(|mut temporary| {
            temporary.file.write_all(&known)?;
            temporary.rename(&self.path.join(SIZES))
        });
        if let Err(error) = written {
            tracing::debug!(
                folder = %self.path.display(),
                %error,
                "failed to store the sizes of the cache's subdirectories"
            );
        }
    }
}

/// The stored sizes.
fn known(path: &Path, bytes_max: u64) -> Option<Looks> {
    Looks::from_bytes(&fs::read(path.join(SIZES)).ok()?, bytes_max)
}

/// Time of last use, size and path of each file in a subdirectory. Removes temporary files of
/// killed processes.
fn files(path: &Path) -> Vec<(Timestamp, u64, PathBuf)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if !is_temporary(&entry.path()) {
            files.push((modified(&metadata), taken(&metadata), entry.path()));
        } else if age(&metadata) > TEMPORARY_AGE_MAX {
            remove(&entry.path());
        }
    }
    files
}

/// Remove a file; another process may have removed it already, or may still be reading it.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const HOUR: Duration = Duration::from_secs(3600);

    fn open(path: &Path, bytes: u64) -> SizedDir {
        SizedDir::new(
            path,
            Bounds {
                bytes,
                touch_after: HOUR,
            },
            Handle::current(),
        )
    }

    fn name(n: usize) -> String {
        blake3::hash(&n.to_le_bytes()).to_hex().to_string()
    }

    fn all(folder: &Path) -> Vec<PathBuf> {
        glob::glob(&format!("{}/??/*", folder.display()))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    fn size(folder: &Path) -> u64 {
        all(folder)
            .iter()
            .map(|path| taken(&fs::metadata(path).unwrap()))
            .sum()
    }

    /// Wait until no scan is running.
    fn quiet(folder: &SizedDir) {
        let deadline = clock::instant() + Duration::from_secs(30);
        while folder.inner.looking.load(Ordering::Acquire) {
            assert!(clock::instant() < deadline, "a look does not end");
            std::thread::yield_now();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_folder_stays_within_its_bound_whoever_writes_to_it() {
        const MAX: u64 = 4 << 20;
        let folder = tempfile::tempdir().unwrap();
        // Eight handles that act like eight processes and write 80 MB together.
        let locals = [0; 8].map(|_| open(folder.path(), MAX));
        for n in 0..4000 {
            let local = &locals[n % 8];
            local.write(&name(n), &[&[7; 20_000]]).unwrap();
            // As if scans took no time.
            quiet(local);
            if n % 100 == 99 {
                assert!(
                    size(folder.path()) <= MAX / TURNS * (TURNS + 1) + (1 << 18),
                    "{} after {n}",
                    size(folder.path())
                );
            }
        }
        let kept = all(folder.path()).len();
        assert!(kept > 100, "{kept}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_short_processes_keep_the_bound_too() {
        const MAX: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        for n in 0..1500 {
            let local = open(folder.path(), MAX);
            local.write(&name(n), &[&[7; 8000]]).unwrap();
            quiet(&local);
        }
        assert!(size(folder.path()) < 5 << 20, "{}", size(folder.path()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let local = open(folder.path(), 1 << 30);
        const FILES: usize = 2000;
        for n in 0..FILES {
            local.write(&name(n), &[&[7; 4000]]).unwrap();
            let file = fs::File::options()
                .append(true)
                .open(local.inner.file(&name(n)).1)
                .unwrap();
            let day = Duration::from_secs(24 * 3600);
            file.set_modified(std::time::UNIX_EPOCH + day * 1000 + Duration::from_secs(n as u64))
                .unwrap();
        }
        quiet(&local);
        // Use the oldest file.
        assert_eq!(local.read(&name(0), 4000).unwrap(), Some(vec![7; 4000]));
        assert_eq!(local.read(&name(0), 3999).unwrap(), None);
        let half = open(folder.path(), size(folder.path()) / 2);
        // Once all subdirectories were scanned, the total is known to be over the bound, and each
        // scan removes its share until it is not.
        for _ in 0..8 {
            (0..=255).for_each(|folder| half.inner.tidy(folder));
        }
        let kept: Vec<usize> = (0..FILES)
            .filter(|n| local.inner.file(&name(*n)).1.exists())
            .collect();
        assert!(kept.first() == Some(&0), "{:?}", kept.first());
        let newer = kept.iter().filter(|n| **n >= FILES / 2).count();
        assert!(
            kept.len() > FILES / 4 && newer * 4 > kept.len() * 3,
            "{newer} of {}",
            kept.len()
        );
    }

    #[test]
    fn what_is_known_of_sizes_is_remembered_and_nonsense_is_not() {
        let mut looks = Looks::new(2 << 30);
        looks.on_written(3, 10);
        assert_eq!((looks.due(), looks.due()), (Some(0), None));
        looks.on_written(3, (2 << 20) - 11);
        assert_eq!(looks.due(), None);
        looks.on_written(4, 1);
        assert_eq!((looks.due(), looks.due()), (Some(1), None));
        // A single large write triggers as many scans as many small ones, but at most one turn.
        looks.on_written(4, 6 << 20);
        assert_eq!(
            [(); 4].map(|()| looks.due()),
            [Some(2), Some(3), Some(4), None]
        );
        looks.on_written(4, 1 << 40);
        assert_eq!(std::iter::from_fn(|| looks.due()).count(), 256);
        let mut again = Looks::from_bytes(&looks.to_bytes(), 200).unwrap();
        assert_eq!((&again.sizes, again.next), (&looks.sizes, looks.next));
        again.sizes.fill(0);
        again.set(3, 100);
        assert_eq!((again.on_seen(4, 50), again.on_seen(4, 300)), (50, 150));
        assert_eq!(Looks::from_bytes(&looks.to_bytes()[1..], 200), None);
        assert_eq!(Looks::from_bytes(b"", 200), None);
        // The sizes known to others count, plus what only this process knows.
        let mut others = Looks::new(200);
        others.set(9, 70);
        let mut here = Looks::new(200);
        here.on_written(9, 5);
        here.adopt(&others);
        assert_eq!(here.total(), 75);
        here.told();
        here.adopt(&others);
        assert_eq!(here.total(), 70);
        let mut full = Looks::new(1);
        full.set(5, u64::MAX);
        full.set(6, u64::MAX);
        assert!(full.on_seen(7, u64::MAX) < 2);
    }
}
