//! Infers the types of columns and cells from the text of fields.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::json::valid;

/// Leaves of one column. What nests wider is JSON text: a map whose keys are data rather than names
/// would otherwise get a column for each.
pub(crate) const LEAVES_MAX: usize = 64;
/// How deep columns nest. What nests deeper is JSON text.
pub(crate) const NESTING_MAX: usize = 8;

/// Integers up to here are the same as floating point numbers.
const EXACT_MAX: u64 = 1 << 53;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
    /// A list or map that fits into the nested column it is for, as JSON.
    Nested(&'a str),
}

/// What a column holds beside nulls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// 64 bits, with a sign.
    Integer,
    /// Floating point, 64 bits.
    Number,
    Text,
    /// Anything, as JSON text.
    Json,
    List(Box<Type>),
    /// Fields by their keys, at least one.
    Struct(Vec<(String, Type)>),
}

/// Whether lists and maps may have nested columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// They are JSON text.
    Flat,
    Nested,
}

/// What was seen of a column so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nulls only.
    Nothing,
    Bool,
    Integer,
    /// Integers, some of which floating point has no place for.
    LargeInteger,
    Number,
    Text,
    List(Box<Seen>),
    /// Fields by their keys, in the order in which they were seen.
    Map(Vec<(String, Seen)>),
    /// This and that.
    Anything,
}

/// What a column of lists or maps nests.
enum Nested {
    /// This, with so many leaves.
    Known(Type, usize),
    /// Nothing was there to see.
    Unknown,
    /// This and that.
    Mixed,
}

impl Seen {
    /// What the text of a part is, as [`crate::json::Parts`] has it.
    pub(crate) fn of(part: &[u8], nesting: Nesting) -> Self {
        match part {
            [b'[' | b'{', ..] if nesting == Nesting::Nested => seen_nested(part),
            [b'n', ..] => Self::Nothing,
            [b't' | b'f', ..] => Self::Bool,
            [b'"', ..] => Self::Text,
            [b'N' | b'I', ..] | [b'-', b'I', ..] => Self::Number,
            [b'-' | b'0'..=b'9', ..] => number(part),
            _ => Self::Anything,
        }
    }

    /// What has seen both.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Integer, Self::LargeInteger) | (Self::LargeInteger, Self::Integer) => {
                Self::LargeInteger
            }
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            (Self::List(one), Self::List(other)) => Self::List(Box::new(one.and(*other))),
            (Self::Map(fields), Self::Map(others)) => merged(fields, others),
            _ => Self::Anything,
        }
    }

    /// The type of a column where this was seen.
    pub(crate) fn column(self) -> Type {
        match self {
            Self::Bool => Type::Bool,
            Self::Integer | Self::LargeInteger => Type::Integer,
            Self::Number => Type::Number,
            Self::Text => Type::Text,
            // Where nothing is known everything fits.
            Self::Anything | Self::Nothing => Type::Json,
            Self::List(_) | Self::Map(_) => match self.nested() {
                Nested::Known(kind, leaves) if leaves <= LEAVES_MAX => kind,
                Nested::Known(..) | Nested::Unknown | Nested::Mixed => Type::Json,
            },
        }
    }

    fn nested(self) -> Nested {
        match self {
            Self::Anything => Nested::Mixed,
            Self::Nothing => Nested::Unknown,
            Self::List(item) => match item.nested() {
                Nested::Known(kind, leaves) => Nested::Known(Type::List(Box::new(kind)), leaves),
                other @ (Nested::Unknown | Nested::Mixed) => other,
            },
            Self::Map(fields) => {
                let (mut kinds, mut all) = (Vec::with_capacity(fields.len()), 0);
                for (key, seen) in fields {
                    let (kind, leaves) = match seen.nested() {
                        Nested::Known(kind, leaves) => (kind, leaves),
                        // Only nulls, and what has nothing in it, were there so far.
                        Nested::Unknown => (Type::Json, 1),
                        Nested::Mixed => return Nested::Mixed,
                    };
                    kinds.push((key, kind));
                    all += leaves;
                }
                match all {
                    0 => Nested::Unknown,
                    all => Nested::Known(Type::Struct(kinds), all),
                }
            }
            Self::Bool | Self::Integer | Self::LargeInteger | Self::Number | Self::Text => {
                Nested::Known(self.column(), 1)
            }
        }
    }

    /// An integer, if it has 64 bits with a sign.
    pub(crate) fn integer(value: Option<i64>) -> Self {
        match value {
            Some(value) if value.unsigned_abs() <= EXACT_MAX => Self::Integer,
            Some(_) => Self::LargeInteger,
            None => Self::Anything,
        }
    }
}

fn number(part: &[u8]) -> Seen {
    if part.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Seen::Number;
    }
    Seen::integer(text(part).parse().ok())
}

/// What the text of a list or map nests; [`Seen::Anything`] where that is too much.
fn seen_nested(part: &[u8]) -> Seen {
    let mut reader = serde_json::Deserializer::from_slice(part);
    let see = See {
        nesting_left: NESTING_MAX,
    };
    see.deserialize(&mut reader).unwrap_or(Seen::Anything)
}

/// Sees the next value.
#[derive(Clone, Copy)]
struct See {
    nesting_left: usize,
}

impl See {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        Ok(Self {
            nesting_left: self.nesting_left.checked_sub(1).ok_or_else(too_much)?,
        })
    }
}

fn too_much<E: serde::de::Error>() -> E {
    E::custom("it nests too much")
}

impl<'de> DeserializeSeed<'de> for See {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for See {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::Bool)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::integer(i64::try_from(value).ok()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Seen, E> {
        Ok(Seen::integer(Some(value)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::Number)
    }

    fn visit_str<E>(self, _: &str) -> Result<Seen, E> {
        Ok(Seen::Text)
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
        let mut all = Seen::Nothing;
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            all = all.and(item);
        }
        Ok(Seen::List(Box::new(all)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Seen, A::Error> {
        let mut fields: Vec<(String, Seen)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inner()?)?;
            add(&mut fields, key, value).map_err(|_| too_much())?;
        }
        Ok(Seen::Map(fields))
    }
}

/// Fields of both, each once; more than a column has leaves for are anything.
fn merged(mut fields: Vec<(String, Seen)>, others: Vec<(String, Seen)>) -> Seen {
    for (key, seen) in others {
        if add(&mut fields, key, seen).is_err() {
            return Seen::Anything;
        }
    }
    Seen::Map(fields)
}

/// There are more fields than a column has leaves for.
struct TooMany;

/// A field was seen, perhaps again.
fn add(fields: &mut Vec<(String, Seen)>, key: String, seen: Seen) -> Result<(), TooMany> {
    if let Some((_, before)) = fields.iter_mut().find(|(name, _)| *name == key) {
        *before = std::mem::replace(before, Seen::Nothing).and(seen);
        return Ok(());
    }
    if fields.len() < LEAVES_MAX {
        fields.push((key, seen));
        Ok(())
    } else {
        Err(TooMany)
    }
}

impl Type {
    /// The cell of a column of this type for the text of a part that is no list and no map; none if
    /// the column cannot hold it as it is.
    pub(crate) fn cell<'a>(&self, part: &'a [u8]) -> Option<Cell<'a>> {
        let seen = Seen::of(part, Nesting::Flat);
        match (self, seen) {
            (_, Seen::Nothing) => Some(Cell::Null),
            (Self::Json, _) => Some(json(part)),
            (Self::Bool, Seen::Bool) => Some(Cell::Bool(part.first() == Some(&b't'))),
            (Self::Integer, Seen::Integer | Seen::LargeInteger) => {
                text(part).parse().ok().map(Cell::Integer)
            }
            (Self::Number, Seen::Integer | Seen::Number) => float(part).map(Cell::Number),
            (Self::Text, Seen::Text) => serde_json::from_slice(part)
                .ok()
                .map(|text| Cell::Text(Cow::Owned(text))),
            _ => None,
        }
    }
}

fn json(part: &[u8]) -> Cell<'_> {
    match text(valid(part)) {
        "null" => Cell::Null,
        text => Cell::Text(text.into()),
    }
}

fn float(part: &[u8]) -> Option<f64> {
    match part {
        [b'N', ..] => Some(f64::NAN),
        [b'I', ..] => Some(f64::INFINITY),
        [b'-', b'I', ..] => Some(f64::NEG_INFINITY),
        other => text(other).parse().ok(),
    }
}

/// Parts are JSON, so they are text.
fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type of a column that has all of these, and its cells.
    fn column(parts: &[&str]) -> (Type, Vec<Option<Cell<'static>>>) {
        let seen = parts
            .iter()
            .map(|part| Seen::of(part.as_bytes(), Nesting::Flat))
            .fold(Seen::Nothing, Seen::and);
        let owned = |cell: Cell<'_>| match cell {
            Cell::Text(text) => Cell::Text(text.into_owned().into()),
            Cell::Null => Cell::Null,
            Cell::Bool(value) => Cell::Bool(value),
            Cell::Integer(value) => Cell::Integer(value),
            Cell::Number(value) => Cell::Number(value),
            Cell::Nested(_) => panic!("nothing nests here"),
        };
        let kind = seen.column();
        let cells = parts
            .iter()
            .map(|part| kind.cell(part.as_bytes()).map(owned))
            .collect();
        (kind, cells)
    }

    fn json(texts: &[&'static str]) -> (Type, Vec<Option<Cell<'static>>>) {
        (
            Type::Json,
            texts
                .iter()
                .map(|text| Some(Cell::Text((*text).into())))
                .collect(),
        )
    }

    #[test]
    fn what_is_alike_has_a_column_of_its_type() {
        use Cell::{Bool, Integer, Null, Number};
        assert_eq!(
            column(&["true", "null", "false"]),
            (
                Type::Bool,
                vec![Some(Bool(true)), Some(Null), Some(Bool(false))]
            )
        );
        let large = i64::MAX.to_string();
        assert_eq!(
            column(&["-1", &large]),
            (
                Type::Integer,
                vec![Some(Integer(-1)), Some(Integer(i64::MAX))]
            )
        );
        let wide = [
            Some(Number(1.0)),
            Some(Number(2.5)),
            Some(Number(f64::INFINITY)),
            Some(Number(1e300)),
        ];
        assert_eq!(
            column(&["1", "2.5", "Infinity", "1e300"]),
            (Type::Number, wide.to_vec())
        );
        assert_eq!(
            column(&[r#""a\n\"""#]),
            (Type::Text, vec![Some(Cell::Text("a\n\"".into()))])
        );
    }

    #[test]
    fn what_is_not_alike_has_a_column_of_json() {
        let (large, larger) = ("9007199254740993", "18446744073709551615");
        assert_eq!(column(&[large, "0.5"]), json(&[large, "0.5"]));
        assert_eq!(column(&["1", larger]), json(&["1", larger]));
        assert_eq!(column(&["1", "\"1\"", "[2]"]), json(&["1", "\"1\"", "[2]"]));
        assert_eq!(column(&["{}"]), json(&["{}"]));
        // Which has no word for it.
        assert_eq!(column(&["NaN", "true"]).1.first(), Some(&Some(Cell::Null)));
    }

    #[test]
    fn what_comes_later_fits_or_it_does_not() {
        assert_eq!(Type::Integer.cell(b"0.5"), None);
        assert_eq!(Type::Number.cell(b"9007199254740993"), None);
        assert_eq!(
            Type::Number.cell(b"9007199254740992"),
            Some(Cell::Number(9_007_199_254_740_992.0))
        );
        assert_eq!(
            (
                Type::Text.cell(b"1"),
                Type::Bool.cell(b"1"),
                Type::Integer.cell(b"18446744073709551615")
            ),
            (None, None, None)
        );
        assert_eq!(
            Seen::Nothing.column().cell(b"[1]"),
            Some(Cell::Text("[1]".into()))
        );
    }
}
