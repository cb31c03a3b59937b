//! Reads tables of results with readers that share nothing with what wrote them: a CSV parser, and
//! a Parquet reader.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use csv_core::{ReadRecordResult, Reader};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

/// A table: its columns in order, and its rows by column. A cell without a value is null.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, as they come.
    pub rows: Vec<BTreeMap<String, Value>>,
}

impl Table {
    /// Read a CSV file. Every cell is a text.
    ///
    /// # Panics
    /// When it is none.
    pub fn csv(path: &Path) -> Self {
        let content =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut records = records(&content).into_iter();
        let columns = records.next().expect("a header");
        let row = |record: Vec<String>| {
            assert_eq!(
                record.len(),
                columns.len(),
                "a row has other columns: {record:?}"
            );
            let cells = record.into_iter().map(|cell| {
                if cell.is_empty() {
                    Value::Null
                } else {
                    cell.into()
                }
            });
            columns.iter().cloned().zip(cells).collect()
        };
        let rows = records.map(row).collect();
        Self { columns, rows }
    }

    /// Read a Parquet file.
    ///
    /// # Panics
    /// When it is none, or has columns of types that results do not have.
    pub fn parquet(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let reader = SerializedFileReader::new(file).expect("a Parquet file");
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let columns = schema
            .root_schema()
            .get_fields()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        let row = |row: parquet::record::Row| {
            row.get_column_iter()
                .map(|(name, field)| (name.clone(), value(field)))
                .collect()
        };
        let rows = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|read| row(read.expect("a row")))
            .collect();
        Self { columns, rows }
    }

    /// The row with this index.
    ///
    /// # Panics
    /// When there is not one such row.
    pub fn row(&self, index: u64) -> &BTreeMap<String, Value> {
        let is_it = |row: &&BTreeMap<String, Value>| {
            [Value::from(index), index.to_string().into()].contains(&row["index"])
        };
        let found: Vec<_> = self.rows.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "rows with index {index}");
        found[0]
    }
}

fn records(mut content: &[u8]) -> Vec<Vec<String>> {
    let mut reader = Reader::new();
    let (mut fields, mut ends) = (vec![0; content.len() + 1], vec![0; 2000]);
    let mut records = Vec::new();
    let (mut written, mut ended) = (0, 0);
    loop {
        let (result, read, bytes, count) =
            reader.read_record(content, &mut fields[written..], &mut ends[ended..]);
        content = &content[read..];
        (written, ended) = (written + bytes, ended + count);
        match result {
            ReadRecordResult::Record => {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let cell = |(start, end): (usize, usize)| {
                    String::from_utf8(fields[start..end].to_vec()).expect("text")
                };
                records.push(
                    starts
                        .zip(ends[..ended].iter().copied())
                        .map(cell)
                        .collect(),
                );
                (written, ended) = (0, 0);
            }
            // The next turn ends the last record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::End => return records,
            full => panic!("{full:?}"),
        }
    }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.clone().into(),
        Field::Group(fields) => fields
            .get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect(),
        Field::ListInternal(items) => items.elements().iter().map(value).collect(),
        other => panic!("results have no {other:?}"),
    }
}
