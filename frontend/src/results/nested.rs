//! Lists and maps as nested columns: what a value nests is seen, decided upon, and taken apart into
//! the leaves of a column.
//!
//! A nested column has one leaf for each place where values stand that are no list and no map. Each
//! row adds at least one entry to each leaf, so leaves are bounded, and so are the entries of one
//! row: a value that would take more of them than its text allows has no place in its column.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::cells::{Cell, LEAVES_MAX, Type};

/// Entries that a value may add to the leaves of its column for each byte of its text, beyond one
/// for each leaf. A list of maps without fields would add one for each leaf with each `{}`.
const ENTRIES_PER_BYTE: usize = 2;

/// A part does not fit where it is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfit;

/// How the leaves of a nested column hang together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// A leaf, by its number, and what it holds.
    Leaf(usize, Type),
    List(Box<Node>),
    /// The fields, by their keys.
    Struct(Vec<(String, Node)>),
}

impl Node {
    /// The tree for a column of this type.
    pub(crate) fn of(kind: &Type) -> Self {
        Self::numbered(kind, &mut 0)
    }

    fn numbered(kind: &Type, next: &mut usize) -> Self {
        match kind {
            Type::List(item) => Self::List(Box::new(Self::numbered(item, next))),
            Type::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|(key, kind)| (key.clone(), Self::numbered(kind, next)))
                    .collect(),
            ),
            Type::Bool | Type::Integer | Type::Number | Type::Text | Type::Json => {
                let number = *next;
                *next += 1;
                Self::Leaf(number, kind.clone())
            }
        }
    }

    /// The types of the leaves, in order, each with how often lists repeat it.
    pub(crate) fn leaves(&self) -> Vec<(Type, i16)> {
        let mut leaves = Vec::new();
        self.collect(0, &mut leaves);
        leaves
    }

    fn collect(&self, lists: i16, leaves: &mut Vec<(Type, i16)>) {
        match self {
            Self::Leaf(_, kind) => leaves.push((kind.clone(), lists)),
            Self::List(item) => item.collect(lists + 1, leaves),
            Self::Struct(fields) => fields
                .iter()
                .for_each(|(_, node)| node.collect(lists, leaves)),
        }
    }
}

/// Takes the entries of leaves.
pub(crate) trait Sink {
    /// An entry of a leaf: its value, or null, with its levels of repetition and definition.
    fn put(&mut self, leaf: usize, cell: &Cell<'_>, levels: Levels);
}

/// Where an entry begins, and how much of its path is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) repetition: i16,
    pub(crate) definition: i16,
}

/// The cell of a column of this type for the text of a part; none if the column cannot hold it as
/// it is.
pub(crate) fn cell<'a>(kind: &Type, part: &'a [u8]) -> Option<Cell<'a>> {
    match (kind, part) {
        (Type::List(_) | Type::Struct(_), [b'[' | b'{', ..]) => {
            let text = std::str::from_utf8(part).ok()?;
            fits(kind, part).then_some(Cell::Nested(text))
        }
        _ => kind.cell(part),
    }
}

/// Whether a part fits into a column as it is, with no more entries than its text allows.
pub(crate) fn fits(kind: &Type, part: &[u8]) -> bool {
    let node = Node::of(kind);
    let mut counted = Count {
        left: part
            .len()
            .saturating_mul(ENTRIES_PER_BYTE)
            .saturating_add(LEAVES_MAX),
        is_over: false,
    };
    shred(&node, part, &mut counted).is_ok() && !counted.is_over
}

struct Count {
    left: usize,
    is_over: bool,
}

impl Sink for Count {
    fn put(&mut self, _: usize, _: &Cell<'_>, _: Levels) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.is_over = true,
        }
    }
}

/// Take the text of a part apart into the leaves of its column.
pub(crate) fn shred(node: &Node, part: &[u8], sink: &mut dyn Sink) -> Result<(), Unfit> {
    let mut reader = serde_json::Deserializer::from_slice(part);
    let start = Levels {
        repetition: 0,
        definition: 0,
    };
    Shred {
        node,
        levels: start,
        lists: 0,
        sink,
    }
    .deserialize(&mut reader)
    .map_err(|_| Unfit)
}

/// Nothing is there: each leaf has an entry that says so.
pub(crate) fn put_null(node: &Node, levels: Levels, sink: &mut dyn Sink) {
    match node {
        Node::Leaf(leaf, _) => sink.put(*leaf, &Cell::Null, levels),
        Node::List(item) => put_null(item, levels, sink),
        Node::Struct(fields) => fields
            .iter()
            .for_each(|(_, node)| put_null(node, levels, sink)),
    }
}

/// Takes the next value apart.
struct Shred<'a> {
    node: &'a Node,
    levels: Levels,
    /// Lists that the value lies in.
    lists: i16,
    sink: &'a mut dyn Sink,
}

impl Shred<'_> {
    fn leaf<E: serde::de::Error>(self, part: &[u8]) -> Result<(), E> {
        let Node::Leaf(leaf, kind) = self.node else {
            return Err(E::custom("a list or map is wanted"));
        };
        let cell = kind
            .cell(part)
            .ok_or_else(|| E::custom("another type is wanted"))?;
        let levels = Levels {
            definition: self.levels.definition + i16::from(cell != Cell::Null),
            ..self.levels
        };
        self.sink.put(*leaf, &cell, levels);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Shred<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shred<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.leaf(if value { b"true" } else { b"false" })
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.leaf(value.to_string().as_bytes())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.leaf(value.to_string().as_bytes())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.leaf(format!("{value:?}").as_bytes())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        let text = serde_json::to_vec(value).map_err(E::custom)?;
        self.leaf(&text)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        put_null(self.node, self.levels, self.sink);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Node::List(item) = self.node else {
            return Err(A::Error::custom("no list is wanted"));
        };
        let mut levels = Levels {
            definition: self.levels.definition + 2,
            ..self.levels
        };
        let lists = self.lists + 1;
        let mut is_empty = true;
        loop {
            let next = Shred {
                node: item,
                levels,
                lists,
                sink: &mut *self.sink,
            };
            if items.next_element_seed(next)?.is_none() {
                break;
            }
            is_empty = false;
            levels.repetition = lists;
        }
        if is_empty {
            let levels = Levels {
                definition: self.levels.definition + 1,
                ..self.levels
            };
            put_null(item, levels, self.sink);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Node::Struct(fields) = self.node else {
            return Err(A::Error::custom("no map is wanted"));
        };
        let levels = Levels {
            definition: self.levels.definition + 1,
            ..self.levels
        };
        let mut filled = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            let field = fields
                .iter()
                .enumerate()
                .find(|(_, (name, _))| *name == key);
            let Some((_, (_, node))) = field.filter(|(number, _)| filled.insert(*number)) else {
                return Err(A::Error::custom("a field that is not there, or twice"));
            };
            entries.next_value_seed(Shred {
                node,
                levels,
                lists: self.lists,
                sink: &mut *self.sink,
            })?;
        }
        let missing = fields.iter().enumerate();
        for (_, (_, node)) in missing.filter(|(number, _)| !filled.contains(number)) {
            put_null(node, levels, self.sink);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::cells::{Nesting, Seen};

    /// What each leaf gets: repetition, definition and value.
    #[derive(Default)]
    struct Entries(Vec<(usize, i16, i16, String)>);

    impl Sink for Entries {
        fn put(&mut self, leaf: usize, cell: &Cell<'_>, levels: Levels) {
            let value = match cell {
                Cell::Null => "-".into(),
                Cell::Integer(value) => value.to_string(),
                Cell::Text(text) => text.to_string(),
                other => format!("{other:?}"),
            };
            let Levels {
                repetition,
                definition,
            } = levels;
            self.0.push((leaf, repetition, definition, value));
        }
    }

    fn entries(kind: &Type, part: &str) -> Result<Vec<(usize, i16, i16, String)>, Unfit> {
        let mut entries = Entries::default();
        shred(&Node::of(kind), part.as_bytes(), &mut entries)?;
        entries.0.sort_by_key(|(leaf, ..)| *leaf);
        Ok(entries.0)
    }

    fn column(parts: &[&str]) -> Type {
        parts
            .iter()
            .map(|part| Seen::of(part.as_bytes(), Nesting::Nested))
            .fold(Seen::Nothing, Seen::and)
            .column()
    }

    #[test]
    fn what_nests_has_a_type_of_its_own_and_what_is_not_alike_is_json() {
        assert_eq!(
            column(&["[1,2]", "[]", "[null]"]),
            Type::List(Box::new(Type::Integer))
        );
        let point = Type::Struct(vec![
            ("x".into(), Type::Number),
            ("tags".into(), Type::List(Box::new(Type::Text))),
        ]);
        assert_eq!(column(&[r#"{"x":1,"tags":["a"]}"#, r#"{"x":0.5}"#]), point);
        assert_eq!(
            column(&[r#"[{"x":1,"tags":["a"]}]"#, r#"[{"x":0.5}]"#]),
            Type::List(Box::new(point))
        );
        for parts in [&["[]"][..], &["{}"], &["[1]", "{}"], &["[[1],[\"a\"],3]"]] {
            assert_eq!(column(parts), Type::Json, "{parts:?}");
        }
        let wide: Vec<String> = (0..=LEAVES_MAX).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(column(&[&format!("{{{}}}", wide.join(","))]), Type::Json);
        let deep = "[".repeat(20) + &"]".repeat(20);
        assert_eq!(column(&[&deep]), Type::Json);
    }

    #[test]
    fn a_value_is_taken_apart_into_the_levels_that_parquet_has() {
        let lists = Type::List(Box::new(Type::List(Box::new(Type::Integer))));
        let entry = |repetition, definition, value: &str| (0, repetition, definition, value.into());
        assert_eq!(
            entries(&lists, "[[1,2],[],null,[3]]").unwrap(),
            [
                entry(0, 5, "1"),
                entry(2, 5, "2"),
                entry(1, 3, "-"),
                entry(1, 2, "-"),
                entry(1, 5, "3")
            ]
        );
        assert_eq!(entries(&lists, "[]").unwrap(), [entry(0, 1, "-")]);
        assert_eq!(entries(&lists, "null").unwrap(), [entry(0, 0, "-")]);
        let rows = Type::List(Box::new(Type::Struct(vec![
            ("a".into(), Type::Integer),
            ("b".into(), Type::Text),
        ])));
        assert_eq!(
            entries(&rows, r#"[{"b":"x"},{"a":2},null]"#).unwrap(),
            [
                (0, 0, 3, "-".into()),
                (0, 1, 4, "2".into()),
                (0, 1, 2, "-".into()),
                (1, 0, 4, "x".into()),
                (1, 1, 3, "-".into()),
                (1, 1, 2, "-".into()),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_known_before() {
        let rows = Type::List(Box::new(Type::Struct(vec![("a".into(), Type::Integer)])));
        assert!(fits(&rows, br#"[{"a":1},{}]"#));
        for part in [
            &br#"[{"b":1}]"#[..],
            br#"[{"a":"x"}]"#,
            br#"[1]"#,
            br#"{"a":1}"#,
            br#"[{"a":1,"a":2}]"#,
        ] {
            assert!(!fits(&rows, part), "{}", String::from_utf8_lossy(part));
        }
    }

    #[test]
    fn a_small_text_adds_no_more_entries_than_it_may() {
        let fields = (0..LEAVES_MAX).map(|n| (format!("k{n}"), Type::Integer));
        let wide = Type::List(Box::new(Type::Struct(fields.collect())));
        let empty = format!("[{}]", vec!["{}"; 1000].join(","));
        assert!(!fits(&wide, empty.as_bytes()));
        assert!(fits(&wide, br#"[{"k1":1}]"#));
    }
}
