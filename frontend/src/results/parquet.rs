//! Rows as Parquet.
//!
//! Rows are gathered column by column until they take [`GROUP_BYTES_MAX`], and then written as a
//! row group; so memory does not grow with the results. What grows is the file's footer, by some
//! kilobytes for each row group. Every column may have nulls. Lists and maps are lists and structs
//! ([`super::nested`]). Text is compressed with Snappy, which every reader knows.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{SchemaDescriptor, Type as Schema};

use super::cells::{Cell, Type};
use super::columns::{Columns, unique};
use super::nested::{Levels, Node, Sink, Unfit, put_null, shred};

/// What the rows of a row group take here at most, and one row. Readers take a row group at once,
/// and prefer some megabytes to many small ones.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// The longest text. The format counts a page's bytes in 31 bits, and a text is never divided
/// between pages.
const TEXT_BYTES_MAX: usize = 1 << 30;
/// What an entry takes beside its text.
const CELL_BYTES: usize = size_of::<i64>() + 2 * size_of::<i16>();

/// Writes one file.
pub(crate) struct Writer {
    file: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    bytes: usize,
}

/// A column: its leaves, and how they hang together.
#[derive(Debug)]
struct Column {
    node: Node,
    leaves: Vec<Leaf>,
}

/// The cells of a leaf that wait to be written.
#[derive(Debug)]
struct Leaf {
    /// For each entry how much of its path is there; of a column that nests nothing 1 if there is a
    /// value, and 0 if there is none.
    definitions: Vec<i16>,
    /// For each entry at which list it goes on; empty where no list is.
    repetitions: Vec<i16>,
    is_repeated: bool,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Bool(Vec<bool>),
    Integer(Vec<i64>),
    Number(Vec<f64>),
    /// One text behind the other, and where each ends.
    Text(Vec<u8>, Vec<usize>),
}

impl Writer {
    /// A file with these columns.
    pub(crate) fn new(columns: &Columns) -> Result<Self, ParquetError> {
        let fields = columns
            .iter()
            .map(|(name, kind)| field(name, kind).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let schema = Schema::group_type_builder("results")
            .with_fields(fields)
            .build()?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("sortie version ", env!("CARGO_PKG_VERSION")).into())
            // Indexes of pages are held until the end, which may be far.
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        let schema = Arc::new(schema);
        for leaf in SchemaDescriptor::new(schema.clone()).columns() {
            if leaf.physical_type() == Physical::BYTE_ARRAY {
                // The least and the greatest text would be held until the end, and with each all
                // texts of its row group.
                properties = properties
                    .set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::None);
            }
        }
        let file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
        Ok(Self {
            file,
            columns: columns.iter().map(|(_, kind)| Column::new(kind)).collect(),
            bytes: 0,
        })
    }

    /// Add a row; append what is to be written of the file by now to `out`.
    pub(crate) fn append(
        &mut self,
        cells: &[Cell<'_>],
        out: &mut Vec<u8>,
    ) -> Result<(), ParquetError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += column.push(cell)?;
        }
        if self.bytes >= GROUP_BYTES_MAX {
            self.write_group(out)
        } else {
            Ok(())
        }
    }

    /// Append what is left of the file to `out`.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), ParquetError> {
        if self.bytes > 0 {
            self.write_group(out)?;
        }
        out.append(&mut self.file.into_inner()?);
        Ok(())
    }

    fn write_group(&mut self, out: &mut Vec<u8>) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for leaf in self
            .columns
            .iter_mut()
            .flat_map(|column| &mut column.leaves)
        {
            if let Some(mut writer) = group.next_column()? {
                leaf.write(&mut writer)?;
                writer.close()?;
            }
        }
        group.close()?;
        self.bytes = 0;
        self.file.flush()?;
        out.append(self.file.inner_mut());
        Ok(())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// The schema of a column or of a part of one, which may always be null.
fn field(name: &str, kind: &Type) -> Result<Schema, ParquetError> {
    let (physical, logical) = match kind {
        Type::Bool => (Physical::BOOLEAN, None),
        Type::Integer => (Physical::INT64, None),
        Type::Number => (Physical::DOUBLE, None),
        // JSON has a type of its own, which not all readers show as text.
        Type::Text | Type::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Type::List(item) => return list(name, item),
        Type::Struct(fields) => return group(name, fields),
    };
    Schema::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()
}

/// A list in the three levels that the format prescribes.
fn list(name: &str, item: &Type) -> Result<Schema, ParquetError> {
    let repeated = Schema::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(field("element", item)?)])
        .build()?;
    Schema::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(repeated)])
        .build()
}

fn group(name: &str, fields: &[(String, Type)]) -> Result<Schema, ParquetError> {
    let mut taken = HashSet::new();
    let fields = fields
        .iter()
        .map(|(key, kind)| field(&unique(key.clone(), &mut taken), kind).map(Arc::new))
        .collect::<Result<_, _>>()?;
    Schema::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_fields(fields)
        .build()
}

impl Column {
    fn new(kind: &Type) -> Self {
        let node = Node::of(kind);
        let leaves = node.leaves();
        Self {
            leaves: leaves
                .iter()
                .map(|(kind, lists)| Leaf::new(kind, *lists > 0))
                .collect(),
            node,
        }
    }

    /// Add a cell; says how many bytes it takes.
    fn push(&mut self, cell: &Cell<'_>) -> Result<usize, ParquetError> {
        let start = Levels {
            repetition: 0,
            definition: 0,
        };
        let mut entries = Entries {
            leaves: &mut self.leaves,
            bytes: 0,
            failed: None,
        };
        match (&self.node, cell) {
            (Node::Leaf(..), cell) => {
                let definition = i16::from(*cell != Cell::Null);
                let levels = Levels {
                    definition,
                    ..start
                };
                entries.put(0, cell, levels);
            }
            (node, Cell::Nested(json)) => shred(node, json.as_bytes(), &mut entries)
                .map_err(|Unfit| ParquetError::General("a value does not fit".into()))?,
            // Nothing else is for a nested column.
            (node, _) => put_null(node, start, &mut entries),
        }
        match entries.failed {
            None => Ok(entries.bytes),
            Some(error) => Err(error),
        }
    }
}

/// Adds entries to the leaves of a column.
struct Entries<'a> {
    leaves: &'a mut [Leaf],
    bytes: usize,
    failed: Option<ParquetError>,
}

impl Sink for Entries<'_> {
    fn put(&mut self, leaf: usize, cell: &Cell<'_>, levels: Levels) {
        let Some(leaf) = self.leaves.get_mut(leaf) else {
            return;
        };
        match leaf.push(cell, levels) {
            Ok(bytes) => self.bytes += bytes,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Leaf {
    fn new(kind: &Type, is_repeated: bool) -> Self {
        let values = match kind {
            Type::Bool => Values::Bool(Vec::new()),
            Type::Integer => Values::Integer(Vec::new()),
            Type::Number => Values::Number(Vec::new()),
            Type::Text | Type::Json | Type::List(_) | Type::Struct(_) => {
                Values::Text(Vec::new(), Vec::new())
            }
        };
        Self {
            definitions: Vec::new(),
            repetitions: Vec::new(),
            is_repeated,
            values,
        }
    }

    /// Add an entry; says how many bytes it takes.
    fn push(&mut self, cell: &Cell<'_>, levels: Levels) -> Result<usize, ParquetError> {
        let mut bytes = CELL_BYTES;
        match (&mut self.values, cell) {
            (_, Cell::Null) => {}
            (Values::Bool(values), Cell::Bool(value)) => values.push(*value),
            (Values::Integer(values), Cell::Integer(value)) => values.push(*value),
            (Values::Number(values), Cell::Number(value)) => values.push(*value),
            (Values::Text(texts, ends), Cell::Text(text)) => {
                if text.len() > TEXT_BYTES_MAX {
                    return Err(ParquetError::General(format!(
                        "a text has {} bytes, and the format allows {TEXT_BYTES_MAX}",
                        text.len()
                    )));
                }
                texts.extend_from_slice(text.as_bytes());
                ends.push(texts.len());
                bytes += text.len();
            }
            (values, cell) => {
                return Err(ParquetError::General(format!(
                    "{cell:?} is nothing for {values:?}"
                )));
            }
        }
        self.definitions.push(levels.definition);
        if self.is_repeated {
            self.repetitions.push(levels.repetition);
        }
        Ok(bytes)
    }

    /// Write the pending cells and drop them.
    fn write(&mut self, writer: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let definitions = std::mem::take(&mut self.definitions);
        let repetitions = std::mem::take(&mut self.repetitions);
        let repetitions = self.is_repeated.then_some(&*repetitions);
        let levels = (Some(&*definitions), repetitions);
        match &mut self.values {
            Values::Bool(values) => writer.typed::<BoolType>().write_batch(
                &std::mem::take(values),
                levels.0,
                levels.1,
            )?,
            Values::Integer(values) => writer.typed::<Int64Type>().write_batch(
                &std::mem::take(values),
                levels.0,
                levels.1,
            )?,
            Values::Number(values) => writer.typed::<DoubleType>().write_batch(
                &std::mem::take(values),
                levels.0,
                levels.1,
            )?,
            Values::Text(texts, ends) => {
                let texts = Bytes::from(std::mem::take(texts));
                let mut start = 0;
                let values: Vec<_> = std::mem::take(ends)
                    .into_iter()
                    .map(|end| {
                        ByteArray::from(texts.slice(std::mem::replace(&mut start, end)..end))
                    })
                    .collect();
                writer
                    .typed::<ByteArrayType>()
                    .write_batch(&values, levels.0, levels.1)?
            }
        };
        Ok(())
    }
}
