//! Writes the results of a job: as JSON lines, CSV or Parquet, to a stream, a file or a store.

mod cells;
mod columns;
mod compress;
mod csv;
mod entry;
mod lines;
mod naming;
mod nested;
mod parquet;
mod reader;
mod record;
mod reorder;
mod table;
mod target;
mod writer;

pub(crate) use self::csv::Separator;
pub use self::entry::Entry;
pub use self::lines::{Flow, Lines, Stream};
pub use self::naming::{COPIES_MAX, Naming, Stems, is_pattern, makes_object};
pub use self::reader::{Taken, is_closed};
pub use self::record::{Reason, ShownObject, Status, bad_result};
pub use self::reorder::Reorder;
pub(crate) use self::table::{Kind as TableKind, Table};
pub use self::target::Target;
pub use self::writer::{Writer, Written};
