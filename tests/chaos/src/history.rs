//! What happened in a run, written down as it happens.
//!
//! Each process writes a file of its own, a JSON record a line, and passes every batch to the
//! system before it goes on: what a killed process had seen is known, except for a last line that
//! it was writing. The order of records of different files means nothing.

use std::fs::File;
use std::io::Write as _;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Record {
    /// The driver: so many tasks are to be submitted.
    Planned {
        /// How many.
        tasks: u64,
    },
    /// A submitter: this task is about to be published. It may be published more than once, and is
    /// recorded once.
    Submitted {
        /// The task.
        index: u64,
        /// What it is called with.
        argument: u64,
    },
    /// The driver: a reader starts, at this position.
    Reading {
        /// Names the reader.
        reader: u32,
        /// The first position that it asks for.
        from: u64,
    },
    /// A reader: this outcome came.
    Outcome {
        /// Who saw it.
        reader: u32,
        /// Its place among the job's outcomes.
        position: u64,
        /// The task.
        index: u64,
        /// Attempts that were made.
        attempts: u32,
        /// How the task ended.
        ended: Ended,
    },
    /// A reader: the job's record says that it has so many tasks.
    Sealed {
        /// Who asked.
        reader: u32,
        /// How many.
        tasks: u64,
    },
    /// A reader: all outcomes are there.
    Read {
        /// Which.
        reader: u32,
    },
    /// A reader: so many bundles are in the queue though all outcomes are there.
    Left {
        /// How many.
        bundles: u64,
    },
    /// The driver: a reader was killed before it had all.
    Killed {
        /// Which.
        reader: u32,
        /// The position that would have come next.
        at: u64,
    },
    /// Any process: it cannot go on, though nobody killed it.
    Broken {
        /// Which, and why.
        what: String,
    },
    /// The driver: something begins to go wrong.
    Fault {
        /// Since the first task may be submitted.
        at_ms: u64,
        /// What is done.
        kind: String,
        /// To whom.
        target: String,
        /// For how long.
        lasts_ms: u64,
    },
    /// The driver: a process ended by itself and was started again.
    Exited {
        /// Since the first task may be submitted.
        at_ms: u64,
        /// Its exit code, if it was not killed.
        code: Option<i32>,
        /// Which, and how it ended.
        what: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// With this result.
    Value(u64),
    /// With a failure of this code.
    Failed(String),
}

/// A file of records that grows.
#[derive(Debug)]
pub struct Log<R = Record> {
    file: File,
    path: PathBuf,
    records: PhantomData<fn(R)>,
}

impl<R: Serialize> Log<R> {
    /// Start a file.
    ///
    /// # Errors
    /// When it is there already or cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path)
            .with_context(|| format!("failed to make `{}`", path.display()))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            records: PhantomData,
        })
    }

    /// Write these down before anything else happens.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn write(&mut self, records: impl IntoIterator<Item = R>) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, &record)?;
            lines.push(b'\n');
        }
        self.file
            .write_all(&lines)
            .with_context(|| format!("failed to write `{}`", self.path.display()))
    }
}

/// The records of a file, without a last line that was not written to its end. None if there is no
/// file.
///
/// # Errors
/// When a whole line is no record.
pub fn read<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("failed to read `{}`", path.display()))?,
    };
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let lines = text[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            serde_json::from_slice(line)
                .with_context(|| format!("no record in `{}`", path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_not_written_to_its_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let records = [
            Record::Planned { tasks: 7 },
            Record::Outcome {
                reader: 1,
                position: 0,
                index: 3,
                attempts: 2,
                ended: Ended::Value(9),
            },
        ];
        let mut log = Log::create(&path).unwrap();
        log.write(records.clone()).unwrap();
        log.file.write_all(br#"{"is":"planned","ta"#).unwrap();
        assert_eq!(read::<Record>(&path).unwrap(), records);
        assert_eq!(read::<Record>(&folder.path().join("none")).unwrap(), []);
    }
}
