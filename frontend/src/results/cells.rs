//! Infers the types of columns and cells from the text of fields.

use std::borrow::Cow;

use crate::json::valid;

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
}

/// What a column holds beside nulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    /// 64 bits, with a sign.
    Integer,
    /// Floating point, 64 bits.
    Number,
    Text,
    /// Anything, as JSON text.
    Json,
}

/// What was seen of a column so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nulls only.
    Nothing,
    Bool,
    Integer,
    /// Integers, some of which floating point has no place for.
    LargeInteger,
    Number,
    Text,
    /// Lists, maps, or this and that.
    Anything,
}

impl Seen {
    /// What the text of a part is, as [`crate::json::Parts`] has it.
    pub(crate) fn of(part: &[u8]) -> Self {
        match part {
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
        }
    }
}

fn number(part: &[u8]) -> Seen {
    if part.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return Seen::Number;
    }
    match text(part).parse::<i64>() {
        Ok(value) if value.unsigned_abs() <= EXACT_MAX => Seen::Integer,
        Ok(_) => Seen::LargeInteger,
        Err(_) => Seen::Anything,
    }
}

impl Type {
    /// The cell of a column of this type for the text of a part; none if the column cannot hold it
    /// as it is.
    pub(crate) fn cell(self, part: &[u8]) -> Option<Cell<'_>> {
        let seen = Seen::of(part);
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
            .map(|part| Seen::of(part.as_bytes()))
            .fold(Seen::Nothing, Seen::and);
        let owned = |cell: Cell<'_>| match cell {
            Cell::Text(text) => Cell::Text(text.into_owned().into()),
            Cell::Null => Cell::Null,
            Cell::Bool(value) => Cell::Bool(value),
            Cell::Integer(value) => Cell::Integer(value),
            Cell::Number(value) => Cell::Number(value),
        };
        (
            seen.column(),
            parts
                .iter()
                .map(|part| seen.column().cell(part.as_bytes()).map(owned))
                .collect(),
        )
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
