//! Writes lines to a file or to a stream.
//!
//! Only whole lines are written, several at a time, so that a killed process leaves whole lines
//! behind. The caller appends lines and decides when to write them.
//!
//! A regular file is locked while it is written (an advisory lock, `flock`), and emptied only under
//! the lock: of two commands that name one file the second is refused, and the lines of the first
//! stay. A pipe or a device is not locked: what becomes of lines there is for its reader to say.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::reader::{self, Taken};
use crate::error::{Error, Setting};
use crate::stop::{Stop, Stopped};

/// What is kept of the memory of lines that were written.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// A sink of lines.
#[derive(Debug)]
pub struct Lines {
    sink: Sink,
    pending: Vec<u8>,
}

enum Sink {
    File(File, PathBuf),
    Stream(Box<dyn Stream>, &'static str),
}

/// What lines can be written to.
pub trait Stream: Write + AsFd + Send {}

impl<T: Write + AsFd + Send> Stream for T {}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(_, path) => f.debug_tuple("File").field(path).finish(),
            Self::Stream(_, name) => f.debug_tuple("Stream").field(name).finish(),
        }
    }
}

/// Whether the reader is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It is, as far as known.
    Open,
    /// The reader closed the pipe, as `head` does.
    Closed,
}

impl Lines {
    /// Write to a file, which is locked until this is dropped. An existing file is truncated.
    ///
    /// # Errors
    /// When the file cannot be written, or another process writes to it in this way.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = create(path)?;
        Ok(Self {
            sink: Sink::File(file, path.into()),
            pending: Vec::new(),
        })
    }

    /// Write to `stream`, which errors call `name`.
    #[must_use]
    pub fn to(stream: impl Stream + 'static, name: &'static str) -> Self {
        Self {
            sink: Sink::Stream(Box::new(stream), name),
            pending: Vec::new(),
        }
    }

    /// The file's name, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.sink {
            Sink::File(_, path) => Some(path),
            Sink::Stream(..) => None,
        }
    }

    /// The file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.sink {
            Sink::File(file, _) => Some(file),
            Sink::Stream(..) => None,
        }
    }

    /// Wait until the reader has taken what was written, where there is one. Cancel safe.
    ///
    /// # Errors
    /// When it is stopped.
    pub async fn taken(&self, stop: &Stop) -> Result<Taken, Stopped> {
        let fd = match &self.sink {
            Sink::File(file, _) => file.as_fd(),
            Sink::Stream(stream, _) => stream.as_fd(),
        };
        reader::taken(fd, stop).await
    }

    /// Where the next line is to be appended, whole.
    pub fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Write the pending lines.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk.
    pub fn flush(&mut self) -> Result<Flow, Error> {
        if self.pending.is_empty() {
            return Ok(Flow::Open);
        }
        let written = match &mut self.sink {
            Sink::File(file, _) => file.write_all(&self.pending),
            Sink::Stream(stream, _) => stream
                .write_all(&self.pending)
                .and_then(|()| stream.flush()),
        };
        self.pending.clear();
        // A buffer that grew for one huge line is not kept.
        self.pending.shrink_to(KEPT_BYTES_MAX);
        match written {
            Ok(()) => Ok(Flow::Open),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Flow::Closed),
            Err(error) => Err(Error::platform(match &self.sink {
                Sink::File(..) => {
                    format!("failed to write the results to {}: {error}", self.name())
                }
                Sink::Stream(..) => format!("failed to write to {}: {error}", self.name()),
            })),
        }
    }

    /// What to call it.
    fn name(&self) -> String {
        match &self.sink {
            Sink::File(_, path) => format!("`{}`", path.display()),
            Sink::Stream(_, name) => (*name).into(),
        }
    }
}

/// Open a file, and empty it when nobody else holds it.
fn create(path: &Path) -> Result<File, Error> {
    let refused = |error: io::Error| refused(path, &error);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    let file = file.map_err(refused)?;
    if !file.metadata().map_err(refused)?.is_file() {
        return Ok(file);
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let text = format!(
                "another process is writing results to `{}`; wait until it has ended, or name \
                 another file",
                path.display()
            );
            return Err(Error::usage(text).about(Setting::Output));
        }
        // Some network file systems have no locks. Results are worth more than the guard.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(path = %path.display(), %error, "the file cannot be locked");
        }
    }
    file.set_len(0).map_err(refused)?;
    Ok(file)
}

/// Whether there can be a file of this name, as far as that can be told without making one.
///
/// # Errors
/// When there is no folder for it, or it is one.
pub(crate) fn check_place(path: &Path) -> Result<(), Error> {
    match no_place(path) {
        Some(text) => Err(Error::usage(text).about(Setting::Output)),
        None => Ok(()),
    }
}

fn refused(path: &Path, error: &io::Error) -> Error {
    let text = no_place(path)
        .unwrap_or_else(|| format!("`{}` cannot be written: {error}", path.display()));
    Error::usage(text).about(Setting::Output)
}

fn no_place(path: &Path) -> Option<String> {
    let shown = path.display();
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
    {
        Some(parent) => Some(format!(
            "there is no folder `{}` for `{shown}`; create it first",
            parent.display()
        )),
        None => path
            .is_dir()
            .then(|| format!("`{shown}` is a folder; name a file in it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| Lines::create(path).unwrap_err().to_string();
        assert!(error(&folder.path().join("no/such/file")).contains("create it first"));
        assert!(error(folder.path()).contains("name a file in it"));
    }

    #[test]
    fn a_file_that_somebody_writes_to_is_neither_emptied_nor_shared() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("r.jsonl"), folder.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut first = Lines::create(&path).unwrap();
        first.pending().extend_from_slice(b"one\n");
        first.flush().unwrap();
        for name in [&path, &link] {
            let error = Lines::create(name).unwrap_err();
            assert_eq!(error.setting, Some(Setting::Output));
            assert!(error.message.contains("another process"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"one\n");
        drop(first);
        // Nobody does any more.
        Lines::create(&link).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        // What is no regular file takes any number.
        let _writers = [(); 2].map(|()| Lines::create(Path::new("/dev/null")).unwrap());
    }
}
