//! Reads inputs from a file or standard input, one per line.
//!
//! A thread reads and the run takes, with a few batches between them, so that a file of any length
//! takes the same memory. Lines are UTF-8, at most [`LINE_BYTES_MAX`] long; the byte order mark, a
//! carriage return at the end, and empty lines are dropped.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::error::{Error, Setting};

/// The longest line: no reader of JSON lines takes more, and no bundle either.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Lines in a batch.
const BATCH_LINES_MAX: usize = 256;
/// Bytes in a batch, after which it is passed on.
const BATCH_BYTES_MAX: usize = 64 << 10;
/// Batches that wait.
const BATCHES_WAITING: usize = 4;
const BUFFER_BYTES: usize = 64 << 10;

/// A line that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) text: String,
}

/// The origin of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A regular file: it can be read twice.
    File(PathBuf),
    /// A pipe or a device, by path.
    Pipe(PathBuf),
    /// Standard input.
    Stdin,
}

impl Origin {
    /// The origin that `path` names.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn of(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let metadata = std::fs::metadata(path)
            .map_err(|error| unreadable(&format!("`{}`", path.display()), &error))?;
        if metadata.is_dir() {
            let text = format!(
                "`{0}` is a folder; for the files in it, name `{0}/*` as an input",
                path.display()
            );
            return Err(Error::usage(text).about(Setting::Inputs));
        }
        Ok(if metadata.is_file() {
            Self::File(path.into())
        } else {
            Self::Pipe(path.into())
        })
    }

    /// Its name in error messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Pipe(path) => format!("`{}`", path.display()),
            Self::Stdin => "standard input".into(),
        }
    }

    fn open(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) | Self::Pipe(path) => Box::new(File::open(path)?),
            Self::Stdin => Box::new(std::io::stdin()),
        })
    }

    /// Read everything and check each line. Returns how many there are.
    ///
    /// # Errors
    /// The first line that is wrong, by number.
    pub(crate) fn survey(&self, check: impl Fn(&str) -> Result<(), Error>) -> Result<u64, Error> {
        let mut reader = Reader::open(self)?;
        let mut count = 0;
        while let Some(line) = reader.next()? {
            check(&line.text).map_err(|error| self.wrong(line.number, error))?;
            count += 1;
        }
        Ok(count)
    }

    /// What is wrong with a line, with its number.
    pub(crate) fn wrong(&self, number: u64, error: Error) -> Error {
        error.within(format_args!("line {number} of {}", self.name()))
    }

    /// Start reading.
    pub(crate) fn lines(&self) -> Lines {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        let origin = self.clone();
        // A detached thread: reading from a terminal or pipe cannot be interrupted, and must not
        // delay the exit of the process.
        let started = std::thread::Builder::new()
            .name("sortie-lines".into())
            .spawn(move || feed(&origin, &sender));
        let failed = started
            .err()
            .map(|error| Error::platform(format!("failed to read {}: {error}", self.name())));
        Lines {
            batches,
            batch: Vec::new().into_iter(),
            failed,
        }
    }
}

/// Lines on their way from the reading thread.
#[derive(Debug)]
pub(crate) struct Lines {
    batches: mpsc::Receiver<Result<Vec<Line>, Error>>,
    batch: std::vec::IntoIter<Line>,
    failed: Option<Error>,
}

impl Lines {
    /// The next line. Cancel safe.
    ///
    /// # Errors
    /// When the next line is not text, or cannot be read. Nothing follows.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, Error> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        loop {
            if let Some(line) = self.batch.next() {
                return Ok(Some(line));
            }
            match self.batches.recv().await {
                Some(batch) => self.batch = batch?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

/// Read until the end, or until the receiver is dropped.
fn feed(origin: &Origin, sender: &mpsc::Sender<Result<Vec<Line>, Error>>) {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let read = || -> Result<(), Error> {
        let mut reader = Reader::open(origin)?;
        loop {
            let line = match reader.next() {
                Ok(Some(line)) => line,
                other => {
                    // Lines read before the error count.
                    let _ = sender.blocking_send(Ok(std::mem::take(&mut batch)));
                    return other.map(|_| ());
                }
            };
            bytes += line.text.len();
            batch.push(line);
            // No more data is buffered, and reading may block for long: pass on the lines so far.
            if batch.len() >= BATCH_LINES_MAX || bytes >= BATCH_BYTES_MAX || reader.is_drained() {
                bytes = 0;
                if sender
                    .blocking_send(Ok(std::mem::take(&mut batch)))
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
    };
    if let Err(error) = { read }() {
        // The receiver may be gone.
        let _ = sender.blocking_send(Err(error));
    }
}

/// Reads lines one by one.
struct Reader {
    origin: Origin,
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
}

impl Reader {
    fn open(origin: &Origin) -> Result<Self, Error> {
        let input = origin
            .open()
            .map_err(|error| unreadable(&origin.name(), &error))?;
        Ok(Self {
            origin: origin.clone(),
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            number: 0,
        })
    }

    fn is_drained(&self) -> bool {
        self.input.buffer().is_empty()
    }

    /// The next line that is not empty.
    fn next(&mut self) -> Result<Option<Line>, Error> {
        loop {
            let mut bytes = Vec::new();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = self
                .input
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut bytes);
            self.number += 1;
            match read {
                Ok(0) => return Ok(None),
                Ok(_) if bytes.len() > LINE_BYTES_MAX => {
                    return Err(self.origin.wrong(
                        self.number,
                        Error::usage(format!("it is longer than {} MiB", LINE_BYTES_MAX >> 20)),
                    ));
                }
                Ok(_) => {}
                Err(error) => {
                    return Err(self.origin.wrong(
                        self.number,
                        Error::usage(format!("it cannot be read: {error}")),
                    ));
                }
            }
            let text = String::from_utf8(bytes).map_err(|_| {
                let error = Error::usage("it is not UTF-8 text");
                self.origin.wrong(self.number, error)
            })?;
            let text = if self.number == 1 {
                text.trim_start_matches('\u{feff}')
            } else {
                &text
            };
            let text = text.trim_end_matches(['\n', '\r']);
            if !text.trim().is_empty() {
                return Ok(Some(Line {
                    number: self.number,
                    text: text.into(),
                }));
            }
        }
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::usage(format!("failed to read {name}: {error}")).about(Setting::Inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        let keep = |text: &str| {
            seen.borrow_mut().push(text.to_owned());
            Ok(())
        };
        let counted = Origin::of(file.path()).unwrap().survey(keep)?;
        let seen = seen.into_inner();
        assert_eq!(counted, seen.len() as u64);
        Ok(seen)
    }

    #[test]
    fn lines_lose_their_ends_and_empty_ones_are_dropped() {
        assert_eq!(
            survey("\u{feff}a\r\n\n  \n b\u{e9} \nlast".as_bytes()).unwrap(),
            ["a", " bé ", "last"]
        );
        assert_eq!(survey(b"").unwrap(), [""; 0]);
    }

    #[test]
    fn a_line_that_is_not_text_is_named_by_its_number() {
        assert!(
            survey(b"a\n\nb\xff\n")
                .unwrap_err()
                .to_string()
                .starts_with("line 3 of")
        );
        assert!(
            survey(&vec![b'x'; LINE_BYTES_MAX + 1])
                .unwrap_err()
                .to_string()
                .contains("longer than 16 MiB")
        );
    }

    #[tokio::test]
    async fn lines_before_a_wrong_one_are_passed_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            [b"line\n".repeat(1000), b"\xff".to_vec()].concat(),
        )
        .unwrap();
        let mut lines = Origin::of(file.path()).unwrap().lines();
        for number in 1..=1000 {
            assert_eq!(
                lines.next().await.unwrap(),
                Some(Line {
                    number,
                    text: "line".into()
                })
            );
        }
        assert!(
            lines
                .next()
                .await
                .unwrap_err()
                .to_string()
                .starts_with("line 1001 of")
        );
        assert_eq!(lines.next().await, Ok(None));
    }
}
