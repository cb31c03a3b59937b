//! The columns of a table: the columns that every result has, and between them the fields of the
//! returned values.
//!
//! Fields are not known before there are results, and a table's columns cannot change once its
//! first row is written. So the fields of the first results become the columns, and fields of later
//! results that match no column go to the column `rest`, as JSON: nothing is left out.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use sortie::Outcome;

use super::cells::{Cell, Nesting, Seen, Type};
use super::nested::{Node, cell};
use super::record::{ShownBill, Status};
use crate::json::{Parts, Whole, append_member, valid};
use crate::log::shown;

/// Columns of fields. The first results may have more fields between them; those seen later are in
/// `rest`.
const FIELDS_MAX: usize = crate::json::FIELDS_MAX;
/// Leaves of nested columns, all together; columns past that are JSON text. A Parquet file says
/// something of each leaf for each of its row groups.
const NESTED_LEAVES_MAX: usize = 1000;
/// What goes before a field's name that is taken by another column.
const PREFIX: &str = "value_";
/// The column of values that have no fields.
const WHOLE: &str = "value";

/// The columns before the fields.
const FIRST: [(&str, Type); 3] = [
    ("index", Type::Integer),
    ("input", Type::Text),
    ("status", Type::Text),
];
/// The columns behind the fields.
const LAST: [(&str, Type); 17] = [
    ("rest", Type::Json),
    ("error_code", Type::Text),
    ("error_message", Type::Text),
    ("error_blame", Type::Text),
    ("error_attempts", Type::Integer),
    ("error_function", Type::Text),
    ("queue_ms", Type::Number),
    ("fetch_ms", Type::Number),
    ("run_ms", Type::Number),
    ("cpu_ms", Type::Number),
    ("memory_peak_bytes", Type::Integer),
    ("bytes_in", Type::Integer),
    ("bytes_out", Type::Integer),
    ("cached", Type::Bool),
    ("store_ms", Type::Number),
    ("log", Type::Text),
    ("log_dropped_bytes", Type::Integer),
];

/// The fields that results had so far.
#[derive(Debug)]
pub(crate) struct Fields {
    nesting: Nesting,
    /// Each key, as a JSON string, in the order in which they were seen.
    order: Vec<Box<[u8]>>,
    seen: HashMap<Box<[u8]>, Seen>,
    /// What values were that have no fields.
    whole: Option<Seen>,
}

impl Fields {
    /// None yet.
    pub(crate) fn new(nesting: Nesting) -> Self {
        Self {
            nesting,
            order: Vec::new(),
            seen: HashMap::new(),
            whole: None,
        }
    }

    /// A result came.
    pub(crate) fn see(&mut self, parts: &Parts) {
        if let Whole::One(value) = parts.whole() {
            let seen = Seen::of(value, self.nesting);
            self.whole = Some(match self.whole.take() {
                Some(before) => before.and(seen),
                None => seen,
            });
        }
        for (key, value) in parts.fields() {
            let seen = Seen::of(value, self.nesting);
            if let Some(before) = self.seen.get_mut(key) {
                *before = std::mem::replace(before, Seen::Nothing).and(seen);
            } else if self.order.len() < FIELDS_MAX {
                self.order.push(key.into());
                self.seen.insert(key.into(), seen);
            }
        }
    }
}

/// The columns of a table, in their order.
#[derive(Debug)]
pub(crate) struct Columns {
    names: Vec<String>,
    types: Vec<Type>,
    /// Where the fields are, by their key as a JSON string.
    by_key: HashMap<Box<[u8]>, usize>,
    whole: Option<usize>,
}

impl Columns {
    /// The columns of results that have these fields.
    pub(crate) fn of(mut fields: Fields) -> Self {
        // Names that differ in case only are one name to databases.
        let mut taken: HashSet<String> = FIRST
            .iter()
            .chain(&LAST)
            .map(|(name, _)| (*name).to_owned())
            .collect();
        taken.insert(WHOLE.into());
        let (mut names, mut types): (Vec<_>, Vec<_>) = FIRST
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), kind.clone()))
            .unzip();
        let mut leaves_left = NESTED_LEAVES_MAX;
        let whole = fields.whole.map(|seen| {
            names.push(WHOLE.into());
            types.push(within(seen.column(), &mut leaves_left));
            names.len() - 1
        });
        let mut by_key = HashMap::new();
        for key in fields.order {
            let name = serde_json::from_slice(&key).unwrap_or_default();
            let seen = fields.seen.remove(&key).unwrap_or(Seen::Nothing);
            types.push(within(seen.column(), &mut leaves_left));
            let name = unique(name, &mut taken);
            by_key.insert(key, names.len());
            names.push(name);
        }
        names.extend(LAST.iter().map(|(name, _)| (*name).to_owned()));
        types.extend(LAST.iter().map(|(_, kind)| kind.clone()));
        Self {
            names,
            types,
            by_key,
            whole,
        }
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns, by name and type.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Type)> {
        self.names.iter().map(String::as_str).zip(&self.types)
    }

    /// The row of an outcome whose input is shown as this text, and whose value is this.
    pub(crate) fn row<'a>(
        &self,
        outcome: &'a Outcome,
        input: Option<&'a str>,
        status: &'a Status<'_>,
        value: Option<&'a Parts>,
    ) -> Vec<Cell<'a>> {
        let index = integer(outcome.index);
        let mut cells = Vec::with_capacity(self.names.len());
        cells.extend([index, input.map_or(Cell::Null, text), text(status.as_str())]);
        cells.resize(self.names.len() - LAST.len(), Cell::Null);
        let rest = value.and_then(|parts| self.place(parts, &mut cells));
        cells.push(rest.map_or(Cell::Null, |rest| Cell::Text(rest.into())));
        cells.extend(error(status));
        cells.extend(bill(&ShownBill::from(&outcome.bill)));
        cells.extend(match &outcome.log {
            Some(log) => [Cell::Text(shown(&log.text)), integer(log.dropped)],
            None => [Cell::Null, Cell::Null],
        });
        cells
    }

    /// Put a value's parts where they belong; what has no place, or does not fit there, comes back
    /// as JSON.
    fn place<'a>(&self, parts: &'a Parts, cells: &mut [Cell<'a>]) -> Option<String> {
        match parts.whole() {
            Whole::One(value) => {
                let is_placed = self
                    .whole
                    .is_some_and(|column| self.put(column, value, cells));
                // Nothing is lost with a null, either.
                (!is_placed && valid(value) != b"null")
                    .then(|| String::from_utf8_lossy(value).into_owned())
            }
            Whole::Fields => {
                let mut rest = Vec::new();
                let mut filled = HashSet::new();
                for (key, value) in parts.fields() {
                    // Of equal keys the first has the column.
                    let column = self
                        .by_key
                        .get(key)
                        .filter(|column| filled.insert(**column));
                    if !column.is_some_and(|column| self.put(*column, value, cells)) {
                        append_member(key, value, &mut rest);
                    }
                }
                rest.extend_from_slice(&parts.more);
                rest.pop()
                    .map(|_comma| format!("{{{}}}", String::from_utf8_lossy(&rest)))
            }
        }
    }

    fn put<'a>(&self, column: usize, value: &'a [u8], cells: &mut [Cell<'a>]) -> bool {
        let cell = self.types.get(column).and_then(|kind| cell(kind, value));
        match (cells.get_mut(column), cell) {
            (Some(place), Some(cell)) => {
                *place = cell;
                true
            }
            _ => false,
        }
    }
}

/// The type of a column, if its leaves are among those that are left; else it is JSON text.
fn within(kind: Type, leaves_left: &mut usize) -> Type {
    let (Type::List(_) | Type::Struct(_)) = kind else {
        return kind;
    };
    match leaves_left.checked_sub(Node::of(&kind).leaves().len()) {
        Some(left) => {
            *leaves_left = left;
            kind
        }
        None => Type::Json,
    }
}

/// A name that none of `taken` is, in whatever case: one that is taken gets [`PREFIX`] in front,
/// and a number behind where that is taken, too.
pub(crate) fn unique(name: String, taken: &mut HashSet<String>) -> String {
    if !name.is_empty() && taken.insert(name.to_lowercase()) {
        return name;
    }
    let prefixed = format!("{PREFIX}{name}");
    let mut next = prefixed.clone();
    let mut number = 2_usize;
    while !taken.insert(next.to_lowercase()) {
        next = format!("{prefixed}_{number}");
        number += 1;
    }
    next
}

/// An input as a cell shows it: a path or text as it is, any other value as JSON.
pub(crate) fn shown_input(shown: &Value) -> Option<String> {
    match shown {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn error<'a>(status: &'a Status<'_>) -> [Cell<'a>; 5] {
    match status {
        Status::Failed(reason) => [
            text(&reason.code),
            text(&reason.message),
            text(reason.blame.as_str()),
            Cell::Integer(reason.attempts.into()),
            reason.function.as_deref().map_or(Cell::Null, text),
        ],
        Status::Completed | Status::Cancelled => [const { Cell::Null }; 5],
    }
}

fn bill(bill: &ShownBill) -> [Cell<'static>; 9] {
    [
        Cell::Number(bill.queue_ms),
        Cell::Number(bill.fetch_ms),
        Cell::Number(bill.run_ms),
        Cell::Number(bill.cpu_ms),
        integer(bill.memory_peak_bytes),
        integer(bill.bytes_in),
        integer(bill.bytes_out),
        Cell::Bool(bill.cached),
        Cell::Number(bill.store_ms),
    ]
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.into())
}

/// Counts, none of which gets near the limit.
fn integer(count: u64) -> Cell<'static> {
    Cell::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use ciborium::{Value as Cbor, cbor};

    use super::super::csv::Separator;
    use super::*;

    fn parts(value: &Cbor) -> Parts {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        Parts::of(&bytes).unwrap()
    }

    fn columns(values: &[Cbor]) -> Columns {
        let mut fields = Fields::new(Nesting::Flat);
        values.iter().for_each(|value| fields.see(&parts(value)));
        Columns::of(fields)
    }

    /// The columns between those that every result has, with their cells and `rest`.
    fn placed(columns: &Columns, value: &Cbor) -> String {
        let parts = parts(value);
        let mut cells = vec![Cell::Null; columns.names.len() - LAST.len()];
        let rest = columns.place(&parts, &mut cells);
        let mut out = Vec::new();
        let fields = cells.get(FIRST.len()..).unwrap();
        super::super::csv::append(fields, Separator::Comma, &mut out);
        format!(
            "{}|{}",
            String::from_utf8(out).unwrap().trim_end(),
            rest.unwrap_or_default()
        )
    }

    #[test]
    fn fields_of_the_first_results_are_columns_in_their_order() {
        let columns = columns(&[
            cbor!({ "b" => 1, "a" => "x" }).unwrap(),
            cbor!({ "c" => [1], "b" => 0.5 }).unwrap(),
        ]);
        let kinds: Vec<_> = columns.iter().skip(FIRST.len()).take(3).collect();
        assert_eq!(
            kinds,
            [("b", &Type::Number), ("a", &Type::Text), ("c", &Type::Json)]
        );
        assert_eq!(
            placed(
                &columns,
                &cbor!({ "a" => "y,", "c" => {"d" => null} }).unwrap()
            ),
            r#","y,","{""d"":null}"|"#
        );
    }

    #[test]
    fn what_no_column_takes_is_in_the_rest() {
        let columns = columns(&[cbor!({ "n" => 1, "text" => "x" }).unwrap()]);
        assert_eq!(
            placed(
                &columns,
                &cbor!({ "n" => 2, "new" => [1], "text" => 5 }).unwrap()
            ),
            r#"2,|{"new":[1],"text":5}"#
        );
        assert_eq!(placed(&columns, &cbor!([1, "a"]).unwrap()), r#",|[1,"a"]"#);
        assert_eq!(placed(&columns, &cbor!("text").unwrap()), r#",|"text""#);
        assert_eq!(placed(&columns, &Cbor::Null), ",|");
        let twice = Cbor::Map(vec![
            (Cbor::from("n"), Cbor::from(1)),
            (Cbor::from("n"), Cbor::from(2)),
        ]);
        assert_eq!(placed(&columns, &twice), r#"1,|{"n":2}"#);
    }

    #[test]
    fn values_without_fields_have_one_column() {
        let columns = columns(&[Cbor::from(1), Cbor::from(2)]);
        assert_eq!(
            columns.iter().nth(FIRST.len()),
            Some(("value", &Type::Integer))
        );
        assert_eq!(placed(&columns, &Cbor::from(3)), "3|");
        assert_eq!(
            placed(&columns, &cbor!({ "a" => 1 }).unwrap()),
            r#"|{"a":1}"#
        );
        assert_eq!(placed(&columns, &Cbor::from("x")), r#"|"x""#);
    }

    #[test]
    fn names_that_are_taken_get_a_prefix() {
        let columns = columns(&[
            cbor!({ "Status" => 1, "value" => 2, "a" => 3, "A" => 4, "" => 5, "value_value" => 6 })
                .unwrap(),
        ]);
        let names = columns
            .names
            .get(FIRST.len()..columns.names.len() - LAST.len())
            .unwrap();
        assert_eq!(
            names,
            [
                "value_Status",
                "value_value",
                "a",
                "value_A",
                "value_",
                "value_value_value"
            ]
        );
        let all: HashSet<_> = columns
            .names
            .iter()
            .map(|name| name.to_lowercase())
            .collect();
        assert_eq!(all.len(), columns.names.len());
    }

    #[test]
    fn names_that_collide_again_and_again_stay_short() {
        let mut taken = HashSet::new();
        let names: Vec<String> = (0..512_u32)
            .map(|bits| {
                let spelled = (0..9).map(|n| if bits >> n & 1 == 1 { 'A' } else { 'a' });
                unique(spelled.collect(), &mut taken)
            })
            .collect();
        assert!(names.iter().all(|name| name.len() < 9 + PREFIX.len() + 5));
        assert_eq!(taken.len(), 512);
    }

    #[test]
    fn nested_columns_have_a_bound_together() {
        let map = |wide: usize| {
            let inner = (0..wide).map(|n| (Cbor::from(format!("k{n}")), Cbor::from(1)));
            Cbor::Map(inner.collect())
        };
        let wide = Cbor::Map(
            (0..40)
                .map(|n| (Cbor::from(format!("column{n}")), map(50)))
                .collect(),
        );
        let mut fields = Fields::new(Nesting::Nested);
        fields.see(&parts(&wide));
        let columns = Columns::of(fields);
        let nested = columns
            .iter()
            .filter(|(_, kind)| matches!(kind, Type::Struct(_)));
        assert_eq!(nested.count(), NESTED_LEAVES_MAX / 50);
    }

    #[test]
    fn columns_are_bounded() {
        let map = |from: usize| {
            Cbor::Map(
                (from..from + 300)
                    .map(|n| (Cbor::from(format!("k{n}")), Cbor::from(n as u64)))
                    .collect(),
            )
        };
        let columns = columns(&[map(0), map(300)]);
        assert_eq!(columns.by_key.len(), FIELDS_MAX);
        assert!(placed(&columns, &map(300)).ends_with(r#""k599":599}"#));
    }
}
