//! Converts values from CBOR to JSON text, without an intermediate tree.
//!
//! Nothing is built in memory but the text, because a function decides over the value: a tree of a
//! small one can take gigabytes. And the text takes at most [`GROWTH_MAX`] times the bytes of the
//! value, however that is nested: what could grow with the depth, the quotes of keys within keys
//! and the indentation, ends at a bound.
//!
//! Values that JSON cannot represent:
//! - byte strings are base64 (RFC 4648, padded);
//! - integers outside of ±(2^53 - 1) are decimal strings, because most readers of JSON would round
//!   them;
//! - NaN and the infinities are `null`, as are CBOR's `null` and `undefined`;
//! - keys of maps that are not text are strings of what they would be as values, and lists and maps
//!   that are keys within such a key stand there without quotes; keys that become equal all stay;
//! - tags are dropped and the tagged value stays.

mod parts;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess as _, Visitor,
};

pub(crate) use self::parts::{FIELDS_MAX, Parts, Whole, append_member, valid};

/// Integers up to here are the same in every reader of JSON.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// The most bytes of text for a byte of a value: an indented `false` in a list.
pub const GROWTH_MAX: usize = 24;
/// How deep text is indented. What lies deeper stands on one line: each line of a value that nests
/// hundreds deep would begin with hundreds of blanks.
const INDENTED_MAX: usize = 8;

/// How the text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// On one line.
    Line,
    /// For people.
    Indented,
}

/// Append the value that `cbor` holds to `out`.
///
/// # Errors
/// Why `cbor` is not one CBOR item.
pub fn write(cbor: &[u8], layout: Layout, out: &mut Vec<u8>) -> Result<(), String> {
    let mut left = cbor;
    let text = match layout {
        Layout::Line => ciborium::from_reader(&mut left).map(|Rendered::<false>(text)| text),
        Layout::Indented => ciborium::from_reader(&mut left).map(|Rendered::<true>(text)| text),
    };
    let text = text.map_err(|error| reason(&error))?;
    if !left.is_empty() {
        return Err(format!("{} bytes follow the value", left.len()));
    }
    out.extend_from_slice(&text);
    Ok(())
}

/// The text of a value: what ciborium is asked for, since it takes a type and no seed.
struct Rendered<const INDENTED: bool>(Vec<u8>);

impl<'de, const INDENTED: bool> Deserialize<'de> for Rendered<INDENTED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut out = Vec::new();
        deserializer.deserialize_any(Text {
            out: &mut out,
            depth: INDENTED.then_some(0),
            numbers: Numbers::AsReadersTakeThem,
            within: Within::Value,
        })?;
        Ok(Self(out))
    }
}

fn reason(error: &ciborium::de::Error<std::io::Error>) -> String {
    match error {
        ciborium::de::Error::Io(_) => "it is cut short".into(),
        ciborium::de::Error::Syntax(offset) => format!("it is not CBOR at byte {offset}"),
        ciborium::de::Error::Semantic(_, what) => what.clone(),
        ciborium::de::Error::RecursionLimitExceeded => "it nests too deeply".into(),
    }
}

/// Writes the next value.
struct Text<'a> {
    out: &'a mut Vec<u8>,
    /// How deep the value lies, where the text is indented.
    depth: Option<usize>,
    numbers: Numbers,
    within: Within,
}

/// Whether a value is part of the key of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Value,
    Key,
}

/// How numbers are written that readers of JSON do not all take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    AsReadersTakeThem,
    /// As they are; of the value itself, not of what it holds.
    Exact,
}

impl Text<'_> {
    fn json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        // Writing numbers and strings into memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, value);
    }

    /// An integer, of which all readers take some as they are.
    fn integer<T: fmt::Display>(&mut self, is_safe: bool, value: T) {
        if is_safe || self.numbers == Numbers::Exact {
            self.out.extend_from_slice(value.to_string().as_bytes());
        } else {
            self.json(&value.to_string());
        }
    }

    fn inner(&mut self) -> Text<'_> {
        Text {
            out: self.out,
            depth: self.depth.map(|depth| depth + 1),
            numbers: Numbers::AsReadersTakeThem,
            within: self.within,
        }
    }

    /// What stands before the `count`-th item of a list.
    fn separate(&mut self, count: usize) {
        if count > 0 {
            self.out.push(b',');
        }
        self.break_line(1);
    }

    fn close(&mut self, count: usize, bracket: u8) {
        if count > 0 {
            self.break_line(0);
        }
        self.out.push(bracket);
    }

    fn break_line(&mut self, deeper: usize) {
        if let Some(depth) = self.depth.filter(|depth| *depth < INDENTED_MAX) {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * (depth + deeper), b' ');
        }
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CBOR item")
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.json(&value);
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.integer(value <= EXACT_MAX, value);
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.integer(value.unsigned_abs() <= EXACT_MAX, value);
        Ok(())
    }

    fn visit_u128<E>(mut self, value: u128) -> Result<(), E> {
        self.integer(false, value);
        Ok(())
    }

    fn visit_i128<E>(mut self, value: i128) -> Result<(), E> {
        self.integer(false, value);
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        match (self.numbers, value.is_finite()) {
            (Numbers::Exact, false) if value.is_nan() => self.out.extend_from_slice(b"NaN"),
            (Numbers::Exact, false) => self.out.extend_from_slice(if value > 0.0 {
                b"Infinity"
            } else {
                b"-Infinity"
            }),
            // serde_json writes `null` for what is not finite.
            (Numbers::AsReadersTakeThem, _) | (Numbers::Exact, true) => self.json(&value),
        }
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.json(value);
        Ok(())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<(), E> {
        self.out.push(b'"');
        self.out
            .extend_from_slice(STANDARD.encode(value).as_bytes());
        self.out.push(b'"');
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        self.out.push(b'[');
        let mut count = 0;
        loop {
            let mark = self.out.len();
            self.separate(count);
            if items.next_element_seed(self.inner())?.is_none() {
                self.out.truncate(mark);
                break;
            }
            count += 1;
        }
        self.close(count, b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        self.out.push(b'{');
        let mut count = 0;
        loop {
            let mark = self.out.len();
            self.separate(count);
            let key = Key {
                out: self.out,
                within: self.within,
            };
            if entries.next_key_seed(key)?.is_none() {
                self.out.truncate(mark);
                break;
            }
            self.out.push(b':');
            if self.depth.is_some() {
                self.out.push(b' ');
            }
            entries.next_value_seed(self.inner())?;
            count += 1;
        }
        self.close(count, b'}');
        Ok(())
    }

    /// A tagged item.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (_, content) = tagged.variant::<serde::de::IgnoredAny>()?;
        content.tuple_variant(2, Tagged(self))
    }
}

/// The content of a tagged item: the tag, then the item.
struct Tagged<S>(S);

impl<'de, S: DeserializeSeed<'de, Value = ()>> Visitor<'de> for Tagged<S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tag and an item")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let _: Option<u64> = parts.next_element()?;
        parts.next_element_seed(self.0)?;
        Ok(())
    }
}

/// Writes the key of a map: a string, unless it is a list or a map within another key. There each
/// further pair of quotes would double the backslashes of those within.
struct Key<'a> {
    out: &'a mut Vec<u8>,
    /// Where the map is.
    within: Within,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let mark = self.out.len();
        deserializer.deserialize_any(Text {
            out: self.out,
            depth: None,
            numbers: Numbers::AsReadersTakeThem,
            within: Within::Key,
        })?;
        let written = self.out.get(mark..).unwrap_or_default();
        let is_done = match (self.within, written.first()) {
            (_, Some(b'"')) => true,
            (Within::Key, Some(b'[' | b'{')) => true,
            (Within::Key | Within::Value, _) => false,
        };
        if !is_done {
            let text = String::from_utf8_lossy(written).into_owned();
            self.out.truncate(mark);
            // Writing a string into memory cannot fail.
            let _ = serde_json::to_writer(self.out, &text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ciborium::{Value, cbor};
    use proptest::prelude::*;

    use super::*;

    fn encode(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    fn line(cbor: &[u8]) -> Result<String, String> {
        let mut out = Vec::new();
        write(cbor, Layout::Line, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_json_has_stays_as_it_is() {
        let value = cbor!({
            "text" => "a\u{1b}\"b\n é",
            "list" => [1, -2, 2.5, true, null, [], {}],
        });
        assert_eq!(
            line(&encode(&value.unwrap())).unwrap(),
            r#"{"text":"a\u001b\"b\n é","list":[1,-2,2.5,true,null,[],{}]}"#
        );
    }

    #[test]
    fn integers_that_readers_would_round_are_strings() {
        for (value, json) in [
            (Value::from((1u64 << 53) - 1), "9007199254740991"),
            (Value::from(1u64 << 53), "\"9007199254740992\""),
            (Value::from(u64::MAX), "\"18446744073709551615\""),
            (Value::from(-(1i64 << 53) + 1), "-9007199254740991"),
            (Value::from(i64::MIN), "\"-9223372036854775808\""),
            (
                Value::from(u128::MAX),
                "\"340282366920938463463374607431768211455\"",
            ),
            (
                Value::from(i128::MIN),
                "\"-170141183460469231731687303715884105728\"",
            ),
        ] {
            assert_eq!(line(&encode(&value)).unwrap(), json);
        }
    }

    #[test]
    fn what_json_lacks_is_written_as_documented() {
        for (value, json) in [
            (Value::Bytes(vec![0, 255, 1]), r#""AP8B""#),
            (Value::Float(f64::NAN), "null"),
            (Value::Float(f64::NEG_INFINITY), "null"),
            (
                Value::Tag(32, Box::new(Value::from("https://a"))),
                r#""https://a""#,
            ),
            (
                Value::Tag(
                    7,
                    Box::new(Value::Array(vec![Value::Tag(8, Box::new(Value::Null))])),
                ),
                "[null]",
            ),
        ] {
            assert_eq!(line(&encode(&value)).unwrap(), json, "{value:?}");
        }
        // `undefined`, which no encoder here writes.
        assert_eq!(line(&[0xf7]).unwrap(), "null");
    }

    #[test]
    fn keys_are_strings_whatever_they_were() {
        let keys = [
            Value::from(1),
            Value::Bool(true),
            Value::Null,
            Value::Bytes(vec![255]),
            Value::Array(vec![Value::from("a")]),
        ];
        let map = Value::Map(keys.into_iter().map(|key| (key, Value::from(0))).collect());
        assert_eq!(
            line(&encode(&map)).unwrap(),
            r#"{"1":0,"true":0,"null":0,"/w==":0,"[\"a\"]":0}"#
        );
    }

    #[test]
    fn keys_within_keys_take_no_more_than_their_bytes_allow() {
        let mut nested = Value::from(1);
        for _ in 0..30 {
            nested = Value::Map(vec![(nested, Value::from("\u{1b}\""))]);
        }
        let cbor = encode(&nested);
        for layout in [Layout::Line, Layout::Indented] {
            let mut out = Vec::new();
            write(&cbor, layout, &mut out).unwrap();
            assert!(out.len() < GROWTH_MAX * cbor.len(), "{} bytes", out.len());
            assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
        }
        let twice = Value::Map(vec![(
            Value::Map(vec![
                (Value::Array(vec![Value::from("a")]), Value::from(2)),
                (Value::from(1), Value::from(3)),
            ]),
            Value::from(4),
        )]);
        assert_eq!(
            line(&encode(&twice)).unwrap(),
            r#"{"{[\"a\"]:2,\"1\":3}":4}"#
        );
    }

    #[test]
    fn what_nests_deep_is_not_indented_further() {
        let mut nested = Value::Array(vec![Value::Null; 1000]);
        for _ in 0..100 {
            nested = Value::Array(vec![nested]);
        }
        let cbor = encode(&nested);
        let mut out = Vec::new();
        write(&cbor, Layout::Indented, &mut out).unwrap();
        assert!(out.len() < GROWTH_MAX * cbor.len(), "{} bytes", out.len());
        let text: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(text.to_string(), line(&cbor).unwrap());
    }

    /// Any value, with any values for keys.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::Float),
            any::<String>().prop_map(Value::from),
            "[\"\\\\\u{0}-\u{1f}]{0,20}".prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(24, 256, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Map),
                (any::<u64>(), inner).prop_map(|(tag, value)| Value::Tag(tag, value.into())),
            ]
        })
    }

    fn check_growth(cbor: &[u8]) -> Result<(), TestCaseError> {
        for layout in [Layout::Line, Layout::Indented] {
            let mut out = Vec::new();
            if write(cbor, layout, &mut out).is_ok() {
                prop_assert!(
                    out.len() <= GROWTH_MAX * cbor.len(),
                    "{} bytes of {}: {}",
                    out.len(),
                    cbor.len(),
                    String::from_utf8_lossy(&out)
                );
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
            }
        }
        if let Ok(parts) = Parts::of(cbor) {
            let bytes = parts.bytes();
            prop_assert!(
                bytes <= GROWTH_MAX * cbor.len(),
                "{bytes} of {}",
                cbor.len()
            );
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_value_grows_beyond_the_bound(value in any_value()) {
            check_growth(&encode(&value))?;
        }

        #[test]
        fn no_bytes_grow_beyond_the_bound(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), Just(0xa1), Just(0xbf), Just(0x9f), Just(0xff)],
                1..200,
            ),
        ) {
            check_growth(&bytes)?;
        }
    }

    #[test]
    fn indented_text_is_the_same_value() {
        let value = encode(&cbor!({ "a" => [1, { "b" => [] }], "c" => {} }).unwrap());
        let mut out = Vec::new();
        write(&value, Layout::Indented, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}"
        );
    }

    #[test]
    fn what_is_not_one_item_is_refused() {
        assert_eq!(line(&[]).unwrap_err(), "it is cut short");
        assert_eq!(
            line(&[0x9b, 0, 0, 1, 0, 0, 0, 0, 0]).unwrap_err(),
            "it is cut short"
        );
        assert_eq!(line(&[1, 2]).unwrap_err(), "1 bytes follow the value");
        assert_eq!(line(&[0x81; 100_000]).unwrap_err(), "it nests too deeply");
        assert!(line(&[0xff]).is_err() && line(&[0x1c]).is_err());
        assert!(line(&[0x61, 0xff]).is_err());
    }
}
