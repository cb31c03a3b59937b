//! Outcomes as the rows of a table.
//!
//! The first [`SAMPLE_COMPLETED`] results are held, or [`SAMPLE_BYTES_MAX`] of them, until it is
//! known what fields they have. From then on each is written as it comes.

use serde_json::Value;

use super::cells::{Cell, Nesting};
use super::columns::{Columns, Fields, shown_input};
use super::csv::{self, Separator};
use super::entry::Entry;
use super::parquet;
use super::record::{self, Status};
use crate::error::Error;

/// Completed tasks whose results say what columns there are: more than enough for functions that
/// return what is alike.
const SAMPLE_COMPLETED: usize = 1024;
/// What the results may take that say so, failures included.
const SAMPLE_BYTES_MAX: usize = 4 << 20;
/// What an outcome takes beside its value and log, about.
const OUTCOME_BYTES: usize = 256;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Separated(Separator),
    Parquet,
}

impl Kind {
    fn nesting(self) -> Nesting {
        match self {
            Self::Separated(_) => Nesting::Flat,
            Self::Parquet => Nesting::Nested,
        }
    }
}

/// A table, of which some was written.
#[derive(Debug)]
pub(crate) struct Table {
    kind: Kind,
    state: State,
}

#[derive(Debug)]
enum State {
    Sampling(Sample),
    Writing(Columns, Rows),
    /// It is finished, or broken.
    Over,
}

#[derive(Debug, Default)]
struct Sample {
    held: Vec<(Entry, Value)>,
    completed: usize,
    bytes: usize,
}

#[derive(Debug)]
enum Rows {
    Separated(Separator),
    Parquet(Box<parquet::Writer>),
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            state: State::Sampling(Sample::default()),
        }
    }

    /// Add the row of an outcome whose input was `shown`; append what is to be written by now to
    /// `out`.
    ///
    /// # Errors
    /// When it cannot be written in this format.
    pub(crate) fn push<'a>(
        &mut self,
        entry: &'a Entry,
        shown: &Value,
        out: &mut Vec<u8>,
    ) -> Result<Status<'a>, Error> {
        let (status, parts) = record::take_apart(entry);
        match &mut self.state {
            State::Sampling(sample) => {
                sample.bytes += OUTCOME_BYTES + entry.weight() + shown.as_str().map_or(0, str::len);
                sample.completed += usize::from(parts.is_some());
                sample.held.push((entry.clone(), shown.clone()));
                if sample.completed >= SAMPLE_COMPLETED || sample.bytes >= SAMPLE_BYTES_MAX {
                    self.begin(out)?;
                }
            }
            State::Writing(columns, rows) => {
                let input = shown_input(shown);
                rows.append(
                    &columns.row(&entry.outcome, input.as_deref(), &status, parts.as_ref()),
                    out,
                )?;
            }
            State::Over => {}
        }
        Ok(status)
    }

    /// Append what is left of the table to `out`. Further rows go nowhere.
    ///
    /// # Errors
    /// When it cannot be written in this format.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.begin(out)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Writing(_, Rows::Parquet(writer)) => {
                writer.finish(out).map_err(|error| unwritable(&error))
            }
            State::Writing(_, Rows::Separated(_)) | State::Sampling(_) | State::Over => Ok(()),
        }
    }

    /// Decide on the columns, if that was not done yet, and write what was held.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let State::Sampling(sample) = &mut self.state else {
            return Ok(());
        };
        let held = std::mem::take(&mut sample.held);
        // In the order of the inputs, so that the columns do not depend on which task was faster.
        let mut by_index: Vec<_> = held.iter().collect();
        by_index.sort_by_key(|(entry, _)| entry.outcome.index);
        let mut fields = Fields::new(self.kind.nesting());
        by_index
            .iter()
            .filter_map(|(entry, _)| record::take_apart(entry).1)
            .for_each(|parts| fields.see(&parts));
        let columns = Columns::of(fields);
        let mut rows = Rows::start(self.kind, &columns, out)?;
        for (entry, shown) in &held {
            let ((status, parts), input) = (record::take_apart(entry), shown_input(shown));
            rows.append(
                &columns.row(&entry.outcome, input.as_deref(), &status, parts.as_ref()),
                out,
            )?;
        }
        self.state = State::Writing(columns, rows);
        Ok(())
    }
}

impl Rows {
    fn start(kind: Kind, columns: &Columns, out: &mut Vec<u8>) -> Result<Self, Error> {
        match kind {
            Kind::Separated(separator) => {
                let header: Vec<_> = columns
                    .names()
                    .iter()
                    .map(|name| Cell::Text(name.as_str().into()))
                    .collect();
                csv::append(&header, separator, out);
                Ok(Self::Separated(separator))
            }
            Kind::Parquet => parquet::Writer::new(columns)
                .map(|writer| Self::Parquet(Box::new(writer)))
                .map_err(|error| unwritable(&error)),
        }
    }

    fn append(&mut self, cells: &[Cell<'_>], out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Self::Separated(separator) => csv::append(cells, *separator, out),
            Self::Parquet(writer) => writer
                .append(cells, out)
                .map_err(|error| unwritable(&error))?,
        }
        Ok(())
    }
}

fn unwritable(error: &dyn std::error::Error) -> Error {
    Error::platform(format!(
        "failed to write the results as Parquet: {error}; JSON lines can hold any result"
    ))
}

#[cfg(test)]
mod tests {
    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ciborium::cbor;
    use sortie::{Bill, Ending, Outcome};

    use super::*;

    fn outcome(index: u64) -> Outcome {
        let mut value = Vec::new();
        // No two alike, and nothing that compresses well.
        let text: String = (0..500u64)
            .map(|n| {
                format!(
                    "{:x}",
                    (index * 500 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
                )
            })
            .collect();
        ciborium::into_writer(
            &cbor!({ "n" => index, "text" => text }).unwrap(),
            &mut value,
        )
        .unwrap();
        Outcome {
            index,
            attempts: 1,
            ending: Ending::Completed(value.into()),
            bill: Bill::default(),
            log: None,
            input: None,
            function: None,
        }
    }

    /// How much of the table comes out at once, at most.
    fn written(kind: Kind, rows: u64) -> (Vec<u8>, usize) {
        let (mut table, mut all, mut at_once) = (Table::new(kind), Vec::new(), 0);
        let mut take = |out: Vec<u8>| {
            at_once = at_once.max(out.len());
            all.extend(out);
        };
        for index in 0..rows {
            let mut out = Vec::new();
            table
                .push(&outcome(index).into(), &Value::Null, &mut out)
                .unwrap();
            take(out);
        }
        let mut out = Vec::new();
        table.finish(&mut out).unwrap();
        take(out);
        (all, at_once)
    }

    #[test]
    fn parquet_comes_out_in_groups_of_bounded_size() {
        let rows = 30_000;
        let (file, at_once) = written(Kind::Parquet, rows);
        assert!(
            file.len() > 70_000_000 && at_once < 20_000_000,
            "{} of {}",
            at_once,
            file.len()
        );
        let reader = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
        let groups = reader.metadata().row_groups();
        assert!(
            groups.len() > 4
                && groups
                    .iter()
                    .all(|group| group.total_byte_size() < 20_000_000)
        );
        assert_eq!(reader.get_row_iter(None).unwrap().count() as u64, rows);
    }

    #[test]
    fn csv_comes_out_row_by_row_after_the_first() {
        let (file, at_once) = written(Kind::Separated(Separator::Comma), 5000);
        assert_eq!(file.iter().filter(|byte| **byte == b'\n').count(), 5001);
        assert!(
            file.len() > 10_000_000 && at_once < 2 * SAMPLE_BYTES_MAX,
            "{at_once}"
        );
    }
}
