//! Splits a value into its fields, for tables: takes CBOR and returns the text of each field.
//!
//! As little is built as in [`super`]: one text, and where the fields are in it, of which at most
//! [`FIELDS_MAX`] are told apart. Only the value itself is taken apart, not what its fields hold.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess as _,
    Visitor,
};

use super::{Key, Numbers, Tagged, Text, Within, reason};

/// Fields of a map that are told apart; further ones stay one text. A table with more columns is
/// nothing that a person reads, and each takes memory beyond its text.
pub(crate) const FIELDS_MAX: usize = 500;

/// A value whose fields are looked at one by one: the parts of its text.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    text: Vec<u8>,
    /// Where the fields are, of a value that is a map.
    fields: Option<Vec<Field>>,
    /// The fields past [`FIELDS_MAX`], as members of a JSON object, each with a comma behind it.
    pub(crate) more: Vec<u8>,
}

#[derive(Debug)]
struct Field {
    key: Range<usize>,
    value: Range<usize>,
}

/// What a value is.
pub(crate) enum Whole<'a> {
    /// No map: its text.
    One(&'a [u8]),
    /// A map.
    Fields,
}

impl Parts {
    /// Take the value that `cbor` holds apart. The text of parts is that of [`write`], except that
    /// it is exact: integers of any size are digits, and what is no number is `NaN`, `Infinity`
    /// or `-Infinity`, which [`valid`] makes JSON of.
    ///
    /// # Errors
    /// Why `cbor` is not one CBOR item.
    pub(crate) fn of(cbor: &[u8]) -> Result<Self, String> {
        let mut left = cbor;
        let parts: Self = ciborium::from_reader(&mut left).map_err(|error| reason(&error))?;
        if left.is_empty() {
            Ok(parts)
        } else {
            Err(format!("{} bytes follow the value", left.len()))
        }
    }

    pub(crate) fn whole(&self) -> Whole<'_> {
        if self.fields.is_some() {
            Whole::Fields
        } else {
            Whole::One(&self.text)
        }
    }

    /// The fields of a map, at most [`FIELDS_MAX`]: each key as a JSON string, and the text of its
    /// value.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let part = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default();
        self.fields
            .iter()
            .flatten()
            .map(move |field| (part(&field.key), part(&field.value)))
    }

    /// How much text it is.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.more.len()
    }

    /// The text from `start` on is a field's, whose key ends at `middle`.
    fn add(&mut self, start: usize, middle: usize) {
        let fields = self.fields.get_or_insert_default();
        if fields.len() < FIELDS_MAX {
            fields.push(Field {
                key: start..middle,
                value: middle..self.text.len(),
            });
            return;
        }
        let (key, value) = self
            .text
            .get(start..)
            .and_then(|field| field.split_at_checked(middle - start))
            .unwrap_or_default();
        append_member(key, value, &mut self.more);
        self.text.truncate(start);
    }
}

/// Append a member of a JSON object, and a comma.
pub(crate) fn append_member(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.push(b':');
    out.extend_from_slice(valid(value));
    out.push(b',');
}

/// The text of a part as JSON has it.
pub(crate) fn valid(part: &[u8]) -> &[u8] {
    match part {
        [b'N' | b'I', ..] | [b'-', b'I', ..] => b"null",
        other => other,
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut parts = Self::default();
        deserializer.deserialize_any(Apart(&mut parts))?;
        Ok(parts)
    }
}

/// Takes the next value apart. What is no map is written by [`Text`].
struct Apart<'a>(&'a mut Parts);

impl Apart<'_> {
    fn text(&mut self) -> Text<'_> {
        Text {
            out: &mut self.0.text,
            depth: None,
            numbers: Numbers::Exact,
            within: Within::Value,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Apart<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Apart<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CBOR item")
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        self.text().visit_bool(value)
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.text().visit_u64(value)
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.text().visit_i64(value)
    }

    fn visit_u128<E: Error>(mut self, value: u128) -> Result<(), E> {
        self.text().visit_u128(value)
    }

    fn visit_i128<E: Error>(mut self, value: i128) -> Result<(), E> {
        self.text().visit_i128(value)
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.text().visit_f64(value)
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        self.text().visit_str(value)
    }

    fn visit_bytes<E: Error>(mut self, value: &[u8]) -> Result<(), E> {
        self.text().visit_bytes(value)
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.text().visit_unit()
    }

    fn visit_none<E: Error>(mut self) -> Result<(), E> {
        self.text().visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, items: A) -> Result<(), A::Error> {
        self.text().visit_seq(items)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.0.fields = Some(Vec::new());
        loop {
            let start = self.0.text.len();
            let key = Key {
                out: &mut self.0.text,
                within: Within::Value,
            };
            if entries.next_key_seed(key)?.is_none() {
                return Ok(());
            }
            let middle = self.0.text.len();
            entries.next_value_seed(self.text())?;
            self.0.add(start, middle);
        }
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_, content) = tagged.variant::<serde::de::IgnoredAny>()?;
        content.tuple_variant(2, Tagged(self))
    }
}

#[cfg(test)]
mod tests {
    use ciborium::{Value, cbor};

    use super::*;

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    /// The parts of a value, one a line.
    fn taken_apart(value: &Value) -> Vec<String> {
        let parts = Parts::of(&encode(value)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match parts.whole() {
            Whole::One(whole) => vec![text(whole)],
            Whole::Fields => parts
                .fields()
                .map(|(key, value)| format!("{}:{}", text(key), text(value)))
                .collect(),
        }
    }

    #[test]
    fn a_map_is_taken_apart_with_exact_numbers() {
        let value = cbor!({
            "a\"" => u64::MAX,
            "b" => f64::NAN,
            "c" => [u64::MAX, f64::INFINITY],
            1 => {"d" => 1.0}
        })
        .unwrap();
        assert_eq!(
            taken_apart(&value),
            [
                r#""a\"":18446744073709551615"#,
                r#""b":NaN"#,
                r#""c":["18446744073709551615",null]"#,
                r#""1":{"d":1.0}"#
            ]
        );
        assert_eq!(
            taken_apart(&Value::Tag(7, Box::new(cbor!({"a" => i64::MIN}).unwrap()))),
            [r#""a":-9223372036854775808"#]
        );
        assert_eq!(taken_apart(&Value::Float(f64::NEG_INFINITY)), ["-Infinity"]);
        assert_eq!(
            taken_apart(&cbor!([1, { "a" => 2 }]).unwrap()),
            [r#"[1,{"a":2}]"#]
        );
        assert_eq!(taken_apart(&cbor!({}).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn fields_that_are_too_many_stay_together() {
        let fields = |count: usize| {
            Value::Map(
                (0..count)
                    .map(|n| (Value::from(n as u64), Value::Float(f64::NAN)))
                    .collect(),
            )
        };
        let parts = Parts::of(&encode(&fields(FIELDS_MAX + 2))).unwrap();
        assert_eq!(parts.fields().count(), FIELDS_MAX);
        assert_eq!(
            parts.more,
            format!("\"{FIELDS_MAX}\":null,\"{}\":null,", FIELDS_MAX + 1).into_bytes()
        );
        assert_eq!(Parts::of(&encode(&fields(FIELDS_MAX))).unwrap().more, b"");
    }

    #[test]
    fn what_is_not_one_item_is_refused() {
        assert_eq!(Parts::of(&[1, 2]).unwrap_err(), "1 bytes follow the value");
        assert_eq!(Parts::of(&[0xa1, 0x61]).unwrap_err(), "it is cut short");
    }
}
