//! Entry points of the fuzz targets: arguments by their types, and values in tables.
//!
//! Not part of the API: this module has no promise of stability, and nothing else uses it. It takes
//! text and outcomes and returns plain values, so that the decoders themselves stay private.

use serde_json::Value;
use sortie::{Input, Outcome};

use crate::binding::{Shape, Type};
use crate::error::Error;
use crate::json::Parts;
use crate::results::{Separator, Table, TableKind};

/// The argument that a text is for a parameter of this type, and how results show it.
///
/// # Errors
/// What the type takes instead.
pub fn value(type_name: &str, text: &str) -> Result<(Input, Value), String> {
    Type::of(type_name).read(text)
}

/// The argument that a value of JSON is for a parameter of this type.
///
/// # Errors
/// What the type takes instead.
pub fn item(type_name: &str, given: &Value) -> Result<Input, String> {
    Type::of(type_name).take(given)
}

/// Whether a text can be an input of this shape.
///
/// # Errors
/// What is wrong with it.
pub fn check(shape: &Shape, text: &str) -> Result<(), Error> {
    shape.check(text)
}

/// How many bytes of text a value has in a table.
///
/// # Errors
/// Why it is not one CBOR item.
pub fn parts_bytes(cbor: &[u8]) -> Result<usize, String> {
    Parts::of(cbor).map(|parts| parts.bytes())
}

/// Outcomes as CSV.
///
/// # Errors
/// When they cannot be written.
pub fn csv(outcomes: &[Outcome]) -> Result<Vec<u8>, Error> {
    table(TableKind::Separated(Separator::Comma), outcomes)
}

/// Outcomes as Parquet.
///
/// # Errors
/// When they cannot be written.
pub fn parquet(outcomes: &[Outcome]) -> Result<Vec<u8>, Error> {
    table(TableKind::Parquet, outcomes)
}

fn table(kind: TableKind, outcomes: &[Outcome]) -> Result<Vec<u8>, Error> {
    let (mut table, mut out) = (Table::new(kind), Vec::new());
    for outcome in outcomes {
        table.push(&outcome.clone().into(), &Value::Null, &mut out)?;
    }
    table.finish(&mut out)?;
    Ok(out)
}
