//! Reads what a parameter takes from its type as written, and makes values of that type from text.
//!
//! A signature has the types of its parameters as their author wrote them, in Rust. The types that
//! most functions take are known here: numbers, text, booleans, and options, lists, maps and tuples
//! of them. A value is then made as its type needs it, or refused before anything runs: an integer
//! is a fine number with a fraction, `42` is a fine text. Of any other type JSON is passed on as it
//! is, and what is not JSON as a text: the function decides.

use std::fmt;

use serde_json::{Number, Value};
use sortie::Input;

/// How deep types may nest. What lies deeper is passed on as it is.
const NESTING_MAX: usize = 16;
/// How much of a text an error shows.
const SHOWN_BYTES_MAX: usize = 80;

/// What a parameter takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Type {
    /// An integer between these, both included.
    Integer(i128, i128),
    Float,
    Bool,
    Text,
    Char,
    Nothing,
    Option(Box<Type>),
    /// So many of them, if that is said.
    List(Box<Type>, Option<usize>),
    /// With text for keys.
    Map(Box<Type>),
    Tuple(Vec<Type>),
    /// Not known here.
    Any,
}

impl Type {
    /// The type that is written so.
    pub(crate) fn of(written: &str) -> Self {
        Self::within(written, NESTING_MAX)
    }

    fn within(written: &str, nesting_left: usize) -> Self {
        let written = written.trim();
        let Some(left) = nesting_left.checked_sub(1) else {
            return Self::Any;
        };
        let inner = |text: &str| Box::new(Self::within(text, left));
        if let Some(items) = between(written, '(', ')') {
            let parts = split(items);
            return match parts.len() {
                0 => Self::Nothing,
                _ => Self::Tuple(parts.iter().map(|part| Self::within(part, left)).collect()),
            };
        }
        if let Some(items) = between(written, '[', ']') {
            return match items.rsplit_once(';') {
                Some((item, count)) => match count.trim().parse() {
                    Ok(count) => Self::List(inner(item), Some(count)),
                    Err(_) => Self::Any,
                },
                None => Self::List(inner(items), None),
            };
        }
        let (path, parameters) = match written.split_once('<') {
            Some((path, rest)) => (path, rest.strip_suffix('>').map(split).unwrap_or_default()),
            None => (written, Vec::new()),
        };
        let name = path.rsplit("::").next().unwrap_or_default().trim();
        match (name, &*parameters) {
            ("Option", [item]) => Self::Option(inner(item)),
            ("Box" | "Arc" | "Rc", [item]) => Self::within(item, left),
            ("Vec" | "VecDeque" | "BTreeSet" | "HashSet", [item]) => Self::List(inner(item), None),
            ("BTreeMap" | "HashMap", [key, item]) if *inner(key) == Self::Text => {
                Self::Map(inner(item))
            }
            (name, []) => Self::named(name),
            _ => Self::Any,
        }
    }

    fn named(name: &str) -> Self {
        match name {
            "String" | "str" => Self::Text,
            "char" => Self::Char,
            "bool" => Self::Bool,
            "f32" | "f64" => Self::Float,
            "i8" => Self::Integer(i8::MIN.into(), i8::MAX.into()),
            "i16" => Self::Integer(i16::MIN.into(), i16::MAX.into()),
            // Functions are compiled for 32 bits.
            "i32" | "isize" => Self::Integer(i32::MIN.into(), i32::MAX.into()),
            "i64" => Self::Integer(i64::MIN.into(), i64::MAX.into()),
            "u8" => Self::Integer(0, u8::MAX.into()),
            "u16" => Self::Integer(0, u16::MAX.into()),
            "u32" | "usize" => Self::Integer(0, u32::MAX.into()),
            "u64" => Self::Integer(0, u64::MAX.into()),
            "NonZeroU8" => Self::Integer(1, u8::MAX.into()),
            "NonZeroU16" => Self::Integer(1, u16::MAX.into()),
            "NonZeroU32" | "NonZeroUsize" => Self::Integer(1, u32::MAX.into()),
            "NonZeroU64" => Self::Integer(1, u64::MAX.into()),
            _ => Self::Any,
        }
    }

    /// The argument that a text is, and how results show it.
    ///
    /// # Errors
    /// What the type takes instead.
    pub(crate) fn read(&self, text: &str) -> Result<(Input, Value), String> {
        let json = || serde_json::from_str(text).ok();
        let (value, shown) = match self {
            Self::Text => {
                let text = match json() {
                    Some(Value::String(text)) => text,
                    _ => text.to_owned(),
                };
                (Value::String(text.clone()), Value::String(text))
            }
            Self::Option(item) if json() != Some(Value::Null) => return item.read(text),
            Self::Char if text.chars().count() == 1 => {
                (Value::String(text.into()), Value::String(text.into()))
            }
            Self::Float if beyond(text).is_some() => {
                return Ok((sortie::value(beyond(text)), Value::String(text.into())));
            }
            Self::Any => {
                let value = json().unwrap_or_else(|| Value::String(text.into()));
                (value.clone(), value)
            }
            _ => {
                let given = json().ok_or_else(|| self.wanted(text))?;
                (self.fit(&given)?, given)
            }
        };
        Ok((sortie::value(&value), shown))
    }

    /// The argument that a value of JSON is.
    ///
    /// # Errors
    /// What the type takes instead.
    pub(crate) fn take(&self, given: &Value) -> Result<Input, String> {
        self.fit(given).map(|value| sortie::value(&value))
    }

    /// The value as the type needs it.
    fn fit(&self, given: &Value) -> Result<Value, String> {
        let refused = || self.wanted(&given.to_string());
        match (self, given) {
            (Self::Any, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_))
            | (Self::Nothing | Self::Option(_), Value::Null) => Ok(given.clone()),
            (Self::Char, Value::String(text)) if text.chars().count() == 1 => Ok(given.clone()),
            (Self::Option(item), given) => item.fit(given),
            (Self::Float, Value::Number(number)) => number
                .as_f64()
                .and_then(Number::from_f64)
                .map(Value::Number)
                .ok_or_else(refused),
            (Self::Integer(min, max), Value::Number(number)) => {
                let whole = whole(number).filter(|whole| (min..=max).contains(&whole));
                whole
                    .and_then(Number::from_i128)
                    .map(Value::Number)
                    .ok_or_else(refused)
            }
            (Self::List(item, count), Value::Array(items))
                if count.is_none_or(|count| count == items.len()) =>
            {
                items.iter().map(|given| item.fit(given)).collect()
            }
            (Self::Tuple(types), Value::Array(items)) if types.len() == items.len() => {
                let each = types.iter().zip(items);
                each.map(|(item, given)| item.fit(given)).collect()
            }
            (Self::Map(item), Value::Object(fields)) => fields
                .iter()
                .map(|(key, given)| Ok((key.clone(), item.fit(given)?)))
                .collect(),
            _ => Err(refused()),
        }
    }

    /// Whether some value of the type `given` is one of this type, other than an empty list or map.
    /// A function reads integers and fractions as what they were written.
    pub(crate) fn can_be(&self, given: &Self) -> bool {
        match (self, given) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Option(item), Self::Option(given)) => item.can_be(given),
            (Self::Option(_), Self::Nothing) | (Self::Nothing, Self::Option(_)) => true,
            (Self::Option(item), given) => item.can_be(given),
            (item, Self::Option(given)) => item.can_be(given),
            (Self::Integer(min, max), Self::Integer(least, most)) => min <= most && least <= max,
            (Self::Float, Self::Float) | (Self::Bool, Self::Bool) => true,
            (Self::Nothing, Self::Nothing) => true,
            (Self::Text | Self::Char, Self::Text | Self::Char) => true,
            (Self::List(item, count), Self::List(given, given_count)) => {
                let is_count = match (count, given_count) {
                    (Some(count), Some(given_count)) => count == given_count,
                    _ => true,
                };
                is_count && item.can_be(given)
            }
            (Self::List(item, count), Self::Tuple(given)) => {
                count.is_none_or(|count| count == given.len())
                    && given.iter().all(|given| item.can_be(given))
            }
            (Self::Tuple(items), Self::List(given, count)) => {
                count.is_none_or(|count| count == items.len())
                    && items.iter().all(|item| item.can_be(given))
            }
            (Self::Tuple(items), Self::Tuple(given)) => {
                items.len() == given.len()
                    && items
                        .iter()
                        .zip(given)
                        .all(|(item, given)| item.can_be(given))
            }
            (Self::Map(item), Self::Map(given)) => item.can_be(given),
            _ => false,
        }
    }

    /// What a list of any length has, if this takes such lists: `None` if it takes none.
    pub(crate) fn item_of_list(&self) -> Option<&Self> {
        match self {
            Self::Any => Some(&Self::Any),
            Self::Option(list) => list.item_of_list(),
            Self::List(item, None) => Some(item),
            _ => None,
        }
    }

    fn wanted(&self, text: &str) -> String {
        let shown = sortie::protocol::outcome::cut(text.into(), SHOWN_BYTES_MAX);
        format!("takes {self}, not `{shown}`")
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(min, max) => write!(f, "an integer from {min} to {max}"),
            Self::Float => f.write_str("a number"),
            Self::Bool => f.write_str("`true` or `false`"),
            Self::Text => f.write_str("a text (in JSON in quotes)"),
            Self::Char => f.write_str("one character"),
            Self::Nothing => f.write_str("`null`"),
            Self::Option(item) => write!(f, "{item}, or `null`"),
            Self::List(_, Some(count)) => write!(f, "a JSON array of {count}"),
            Self::List(_, None) => f.write_str("a JSON array"),
            Self::Tuple(types) => write!(f, "a JSON array of {}", types.len()),
            Self::Map(_) => f.write_str("a JSON object"),
            Self::Any => f.write_str("any value"),
        }
    }
}

/// A number as an integer, if it has no fraction and nothing was rounded.
fn whole(number: &Number) -> Option<i128> {
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    if let Some(whole) = number.as_i128() {
        return Some(whole);
    }
    let float = number.as_f64()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is an integer of 54 bits"
    )]
    (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i128)
}

/// A number that JSON has no word for.
fn beyond(text: &str) -> Option<f64> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match rest.to_ascii_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "infinity" => Some(sign * f64::INFINITY),
        _ => None,
    }
}

/// What stands between these, if they are the first character and the last.
fn between(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// The parts of a list, between commas that are not within brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(written: &str, text: &str) -> Result<(Input, Value), String> {
        Type::of(written).read(text)
    }

    #[track_caller]
    fn reads(written: &str, text: &str, input: Input, shown: Value) {
        assert_eq!(read(written, text), Ok((input, shown)), "{written}: {text}");
    }

    #[test]
    fn numbers_are_made_as_their_parameter_needs_them() {
        reads("f64", "5", sortie::value(5.0), json!(5));
        reads("f32", "0.5", sortie::value(0.5), json!(0.5));
        reads("u8", "5.0", sortie::value(5), json!(5.0));
        reads("i64", "-3", sortie::value(-3), json!(-3));
        reads(
            "u64",
            "18446744073709551615",
            sortie::value(u64::MAX),
            json!(u64::MAX),
        );
        reads(
            "f64",
            "-inf",
            sortie::value(f64::NEG_INFINITY),
            json!("-inf"),
        );
        reads("Option<f64>", "2", sortie::value(2.0), json!(2));
        reads("Option<f64>", "null", sortie::value(()), json!(null));
        reads(
            "Vec<f64>",
            "[1, 2.5]",
            sortie::value([1.0, 2.5]),
            json!([1, 2.5]),
        );
        reads(
            "(u8, f64)",
            "[1.0, 2]",
            sortie::value((1, 2.0)),
            json!([1.0, 2]),
        );
        let map = std::collections::BTreeMap::from([("a", 1.0)]);
        reads(
            "std::collections::HashMap<String, f32>",
            r#"{"a": 1}"#,
            sortie::value(map),
            json!({ "a": 1 }),
        );
    }

    #[test]
    fn a_number_is_the_nearest_that_there_is() {
        for (text, number) in [
            (
                "2.2250738585072011e-308",
                f64::from_bits(0x000f_ffff_ffff_ffff),
            ),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
            ("8.8989023e-308", 8.898_902_3e-308),
        ] {
            reads("f64", text, sortie::value(number), json!(number));
            let list = format!("[{text}]");
            reads("Vec<f64>", &list, sortie::value([number]), json!([number]));
        }
    }

    #[test]
    fn a_text_is_taken_as_it_is() {
        for text in [
            "42",
            "true",
            "null",
            "[1]",
            "{\"a\":1}",
            "plain",
            "1e5",
            " x ",
        ] {
            reads("String", text, sortie::value(text), json!(text));
        }
        reads("String", "\"42\"", sortie::value("42"), json!("42"));
        reads("Option<String>", "42", sortie::value("42"), json!("42"));
        reads("char", "4", sortie::value("4"), json!("4"));
    }

    #[test]
    fn what_no_type_is_known_of_is_json_or_else_a_text() {
        for written in [
            "Settings",
            "Vec<Vec",
            "serde_json::Value",
            "HashMap<u8, u8>",
            "",
        ] {
            reads(written, "42", sortie::value(42), json!(42));
            reads(written, "x y", sortie::value("x y"), json!("x y"));
        }
        let deep = "Option<".repeat(100) + "u8" + &">".repeat(100);
        reads(&deep, "300", sortie::value(300), json!(300));
        // A function writes its types, and may write any.
        let deep = "BTreeMap<".repeat(100_000) + "u8" + &",u8>".repeat(100_000);
        reads(&deep, "300", sortie::value(300), json!(300));
    }

    #[test]
    fn a_result_can_be_an_argument_unless_no_value_of_it_is() {
        for (takes, given) in [
            ("u8", "i64"),
            ("Option<u64>", "u64"),
            ("u64", "Option<u64>"),
            ("Option<u64>", "()"),
            ("()", "Option<u64>"),
            ("String", "char"),
            ("Vec<u64>", "BTreeSet<u8>"),
            ("Vec<u64>", "(u8, u16)"),
            ("(u8, u16)", "Vec<u32>"),
            ("[f64; 2]", "Vec<f64>"),
            ("HashMap<String, u64>", "BTreeMap<String, u64>"),
            ("Settings", "u64"),
            ("Vec<u64>", "Document"),
            ("serde_json::Value", "Vec<Document>"),
        ] {
            assert!(Type::of(takes).can_be(&Type::of(given)), "{takes}: {given}");
        }
        for (takes, given) in [
            ("String", "u64"),
            ("u64", "String"),
            ("f64", "u64"),
            ("u64", "f64"),
            ("NonZeroU8", "bool"),
            ("u64", "()"),
            ("u64", "Vec<u64>"),
            ("Vec<u64>", "u64"),
            ("Vec<u64>", "Vec<String>"),
            ("Vec<u64>", "(u64, String)"),
            ("(u8, u16)", "[u8; 3]"),
            ("(u8, u16)", "(u8, u16, u32)"),
            ("[f64; 2]", "[f64; 3]"),
            ("HashMap<String, u64>", "BTreeMap<String, String>"),
            ("HashMap<String, u64>", "Vec<u64>"),
            ("Option<String>", "u64"),
        ] {
            assert!(
                !Type::of(takes).can_be(&Type::of(given)),
                "{takes}: {given}"
            );
        }
    }

    #[test]
    fn a_list_is_what_takes_any_number() {
        assert_eq!(Type::of("Vec<u64>").item_of_list(), Some(&Type::of("u64")));
        assert_eq!(Type::of("Counts").item_of_list(), Some(&Type::Any));
        for written in ["u64", "(u64, u64)", "[u64; 3]", "HashMap<String, u64>"] {
            assert_eq!(Type::of(written).item_of_list(), None, "{written}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        for (written, text, wanted) in [
            ("u8", "256", "takes an integer from 0 to 255, not `256`"),
            ("u8", "-1", "takes an integer from 0 to 255, not `-1`"),
            (
                "u64",
                "abc",
                "takes an integer from 0 to 18446744073709551615, not `abc`",
            ),
            ("i64", "0.5", "not `0.5`"),
            ("i64", "1e300", "not `1e+300`"),
            ("f64", "abc", "takes a number, not `abc`"),
            ("bool", "1", "takes `true` or `false`, not `1`"),
            ("Vec<u8>", "7", "takes a JSON array, not `7`"),
            (
                "Vec<u8>",
                "[1,300]",
                "takes an integer from 0 to 255, not `300`",
            ),
            (
                "Vec<String>",
                "[1]",
                "takes a text (in JSON in quotes), not `1`",
            ),
            ("[f64; 3]", "[1,2]", "takes a JSON array of 3, not `[1,2]`"),
            ("Option<u8>", "x", "takes an integer from 0 to 255, not `x`"),
            ("NonZeroU32", "0", "takes an integer from 1"),
        ] {
            let refused = read(written, text).unwrap_err();
            assert!(refused.contains(wanted), "{written}: {refused}");
        }
    }
}
