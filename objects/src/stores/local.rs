//! Local files: opened, read, written and removed by the paths that were named, byte for byte.
//!
//! A file is opened without waiting for anything: what is no regular file, such as a pipe or a
//! device, is refused at once. Where only some folders may be read, the path is resolved first and
//! then opened without following any link, so that a link that is put there in between leads
//! nowhere ([`Links::Refused`]).
//!
//! An object that is written appears under its name by a rename, when it is complete. All of this
//! blocks a thread; callers are in a [`crate::blocking::Pool`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{MultipartUpload, PutPayload, PutResult, UploadPart};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
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

/// One version of a file, as far as the system tells versions apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) etag: String,
}

impl LocalFile {
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
            Links::Refused => open_without_links(&self.path)?,
        };
        Ok(fd.into())
    }
}

/// Opening waits for nobody who would write into a pipe, and takes no terminal.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Open an absolute path that has no link in it; one that is there all the same is an error.
#[cfg(target_os = "linux")]
pub(crate) fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, path, FLAGS, Mode::empty(), how) {
        // Kernels before 5.6 do not know the call; some sandboxes forbid it.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::AGAIN) => open_by_segments(path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    open_by_segments(path)
}

/// The same, one segment after the other, each relative to the one before.
fn open_by_segments(path: &Path) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    let way = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let way = OFlags::RDONLY;
    let way = way | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
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
            return openat(&folder, name, FLAGS | OFlags::NOFOLLOW, Mode::empty());
        }
        folder = openat(&folder, name, way, Mode::empty())?;
    }
    Err(Errno::ISDIR)
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
            assert!(open(&root.join("a/b/file")).is_ok());
            for path in ["link/b/file", "a/to", "a/b/none", "a/b/file/x"] {
                assert!(open(&root.join(path)).is_err(), "{path}");
            }
        }
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
