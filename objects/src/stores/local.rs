//! Local files: opened, read, written and removed by the paths that were named, byte for byte.
//!
//! A file is opened without waiting for anything: what is no regular file, such as a pipe or a
//! device, is refused at once. Where only some folders may be read, the path is resolved first and
//! then opened without following any link, so that a link that is put there in between leads
//! nowhere ([`Links::Refused`]). What is told of a file without opening it ([`Facts`]) is found out
//! in the same way.
//!
//! An object that is written appears under its name by a rename, when it is complete. All of this
//! blocks a thread; callers are in a [`crate::blocking::Pool`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;
use sortie_protocol::Timestamp;
use sortie_protocol::outcome::InputFault;

use crate::Error;
use crate::blocking::Pool;
use crate::error::{FILE, not_regular, told};

/// Whether links on the way to a file are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// As the system does it.
    Followed,
    /// The path has none, because it was resolved; one that is there now is no way to the file.
    Refused,
}

/// A file that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalFile {
    pub(crate) path: PathBuf,
    pub(crate) links: Links,
}

/// What the system tells of a file or folder without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: FileType,
    /// Device and number.
    pub(crate) id: (Dev, u64),
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
}

/// One version of a file, as far as the system tells versions apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) etag: String,
}

impl LocalFile {
    /// What has this name in it, if it is a folder, and is no link.
    pub(crate) fn below(&self, name: &Path) -> Self {
        Self {
            path: self.path.join(name),
            links: self.links,
        }
    }

    /// Its present version.
    ///
    /// # Errors
    /// When it is not there, is no regular file, or may not be read.
    pub(crate) fn stamp(&self, shown: &str) -> Result<Stamp, Error> {
        self.open(shown).map(|(_, stamp)| stamp)
    }

    /// Bytes of this version.
    ///
    /// # Errors
    /// As [`Self::stamp`], and when it has another version by now.
    pub(crate) fn read(
        &self,
        shown: &str,
        version: &Stamp,
        range: &Range<u64>,
    ) -> Result<Bytes, Error> {
        let (file, stamp) = self.open(shown)?;
        let changed = || {
            Error::new(
                InputFault::Changed,
                format!("`{shown}` was replaced while the task read it"),
            )
        };
        if stamp != *version {
            return Err(changed());
        }
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::new(InputFault::Unavailable, "more than there is memory for"))?;
        let mut bytes = vec![0; length];
        match file.read_exact_at(&mut bytes, range.start) {
            Ok(()) => Ok(bytes.into()),
            // Cut short in place, which the next look at it would tell.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changed()),
            Err(error) => Err(told(shown, &error)),
        }
    }

    /// All of it, if it has at most `bytes_max`.
    pub(crate) fn read_whole(&self, bytes_max: u64) -> io::Result<Option<Bytes>> {
        let file = self.open_raw()?;
        let size = file.metadata()?.len();
        if size > bytes_max {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes.into()))
    }

    fn open(&self, shown: &str) -> Result<(File, Stamp), Error> {
        let file = self.open_raw().map_err(|error| told(shown, &error))?;
        let metadata = file.metadata().map_err(|error| told(shown, &error))?;
        if !metadata.is_file() {
            return Err(not_regular(shown));
        }
        let etag = format!(
            "{:x}-{:x}.{:x}-{:x}",
            metadata.ino(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.len()
        );
        let size = metadata.len();
        Ok((file, Stamp { size, etag }))
    }

    /// Looks before it opens: opening a device may already do something.
    fn open_raw(&self) -> io::Result<File> {
        let metadata = match self.links {
            Links::Followed => fs::metadata(&self.path)?,
            Links::Refused => fs::symlink_metadata(&self.path)?,
        };
        if !metadata.is_file() {
            return Err(Errno::ISDIR.into());
        }
        let fd = match self.links {
            Links::Followed => openat(CWD, &self.path, FLAGS, Mode::empty())?,
            Links::Refused => open_without_links(&self.path, FLAGS)?,
        };
        Ok(fd.into())
    }
}

impl Facts {
    /// Of what has this name in an open folder.
    pub(crate) fn of(folder: impl AsFd, name: &Path, links: Links) -> Result<Self, Errno> {
        let flags = match links {
            Links::Followed => AtFlags::empty(),
            Links::Refused => AtFlags::SYMLINK_NOFOLLOW,
        };
        statat(folder, name, flags).map(|stat| Self::from(&stat))
    }

    /// Of what is at an absolute path that has no link in it, but perhaps is one. A link that is
    /// on the way all the same is an error.
    pub(crate) fn without_links(path: &Path) -> Result<Self, Errno> {
        match (path.parent(), path.file_name()) {
            (Some(folder), Some(name)) => {
                let folder = open_without_links(folder, WAY)?;
                Self::of(folder, Path::new(name), Links::Refused)
            }
            // The topmost folder.
            _ => {
                let folder = open_without_links(path, WAY)?;
                Self::of(folder, Path::new("."), Links::Refused)
            }
        }
    }

    pub(crate) fn is_folder(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    pub(crate) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }
}

impl From<&Stat> for Facts {
    fn from(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            id: (stat.st_dev, stat.st_ino),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
        }
    }
}

/// A time of the file system's. Systems have nanoseconds of different types.
fn time(seconds: i64, nanos: impl TryInto<u64>) -> Timestamp {
    let nanos = nanos.try_into().unwrap_or(0);
    let seconds = u64::try_from(seconds).ok();
    Timestamp::from_nanos(seconds.map_or(0, |seconds| {
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
    }))
}

/// Opening waits for nobody who would write into a pipe, and takes no terminal.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How a folder is opened to read the names in it.
pub(crate) const NAMES: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// How a folder is opened to look at what is in it by its name, which takes no right to read it
/// where the system can tell the two apart.
#[cfg(target_os = "linux")]
pub(crate) const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(crate) const WAY: OFlags = NAMES;

/// Open an absolute path that has no link in it; one that is there all the same is an error. So is
/// a step up, which would lead on from wherever the folder before it is by then.
pub(crate) fn open_without_links(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Errno::LOOP);
    }
    open_at_once(path, flags)
}

#[cfg(target_os = "linux")]
fn open_at_once(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, path, flags, Mode::empty(), how) {
        // Kernels before 5.6 do not know the call; some sandboxes forbid it.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => {
            open_by_segments(path, flags)
        }
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_at_once(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_by_segments(path, flags)
}

/// The same, one segment after the other, each relative to the one before.
fn open_by_segments(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let way = WAY | OFlags::NOFOLLOW;
    let mut folder = openat(CWD, "/", way, Mode::empty())?;
    let mut segments = path.components().peekable();
    while let Some(segment) = segments.next() {
        let name = match segment {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            Component::ParentDir | Component::CurDir | Component::Prefix(_) => {
                return Err(Errno::LOOP);
            }
        };
        if segments.peek().is_none() {
            return openat(&folder, name, flags | OFlags::NOFOLLOW, Mode::empty());
        }
        folder = openat(&folder, name, way, Mode::empty())?;
    }
    openat(&folder, ".", flags, Mode::empty())
}

/// A file that is being written, under a name of its own until it is complete.
#[derive(Debug)]
struct Unfinished {
    file: File,
    path: PathBuf,
}

impl Unfinished {
    /// Beside `path`. Folders are made as they are needed.
    fn beside(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let own = folder.join(crate::dir::temporary_name()?);
        let open = || OpenOptions::new().write(true).create_new(true).open(&own);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                open()?
            }
            other => other?,
        };
        Ok(Self { file, path: own })
    }

    fn name(&self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

/// Write a file whole, in place of what is there.
pub(crate) fn put(path: &Path, data: &[u8]) -> io::Result<()> {
    let unfinished = Unfinished::beside(path)?;
    unfinished.file.write_all_at(data, 0)?;
    unfinished.name(path)
}

/// Give a file another name, in place of what is there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::rename(from, to)
        }
        other => other,
    }
}

/// A file that is written in parts.
#[derive(Debug)]
pub(crate) struct Parts {
    unfinished: Option<Arc<Unfinished>>,
    path: PathBuf,
    pool: Pool,
    /// Where the next part begins.
    end: u64,
}

impl Parts {
    pub(crate) fn begin(path: &Path, pool: Pool) -> io::Result<Self> {
        Ok(Self {
            unfinished: Some(Arc::new(Unfinished::beside(path)?)),
            path: path.to_owned(),
            pool,
            end: 0,
        })
    }
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut at = self.end;
        self.end += data.content_length() as u64;
        let (unfinished, pool) = (self.unfinished.clone(), self.pool.clone());
        Box::pin(async move {
            let writing = pool.run(move || {
                let unfinished = unfinished.ok_or_else(over)?;
                for chunk in &data {
                    unfinished.file.write_all_at(chunk, at)?;
                    at += chunk.len() as u64;
                }
                Ok(())
            });
            done(writing.await)
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let (unfinished, path) = (self.unfinished.take(), self.path.clone());
        let naming = self
            .pool
            .run(move || unfinished.ok_or_else(over)?.name(&path));
        done(naming.await)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.unfinished = None;
        Ok(())
    }
}

fn over() -> io::Error {
    io::Error::other("it was completed or given up already")
}

/// What became of work on a file, as the library tells it.
pub(crate) fn done<T>(worked: Result<io::Result<T>, Error>) -> object_store::Result<T> {
    let wrong = |source| object_store::Error::Generic {
        store: FILE,
        source,
    };
    match worked {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(wrong(Box::new(error))),
        Err(error) => Err(wrong(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_without_links_is_opened_in_both_ways_and_one_with_a_link_in_neither() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink(root.join("a"), root.join("link")).unwrap();
        symlink(root.join("a/b/file"), root.join("a/to")).unwrap();
        for open in [open_without_links, open_by_segments] {
            assert!(open(&root.join("a/b/file"), FLAGS).is_ok());
            for path in [
                "link/b/file",
                "a/to",
                "a/b/none",
                "a/b/file/x",
                "a/b/../b/file",
            ] {
                assert!(open(&root.join(path), FLAGS).is_err(), "{path}");
            }
            for flags in [NAMES, WAY] {
                for path in [&root, &root.join("a/b"), Path::new("/")] {
                    assert!(open(path, flags).is_ok(), "{path:?}");
                }
                for path in ["link", "link/b", "a/to", "a/b/file", "a/b/.."] {
                    assert!(open(&root.join(path), flags).is_err(), "{path}");
                }
            }
        }
    }

    #[test]
    fn a_file_is_looked_at_as_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/file"), "four").unwrap();
        symlink(root.join("a"), root.join("link")).unwrap();
        let file = fs::File::options().write(true).open(root.join("a/file"));
        let written = std::time::UNIX_EPOCH + std::time::Duration::new(5, 7);
        file.unwrap().set_modified(written).unwrap();
        let found = Facts::without_links(&root.join("a/file")).unwrap();
        assert!(found.is_file() && !found.is_folder() && !found.is_link());
        assert_eq!(found.size, 4);
        assert_eq!(found.modified, Timestamp::from_nanos(5_000_000_007));
        assert!(Facts::without_links(&root.join("a")).unwrap().is_folder());
        assert!(Facts::without_links(Path::new("/")).unwrap().is_folder());
        assert!(Facts::without_links(&root.join("link")).unwrap().is_link());
        for path in ["link/file", "a/none", "a/../a/file"] {
            assert!(Facts::without_links(&root.join(path)).is_err(), "{path}");
        }
        assert_eq!(time(-5, 7_u64), Timestamp::default());
    }

    #[test]
    fn what_is_no_regular_file_costs_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(CWD, at("pipe"), kind, mode, 0).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink(at("circle"), at("circle")).unwrap();
        symlink(at("pipe"), at("to the pipe")).unwrap();
        for number in 0..50 {
            let next = if number == 49 {
                "pipe".into()
            } else {
                format!("chain{}", number + 1)
            };
            symlink(at(&next), at(&format!("chain{number}"))).unwrap();
        }
        for path in [
            at("pipe"),
            at("socket"),
            at("circle"),
            at("to the pipe"),
            at("chain0"),
            folder.path().to_owned(),
            "/dev/zero".into(),
            "/dev/tty".into(),
        ] {
            for links in [Links::Followed, Links::Refused] {
                let file = LocalFile {
                    path: path.clone(),
                    links,
                };
                let error = file.stamp("it").unwrap_err();
                assert_eq!(error.fault, InputFault::Malformed, "{path:?}: {error}");
            }
        }
    }

    #[tokio::test]
    async fn parts_make_a_file_that_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/page#1");
        let pool = Pool::new(4, tokio::runtime::Handle::current());
        let mut parts = Parts::begin(&path, pool.clone()).unwrap();
        let (one, two) = (
            parts.put_part(PutPayload::from_static(b"one ")),
            parts.put_part(PutPayload::from_static(b"two")),
        );
        two.await.unwrap();
        one.await.unwrap();
        assert!(!path.exists());
        parts.complete().await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        let mut given_up = Parts::begin(&path, pool).unwrap();
        given_up.abort().await.unwrap();
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }
}
