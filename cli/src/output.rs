//! Where lines go: a file, or standard output.
//!
//! Only whole lines are written, some at a time, so that whatever ends this process leaves whole
//! lines behind. Who appends them decides when it is time to write.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use crate::ending::Error;

/// What is kept of the memory of lines that were written.
const KEPT_BYTES_MAX: usize = 128 << 10;

/// A sink of lines.
#[derive(Debug)]
pub(crate) struct Output {
    sink: Sink,
    pending: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    File(File, PathBuf),
    Stdout,
}

/// Whether somebody still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    /// The reader has gone, as `head` does when it has enough.
    Closed,
}

impl Output {
    /// Open the output. A file that is there is emptied.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Error> {
        let sink = match path {
            None => Sink::Stdout,
            Some(path) => {
                let file =
                    File::create(path).map_err(|error| Error::Usage(refused(path, &error)))?;
                Sink::File(file, path.into())
            }
        };
        Ok(Self {
            sink,
            pending: Vec::new(),
        })
    }

    /// The file's name, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.sink {
            Sink::File(_, path) => Some(path),
            Sink::Stdout => None,
        }
    }

    /// Whether people see the results as they are written.
    pub(crate) fn is_terminal(&self) -> bool {
        match &self.sink {
            Sink::File(file, _) => file.is_terminal(),
            Sink::Stdout => std::io::stdout().is_terminal(),
        }
    }

    /// Where the next line is to be appended, whole.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// How much waits to be written.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Write what waits.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk.
    pub(crate) fn flush(&mut self) -> Result<Flow, Error> {
        if self.pending.is_empty() {
            return Ok(Flow::Open);
        }
        let written = match &mut self.sink {
            Sink::File(file, _) => file.write_all(&self.pending),
            Sink::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout
                    .write_all(&self.pending)
                    .and_then(|()| stdout.flush())
            }
        };
        self.pending.clear();
        // A buffer that grew for one huge line is not kept.
        self.pending.shrink_to(KEPT_BYTES_MAX);
        match written {
            Ok(()) => Ok(Flow::Open),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Flow::Closed),
            Err(error) => Err(Error::Platform(format!(
                "failed to write the results to {}: {error}",
                self.name()
            ))),
        }
    }

    /// What to call it.
    pub(crate) fn name(&self) -> String {
        match &self.sink {
            Sink::File(_, path) => format!("`{}`", path.display()),
            Sink::Stdout => "standard output".into(),
        }
    }
}

/// Whether there can be a file of this name, as far as that can be told without making one.
///
/// # Errors
/// When there is no folder for it, or it is one.
pub(crate) fn check_place(path: &Path) -> Result<(), Error> {
    match no_place(path) {
        Some(text) => Err(Error::Usage(text)),
        None => Ok(()),
    }
}

fn refused(path: &Path, error: &std::io::Error) -> String {
    no_place(path)
        .unwrap_or_else(|| format!("--output: `{}` cannot be written: {error}", path.display()))
}

fn no_place(path: &Path) -> Option<String> {
    let shown = path.display();
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())
    {
        Some(parent) => Some(format!(
            "--output: there is no folder `{}` for `{shown}`; make it first",
            parent.display()
        )),
        None => path
            .is_dir()
            .then(|| format!("--output: `{shown}` is a folder; name a file in it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| Output::open(Some(path)).unwrap_err().to_string();
        assert!(error(&folder.path().join("no/such/file")).contains("make it first"));
        assert!(error(folder.path()).contains("name a file in it"));
    }
}
