//! Writes the results of a job to a stream, a file or an object in a store, as JSON lines or as a
//! table.
//!
//! A destination that cannot be written to is refused when it is opened, before any task runs.
//! Streams and files get whole lines or rows as results arrive, and keep them however the run ends.
//! An object in a store appears when all results are in it, or not at all. A Parquet file cannot be
//! read without its end, so it appears under its name when the run has ended, stopped or not.
//!
//! Bounds: [`PENDING_BYTES_MAX`] and one result wait to be written, beside what a table holds
//! (`table`, `parquet`) and an upload ([`sortie::objects::Upload`]). Writing waits for the store,
//! so that a slow store slows the job instead of filling memory.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sortie::objects::{Location, Objects, Upload, WriteError, WriteFault};
use tokio::task::JoinSet;

use super::compress::Compressor;
use super::csv::Separator;
use super::entry::Entry;
use super::lines::{Flow, Lines, check_place};
use super::reader::Taken;
use super::record::{self, Status};
use super::table::{Kind, Table};
use super::target::{Format, Layout, Place, Target};
use crate::error::{Error, Setting};
use crate::stop::{Stop, Stopped};

/// After this much results are passed on, even if more follow at once.
const PENDING_BYTES_MAX: usize = 64 << 10;
/// Timeout for aborting an upload. After a signal a command has no more time; parts left behind are
/// removed by the bucket's lifecycle rules.
const GIVE_UP_TIME_MAX: Duration = Duration::from_millis(300);

/// Writes the results of a job.
#[derive(Debug)]
pub struct Writer {
    /// None for JSON lines.
    table: Option<Table>,
    /// What is still to be compressed, where results are.
    compressed: Option<(Compressor, Vec<u8>)>,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stream(Lines),
    Object(Box<Object>),
}

/// An object that is being written.
#[derive(Debug)]
struct Object {
    shown: String,
    pending: Vec<u8>,
    /// None when it was completed or given up.
    upload: Option<Upload>,
    incomplete: Incomplete,
    is_there: bool,
    /// Tells the store that the object is given up.
    giving_up: JoinSet<()>,
}

/// What becomes of results that are not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Incomplete {
    Kept,
    GivenUp,
}

/// Whether all results were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Every result of the job.
    All,
    /// Not all results, because the run was stopped or failed.
    Some,
}

impl Writer {
    /// Open the place; `stream` is where results go if no place was named. A file of lines or rows
    /// that is there is emptied; an object or Parquet file that is there stays until it is
    /// replaced.
    ///
    /// # Errors
    /// When it cannot be written to, as far as that can be found out now.
    pub async fn open(
        target: &Target,
        stream: impl FnOnce() -> Lines,
        objects: &Objects,
        folder: &Path,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let table = match target.format.layout {
            Layout::Lines => None,
            Layout::Csv => Some(Table::new(Kind::Separated(Separator::Comma))),
            Layout::Tsv => Some(Table::new(Kind::Separated(Separator::Tab))),
            Layout::Parquet => Some(Table::new(Kind::Parquet)),
        };
        let compressed = Compressor::new(target.format.compression)?;
        let sink = match (&target.place, target.format.layout) {
            (Place::Stdout, _) => Sink::Stream(stream()),
            (Place::File(path), Layout::Lines | Layout::Csv | Layout::Tsv) => {
                Sink::Stream(Lines::create(path)?)
            }
            (Place::File(path), Layout::Parquet) => {
                check_place(path)?;
                let location = Location::File(folder.join(path));
                Sink::Object(
                    Object::open(
                        path.display().to_string(),
                        &location,
                        target.format,
                        objects,
                        stop,
                    )
                    .await?
                    .into(),
                )
            }
            (Place::Object(location), _) => Sink::Object(
                Object::open(location.to_string(), location, target.format, objects, stop)
                    .await?
                    .into(),
            ),
        };
        Ok(Self {
            table,
            compressed: compressed.map(|compressor| (compressor, Vec::new())),
            sink,
        })
    }

    /// What it is called, if results are to be found there when the command has ended.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match &self.sink {
            Sink::Stream(output) => output.path().map(|path| path.display().to_string()),
            Sink::Object(object) => object.is_there.then(|| object.shown.clone()),
        }
    }

    /// The name of an object that was abandoned without results.
    #[must_use]
    pub fn given_up(&self) -> Option<&str> {
        match &self.sink {
            Sink::Stream(_) => None,
            Sink::Object(object) => (!object.is_there).then_some(&*object.shown),
        }
    }

    /// The name of an object or file that is not there unless it is complete.
    #[must_use]
    pub fn whole_or_nothing(&self) -> Option<&str> {
        match &self.sink {
            Sink::Stream(_) => None,
            Sink::Object(object) => Some(&object.shown),
        }
    }

    /// The stream or file that gets lines as results come, if it is one.
    #[must_use]
    pub fn lines(&self) -> Option<&Lines> {
        match &self.sink {
            Sink::Stream(lines) => Some(lines),
            Sink::Object(_) => None,
        }
    }

    /// Wait until the reader of a pipe has taken the results, see [`Taken`]. Cancel safe.
    ///
    /// # Errors
    /// When it is stopped.
    pub async fn taken(&self, stop: &Stop) -> Result<Taken, Stopped> {
        match &self.sink {
            Sink::Stream(lines) => lines.taken(stop).await,
            Sink::Object(_) => Ok(Taken::All),
        }
    }

    /// Add an outcome, whose input was `shown`.
    ///
    /// # Errors
    /// When the format cannot represent it.
    pub fn push<'a>(&mut self, entry: &'a Entry, shown: &Value) -> Result<Status<'a>, Error> {
        let pending = match (&mut self.compressed, &mut self.sink) {
            (Some((_, plain)), _) => plain,
            (None, Sink::Stream(output)) => output.pending(),
            (None, Sink::Object(object)) => &mut object.pending,
        };
        match &mut self.table {
            None => Ok(record::write(entry, shown, pending)),
            Some(table) => table.push(entry, shown, pending),
        }
    }

    /// Whether enough is pending to write it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending_bytes() >= PENDING_BYTES_MAX
    }

    /// How much waits to be written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        let plain = self.compressed.as_ref().map_or(0, |(_, plain)| plain.len());
        plain
            + match &self.sink {
                Sink::Stream(output) => output.pending_bytes(),
                Sink::Object(object) => object.pending.len(),
            }
    }

    /// Compress what is to be compressed.
    fn compress(&mut self) -> Result<(), Error> {
        let pending = match &mut self.sink {
            Sink::Stream(output) => output.pending(),
            Sink::Object(object) => &mut object.pending,
        };
        match &mut self.compressed {
            Some((compressor, plain)) => compressor.append(plain, pending),
            None => Ok(()),
        }
    }

    /// Write the lines that wait, if this is a stream or a file; nothing otherwise.
    ///
    /// # Errors
    /// When they cannot be written, as on a full disk.
    pub fn flush_lines(&mut self) -> Result<Flow, Error> {
        self.compress()?;
        match &mut self.sink {
            Sink::Stream(lines) => lines.flush(),
            Sink::Object(_) => Ok(Flow::Open),
        }
    }

    /// Write the pending results. A stop aborts the upload of an object.
    ///
    /// # Errors
    /// When it cannot be written, as on a full disk.
    pub async fn flush(&mut self, stop: &Stop) -> Result<Flow, Error> {
        self.compress()?;
        match &mut self.sink {
            Sink::Stream(output) => output.flush(),
            Sink::Object(object) => object.flush(stop).await.map(|()| Flow::Open),
        }
    }

    /// Write the end, or abandon an output that is useless without all results.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn close(&mut self, written: Written, stop: &Stop) -> Result<Flow, Error> {
        let mut pending = Vec::new();
        match &mut self.sink {
            Sink::Stream(_) => {}
            Sink::Object(object)
                if written == Written::Some && object.incomplete == Incomplete::GivenUp =>
            {
                object.give_up().await;
                return Ok(Flow::Open);
            }
            Sink::Object(_) => {}
        }
        if let Some(table) = &mut self.table {
            table.finish(&mut pending)?;
        }
        if let Some((mut compressor, mut plain)) = self.compressed.take() {
            plain.append(&mut pending);
            compressor.append(&mut plain, &mut pending)?;
            compressor.finish(&mut pending)?;
        }
        match &mut self.sink {
            Sink::Stream(output) => output.pending().append(&mut pending),
            Sink::Object(object) => object.pending.append(&mut pending),
        }
        match &mut self.sink {
            Sink::Stream(output) => output.flush(),
            Sink::Object(object) => object.complete(stop).await.map(|()| Flow::Open),
        }
    }
}

impl Object {
    async fn open(
        shown: String,
        location: &Location,
        format: Format,
        objects: &Objects,
        stop: &Stop,
    ) -> Result<Self, Error> {
        let mut upload = objects
            .upload(location, Some(format.content_type()))
            .map_err(refused)?;
        stop.or(upload.begin()).await?.map_err(refused)?;
        let incomplete = if matches!(location, Location::File(_)) {
            Incomplete::Kept
        } else {
            Incomplete::GivenUp
        };
        Ok(Self {
            shown,
            pending: Vec::new(),
            upload: Some(upload),
            incomplete,
            is_there: false,
            giving_up: JoinSet::new(),
        })
    }

    async fn flush(&mut self, stop: &Stop) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        if pending.is_empty() {
            return Ok(());
        }
        let written = match self.incomplete {
            Incomplete::Kept => Some(upload.write(&pending).await),
            Incomplete::GivenUp => stop.or(upload.write(&pending)).await.ok(),
        };
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.give_up().await;
                Err(self.broken(&error))
            }
            // It is unknown how much of it was written; the upload is abandoned.
            None => {
                self.start_giving_up();
                Ok(())
            }
        }
    }

    async fn complete(&mut self, stop: &Stop) -> Result<(), Error> {
        self.flush(stop).await?;
        let Some(upload) = self.upload.take() else {
            self.give_up().await;
            return Ok(());
        };
        let finished = match self.incomplete {
            Incomplete::Kept => Ok(upload.finish().await),
            Incomplete::GivenUp => stop.or(upload.finish()).await,
        };
        // Stopped by a signal, it may be there or not, and is given up if it is not.
        let Ok(finished) = finished else {
            return Ok(());
        };
        finished.map_err(|error| self.broken(&error))?;
        self.is_there = true;
        Ok(())
    }

    fn start_giving_up(&mut self) {
        self.pending = Vec::new();
        if let Some(upload) = self.upload.take() {
            self.giving_up.spawn(upload.abort());
        }
    }

    async fn give_up(&mut self) {
        self.start_giving_up();
        if tokio::time::timeout(GIVE_UP_TIME_MAX, self.giving_up.join_next())
            .await
            .is_err()
        {
            tracing::debug!(
                object = self.shown,
                "the store did not confirm in time that an upload is aborted"
            );
        }
    }

    fn broken(&self, error: &WriteError) -> Error {
        Error::platform(format!(
            "failed to write the results to `{}`, which is as it was before: {error}",
            self.shown
        ))
        .advised(error.advice.clone())
    }
}

/// A place that cannot be written to; nothing ran yet.
pub(super) fn refused(error: WriteError) -> Error {
    let refused = match error.fault {
        WriteFault::NoPlace | WriteFault::Denied | WriteFault::TooLarge => {
            Error::usage(error.message)
        }
        WriteFault::Full | WriteFault::Quota | WriteFault::Unavailable => {
            Error::platform(error.message)
        }
    };
    refused.about(Setting::Output).advised(error.advice)
}
