//! Inspects and shrinks the cache folder, for commands.
//!
//! Hosts do not use this module: they enforce their own bounds ([`crate::artifacts`],
//! [`crate::memo`]). They may use the folder at the same time. Files are removed one by one; a
//! process that has a file open can read on, and a process that misses one creates it again. The
//! key that authenticates artifacts is kept, and so are unknown files.
//!
//! The store's folder contains objects that results refer to. A result whose object was removed is
//! useless, so only [`clear`], and a [`Policy`] that asks for it, remove objects. In a shared store
//! [`shared_sweep`] removes those that nothing refers to.
//!
//! Bounds: all of a folder's file names and times are held in memory, at most [`FILES_MAX`].

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use sortie_protocol::{Digest, TenantId, Timestamp};

use crate::artifacts;
use crate::clock;
use crate::memo::{entry, shared};
use crate::setup::{INPUTS, MEMO, STORE};
use sortie_objects::dir::{TEMPORARY_AGE_MAX, age, is_temporary, modified, taken};
use sortie_objects::output_store::{self, OutputStore};
use sortie_objects::{self as objects, Location, WriteError};

/// Maximum number of files: their names take a gigabyte.
pub const FILES_MAX: usize = 5_000_000;
/// The least age of an object that [`shared_sweep`] removes: longer than any job is kept at a
/// broker.
pub const OBJECT_AGE_MIN: Duration = Duration::from_secs(8 * 24 * 3600);
/// Results that are read at once.
const READS_MAX: usize = 32;
/// Folders below folders that are looked into; hosts make three.
const DEPTH_MAX: usize = 8;

/// A number of files and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Files, or objects.
    pub files: u64,
    /// Bytes that they take, on the disk or in an object store.
    pub bytes: u64,
}

/// The contents of a cache folder, or what was removed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Compiled components.
    pub artifacts: Amount,
    /// Results of deterministic tasks.
    pub memo: Amount,
    /// Parts of remote inputs.
    pub inputs: Amount,
    /// Large outputs, unless another store is configured.
    pub store: Amount,
}

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// Remove entries not used for longer than this.
    pub age_max: Option<Duration>,
    /// Remove the least recently used entries until the rest takes no more than this.
    pub bytes_max: Option<u64>,
}

/// The cache folder could not be read or shrunk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder of it.
    #[error("failed to use `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There are too many files.
    #[error("`{0}` has more than {FILES_MAX} files; remove the folder itself")]
    TooMany(PathBuf),
}

/// The shared memo could not be listed or shrunk.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// It cannot be listed.
    #[error(transparent)]
    List(#[from] objects::Error),
    /// Something may not be removed.
    #[error(transparent)]
    Remove(#[from] WriteError),
    /// A result was kept by another version of this program.
    #[error(
        "`{0}` was kept by another version of this program, so that nobody knows which object it \
         refers to; run that version, or remove old results first"
    )]
    OtherVersion(Location),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Artifact,
    Memo,
    Inputs,
    Store,
}

#[derive(Debug)]
struct Found {
    used: Timestamp,
    kind: Kind,
    bytes: u64,
    path: PathBuf,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Usage {
    fn add(&mut self, found: &Found) {
        let amount = match found.kind {
            Kind::Artifact => &mut self.artifacts,
            Kind::Memo => &mut self.memo,
            Kind::Inputs => &mut self.inputs,
            Kind::Store => &mut self.store,
        };
        amount.add(found.bytes);
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Amount {
        let parts = [self.artifacts, self.memo, self.inputs, self.store];
        parts.iter().fold(Amount::default(), |sum, part| Amount {
            files: sum.files + part.files,
            bytes: sum.bytes.saturating_add(part.bytes),
        })
    }
}

/// The contents of the cache folder. A missing folder is empty.
///
/// # Errors
/// When it cannot be read.
pub fn info(folder: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    find(folder)?.iter().for_each(|found| usage.add(found));
    Ok(usage)
}

/// Remove everything. Returns what was removed.
///
/// # Errors
/// When the folder cannot be read, or a file in it may not be removed.
pub fn clear(folder: &Path) -> Result<Usage, Error> {
    remove(&find(folder)?)
}

/// Remove what `policy` selects, and temporary files of killed processes. Returns what was removed.
///
/// # Errors
/// As [`clear`].
pub fn gc(folder: &Path, policy: Policy) -> Result<Usage, Error> {
    let mut found = find(folder)?;
    found.sort_by_key(|found| found.used);
    let goes = surplus(&found, policy, clock::now());
    found.truncate(goes);
    remove(&found)
}

/// How many of these, ordered by time of use, are to go.
fn surplus(found: &[Found], policy: Policy, now: Timestamp) -> usize {
    let old = policy.age_max.map_or(0, |age| {
        found.partition_point(|found| now.since(found.used) > age)
    });
    let Some(bytes_max) = policy.bytes_max else {
        return old;
    };
    let mut kept: u64 = 0;
    let newest = found.iter().rev().take_while(|found| {
        kept = kept.saturating_add(found.bytes);
        kept <= bytes_max
    });
    old.max(found.len() - newest.count())
}

fn remove(found: &[Found]) -> Result<Usage, Error> {
    let mut removed = Usage::default();
    for found in found {
        match fs::remove_file(&found.path) {
            Ok(()) => removed.add(found),
            // Another process has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(Error::Io {
                    path: found.path.clone(),
                    source,
                });
            }
        }
    }
    Ok(removed)
}

/// All files that hosts keep in the folder.
fn find(folder: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    visit(folder, 0, &mut |path, metadata| {
        let Some(kind) = kind(folder, path) else {
            return Ok(());
        };
        if is_unfinished(folder, path) {
            // A recent temporary file may be in use by its writer.
            if age(metadata) > TEMPORARY_AGE_MAX {
                let _ = fs::remove_file(path);
            }
            return Ok(());
        }
        if found.len() >= FILES_MAX {
            return Err(Error::TooMany(folder.to_owned()));
        }
        found.push(Found {
            used: modified(metadata),
            kind,
            bytes: taken(metadata),
            path: path.to_owned(),
        });
        Ok(())
    })?;
    Ok(found)
}

fn visit(
    folder: &Path,
    depth: usize,
    each: &mut impl FnMut(&Path, &fs::Metadata) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| Error::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        // Links are not followed. A file that another process removed meanwhile is skipped.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_file() {
            each(&entry.path(), &metadata)?;
        } else if metadata.is_dir() && depth < DEPTH_MAX {
            visit(&entry.path(), depth + 1, each)?;
        }
    }
    Ok(())
}

/// What a file is; nothing that hosts keep, if it is none of these.
fn kind(folder: &Path, path: &Path) -> Option<Kind> {
    let within = path.strip_prefix(folder).ok()?;
    let (first, depth) = (within.iter().next()?, within.iter().count());
    let is_artifact = path
        .extension()
        .is_some_and(|extension| extension == artifacts::EXTENSION);
    let kind = match first.to_str()? {
        _ if depth == 1 => return (is_artifact || is_temporary(path)).then_some(Kind::Artifact),
        STORE => return Some(Kind::Store),
        MEMO => Kind::Memo,
        INPUTS => Kind::Inputs,
        _ => return None,
    };
    // Beside the folders lies what is known of them.
    (depth > 2 || is_temporary(path)).then_some(kind)
}

/// Whether a file is not complete: it has a temporary name of ours or of the object store's, or
/// waits for its name.
fn is_unfinished(folder: &Path, path: &Path) -> bool {
    let is_staged = path
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains('#'));
    is_temporary(path)
        || is_staged
        || path.starts_with(folder.join(STORE).join(output_store::INCOMING))
}

/// What a tenant has in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// Results in the shared memo.
    pub results: Amount,
    /// Objects: large outputs.
    pub objects: Amount,
}

/// What each tenant has in `store`. Lists all of it.
///
/// # Errors
/// When it cannot be listed.
pub async fn shared_info(store: &OutputStore) -> Result<BTreeMap<TenantId, Kept>, SharedError> {
    let mut tenants: BTreeMap<TenantId, Kept> = BTreeMap::new();
    for folder in [output_store::MEMO, output_store::OBJECTS] {
        let mut entries = store.objects().list_below(&store.place().below(folder))?;
        while let Some(entry) = entries.try_next().await? {
            let tenant = entry.path.split_once('/').map(|(tenant, _)| tenant.parse());
            // What is not below a tenant's name is not ours.
            let Some(Ok(tenant)) = tenant else { continue };
            let kept = tenants.entry(tenant).or_default();
            match folder {
                output_store::MEMO => kept.results.add(entry.size),
                _ => kept.objects.add(entry.size),
            }
        }
    }
    Ok(tenants)
}

/// Remove entries written longer ago than `age_min` from the shared memo in `store`, for all
/// tenants. Returns what was removed. Not cancel safe: entries already removed stay removed.
///
/// # Errors
/// When it cannot be listed, or an entry may not be removed.
pub async fn shared_remove(store: &OutputStore, age_min: Duration) -> Result<Amount, SharedError> {
    let place = shared_place(store);
    let mut removed = Amount::default();
    let now = clock::now();
    let mut entries = store.objects().list_below(&place)?;
    while let Some(entry) = entries.try_next().await? {
        if now.since(entry.modified) >= age_min {
            store.objects().remove(&place.below(&entry.path)).await?;
            removed.add(entry.size);
        }
    }
    Ok(removed)
}

/// Remove objects from `store` that were written longer ago than `age_min` and that no result in
/// its shared memo refers to, and what killed processes left of objects in the making. Returns what
/// was removed. What is younger than [`OBJECT_AGE_MIN`] stays, because jobs at a broker may refer
/// to it.
///
/// Nothing else is known to refer to an object: not a file of results that somebody keeps. A result
/// that is kept while this runs may refer to an object that is removed; it is computed again then.
/// Reads all results of the shared memo. Not cancel safe: objects already removed stay removed.
///
/// # Errors
/// When the store cannot be listed or read, an object may not be removed, or a result is of another
/// version.
pub async fn shared_sweep(store: &OutputStore, age_min: Duration) -> Result<Amount, SharedError> {
    let referenced = references(store).await?;
    let age_min = age_min.max(OBJECT_AGE_MIN);
    let is_garbage = |name: &str| {
        let digest: Option<Digest> = format!("sha256:{name}").parse().ok();
        // What is not named by a digest is not ours.
        digest.is_some_and(|digest| digest.to_hex() == name && !referenced.contains(&digest))
    };
    let mut removed = sweep(store, output_store::OBJECTS, age_min, is_garbage).await?;
    let incoming = sweep(store, output_store::INCOMING, age_min, |_| true).await?;
    removed.files += incoming.files;
    removed.bytes = removed.bytes.saturating_add(incoming.bytes);
    Ok(removed)
}

/// Remove the old objects in a folder of the store whose last part of the name is garbage.
async fn sweep(
    store: &OutputStore,
    folder: &str,
    age_min: Duration,
    is_garbage: impl Fn(&str) -> bool,
) -> Result<Amount, SharedError> {
    let place = store.place().below(folder);
    let mut removed = Amount::default();
    let now = clock::now();
    let mut entries = store.objects().list_below(&place)?;
    while let Some(entry) = entries.try_next().await? {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        if now.since(entry.modified) >= age_min && is_garbage(name) {
            store.objects().remove(&place.below(&entry.path)).await?;
            removed.add(entry.size);
        }
    }
    Ok(removed)
}

/// The objects that results in the shared memo refer to.
async fn references(store: &OutputStore) -> Result<HashSet<Digest>, SharedError> {
    let place = shared_place(store);
    let entries = store.objects().list_below(&place)?;
    let reading = entries.map_err(SharedError::from).map_ok(|entry| {
        let location = place.below(&entry.path);
        async move {
            let sealed = store
                .objects()
                .get_small(&location, shared::ENTRY_BYTES_MAX)
                .await?;
            // One that has gone meanwhile refers to nothing.
            let Some(sealed) = sealed else {
                return Ok(None);
            };
            entry::reference(&sealed).map_err(|_| SharedError::OtherVersion(location))
        }
    });
    let mut reading = pin!(reading.try_buffer_unordered(READS_MAX));
    let mut referenced = HashSet::new();
    while let Some(digest) = reading.try_next().await? {
        referenced.extend(digest);
    }
    Ok(referenced)
}

fn shared_place(store: &OutputStore) -> Location {
    store.place().below(output_store::MEMO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn write(folder: &Path, path: &str, size: usize, days: u32) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![0; size]).unwrap();
        let used = std::time::UNIX_EPOCH + clock::now().since(Timestamp::default()) - DAY * days;
        fs::File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(used)
            .unwrap();
    }

    /// One of everything, and files that are none of ours.
    fn cache() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            ("key", 32, 100),
            ("ab-cd.artifact", 40_000, 10),
            (".tmp-0123", 5, 0),
            (".tmp-4567", 5, 3),
            ("memo/sizes", 100, 100),
            ("memo/00/aa", 9_000, 20),
            ("memo/00/.tmp-89ab", 5, 3),
            ("memo/ff/bb", 5_000, 1),
            ("inputs/sizes", 100, 100),
            ("inputs/7f/aa", 30_000, 15),
            ("store/objects/cc/ccdd", 20_000, 30),
            ("store/objects/cc/ccdd#1", 20_000, 0),
            ("store/incoming/eeff", 20_000, 3),
            ("notes.txt", 10, 500),
        ];
        for (path, size, days) in files {
            write(folder.path(), path, size, days);
        }
        folder
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut names = Vec::new();
        visit(folder, 0, &mut |path, _| {
            names.push(path.strip_prefix(folder).unwrap().display().to_string());
            Ok(())
        })
        .unwrap();
        names.sort();
        names
    }

    fn counts(usage: Usage) -> [u64; 4] {
        [
            usage.artifacts.files,
            usage.memo.files,
            usage.inputs.files,
            usage.store.files,
        ]
    }

    #[test]
    fn what_is_kept_is_counted_and_what_killed_processes_left_is_not() {
        let folder = cache();
        let usage = info(folder.path()).unwrap();
        assert_eq!(counts(usage), [1, 2, 1, 1]);
        assert!(usage.total().bytes >= 104_000, "{usage:?}");
        assert_eq!(
            info(&folder.path().join("missing")).unwrap(),
            Usage::default()
        );
    }

    #[test]
    fn clearing_leaves_what_others_need_to_go_on() {
        let folder = cache();
        assert_eq!(counts(clear(folder.path()).unwrap()), [1, 2, 1, 1]);
        assert_eq!(
            files(folder.path()),
            [
                ".tmp-0123",
                "inputs/sizes",
                "key",
                "memo/sizes",
                "notes.txt",
                "store/objects/cc/ccdd#1"
            ]
        );
        assert_eq!(counts(clear(folder.path()).unwrap()), [0, 0, 0, 0]);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_whatever_it_is() {
        let folder = cache();
        assert_eq!(
            counts(gc(folder.path(), Policy::default()).unwrap()),
            [0, 0, 0, 0]
        );
        let policy = Policy {
            age_max: Some(DAY * 25),
            bytes_max: None,
        };
        assert_eq!(counts(gc(folder.path(), policy).unwrap()), [0, 0, 0, 1]);
        let policy = Policy {
            age_max: None,
            bytes_max: Some(95_000),
        };
        assert_eq!(counts(gc(folder.path(), policy).unwrap()), [0, 0, 0, 0]);
        let policy = Policy {
            age_max: None,
            bytes_max: Some(83_000),
        };
        assert_eq!(counts(gc(folder.path(), policy).unwrap()), [0, 1, 0, 0]);
        assert!(folder.path().join("memo/ff/bb").exists());
        let policy = Policy {
            age_max: Some(DAY * 5),
            bytes_max: Some(0),
        };
        assert_eq!(counts(gc(folder.path(), policy).unwrap()), [1, 1, 1, 0]);
    }
}
