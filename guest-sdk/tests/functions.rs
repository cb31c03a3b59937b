//! The attribute from a user's side: what is registered, and what a call makes of it.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]
#![forbid(unsafe_code)]

use sortie_guest::testing::{Argument, call, call_object, describe};
use sortie_guest::{Failure, Kind, Object, Output, OutputObject, Prefix, Retry, Signature};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

/// Adds two numbers.
///
/// Even *negative* ones.
#[sortie_guest::function]
fn add(a: i64, mut b: i64) -> i64 {
    b += a;
    b
}

#[sortie_guest::function]
pub(crate) fn size_of(object: Object) -> Result<u64, Failure> {
    Ok(object.size())
}

#[sortie_guest::function]
fn refuses(code: String, after: Option<u64>) -> Result<(), Failure> {
    let failure = Failure::new(code, "asked to");
    Err(match after {
        Some(millis) => failure.retry_after(Duration::from_millis(millis)),
        None => failure,
    })
}

/// Names that the expansion uses too, and a raw one.
#[sortie_guest::function]
fn arguments(arguments: u8, argument_0: u8, r#type: u8) -> (u8, u8, u8) {
    (arguments, argument_0, r#type)
}

mod inner {
    use super::{BTreeMap, io};

    #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    pub(super) struct Counts {
        pub(super) words: BTreeMap<String, u64>,
    }

    #[sortie_guest::function]
    fn counts(words: Vec<String>) -> io::Result<Counts> {
        let mut counts = BTreeMap::new();
        for word in words {
            *counts.entry(word).or_default() += 1;
        }
        Ok(Counts { words: counts })
    }
}

#[sortie_guest::function]
fn nothing() {}

#[sortie_guest::function]
fn joins(place: Prefix, below: String) -> io::Result<OutputObject> {
    let mut output = Output::create(None)?;
    for entry in place.list(&below)? {
        output.write_all(&place.open(&entry?.name)?.read_all()?)?;
    }
    output.finish()
}

#[sortie_guest::function]
fn sizes(objects: Vec<Object>) -> Vec<u64> {
    objects.iter().map(Object::size).collect()
}

#[sortie_guest::function]
#[expect(clippy::too_many_arguments, reason = "as many as there may be")]
fn run(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> Vec<u8> {
    vec![a, b, c, d, e, f, g, h]
}

fn signature(name: &str) -> Signature {
    *describe()
        .expect("names are unique")
        .into_iter()
        .find(|signature| signature.name == name)
        .expect("is registered")
}

#[test]
fn functions_are_described_in_the_order_of_the_source_modules_last() {
    let names: Vec<_> = describe()
        .expect("names are unique")
        .into_iter()
        .map(|signature| signature.name)
        .collect();
    assert_eq!(
        names,
        [
            "add",
            "size_of",
            "refuses",
            "arguments",
            "nothing",
            "joins",
            "sizes",
            "run",
            "counts"
        ]
    );
}

#[test]
fn a_description_has_documentation_names_kinds_and_types() {
    let add = signature("add");
    assert_eq!(add.doc, "Adds two numbers.\n\nEven *negative* ones.");
    let parameters: Vec<_> = add
        .parameters
        .iter()
        .map(|parameter| (parameter.name, parameter.kind, parameter.type_name))
        .collect();
    assert_eq!(
        parameters,
        [("a", Kind::Value, "i64"), ("b", Kind::Value, "i64")]
    );
    assert_eq!(add.returns, "i64");
    assert_eq!(
        signature("size_of")
            .parameters
            .first()
            .map(|parameter| parameter.kind),
        Some(Kind::Object)
    );
    assert_eq!(signature("size_of").returns, "u64");
    assert_eq!(
        signature("joins")
            .parameters
            .first()
            .map(|parameter| parameter.kind),
        Some(Kind::Prefix)
    );
    assert_eq!(signature("joins").returns, "OutputObject");
    let of_sizes: Vec<_> = signature("sizes")
        .parameters
        .iter()
        .map(|parameter| (parameter.kind, parameter.type_name))
        .collect();
    assert_eq!(of_sizes, [(Kind::Objects, "Vec<Object>")]);
    assert_eq!(signature("counts").returns, "Counts");
    assert_eq!(signature("nothing").returns, "()");
    assert_eq!(
        signature("refuses")
            .parameters
            .last()
            .map(|parameter| parameter.type_name),
        Some("Option<u64>")
    );
    assert_eq!(
        signature("arguments")
            .parameters
            .last()
            .map(|parameter| parameter.name),
        Some("type")
    );
}

#[test]
fn a_function_is_callable_as_it_was_written() {
    assert_eq!(add(2, 3), 5);
    assert_eq!(
        size_of(Object::from_bytes("x", b"1234")).expect("has a size"),
        4
    );
}

#[test]
fn calls_take_values_and_objects_by_position() {
    assert_eq!(
        call("add", [Argument::value(&2), Argument::value(&-3)]),
        Ok(-1i64)
    );
    assert_eq!(
        call(
            "size_of",
            [Argument::Object(Object::from_bytes("x", b"1234"))]
        ),
        Ok(4u64)
    );
    assert_eq!(
        call("arguments", [1, 2, 3].map(|n| Argument::value(&n))),
        Ok((1u8, 2u8, 3u8))
    );
    assert_eq!(
        call("run", (1..=8).map(|n| Argument::value(&n))),
        Ok(vec![1u8, 2, 3, 4, 5, 6, 7, 8])
    );
    assert_eq!(call("nothing", []), Ok(()));
    let counts: inner::Counts =
        call("counts", [Argument::value(&["a", "b", "a"])]).expect("counts");
    assert_eq!(counts.words.get("a"), Some(&2));
}

#[test]
fn a_functions_failure_is_the_calls_failure() {
    let refused = call::<()>(
        "refuses",
        [Argument::value("No luck"), Argument::value(&250)],
    )
    .expect_err("refuses");
    assert_eq!((refused.code(), refused.message()), ("no-luck", "asked to"));
    assert_eq!(refused.retry(), Retry::After(Duration::from_millis(250)));
}

#[test]
fn an_argument_that_does_not_decode_is_named() {
    let failure = call::<i64>("add", [Argument::value(&2), Argument::value("three")])
        .expect_err("three is a text");
    assert_eq!(failure.code(), "bad-argument");
    assert_eq!(
        failure.message(),
        "parameter `b`: invalid type: string, expected integer"
    );
}

#[test]
fn a_call_of_the_wrong_shape_is_a_failure() {
    let check = |function, arguments: Vec<Argument>, message| {
        let failure = call::<i64>(function, arguments).expect_err("is wrong");
        assert_eq!(
            (failure.code(), failure.message()),
            ("bad-argument", message)
        );
    };
    check("add", vec![Argument::value(&2)], "parameter `b`: missing");
    check(
        "add",
        [1, 2, 3].map(|n| Argument::value(&n)).into(),
        "1 more arguments than parameters",
    );
    check(
        "size_of",
        vec![Argument::value(&2)],
        "parameter `object`: expected an object, got a value",
    );
    check(
        "nothing",
        vec![Argument::value(&2)],
        "1 more arguments than parameters",
    );
    check(
        "add",
        vec![
            Argument::value(&2),
            Argument::Object(Object::from_bytes("x", b"")),
        ],
        "parameter `b`: expected a value, got an object",
    );
}

#[test]
fn a_list_of_objects_is_one_argument() {
    let object = |text: &str| Object::from_bytes("x", text);
    let sizes = |objects| call::<Vec<u64>>("sizes", [Argument::Objects(objects)]);
    assert_eq!(sizes(vec![object("one"), object("")]), Ok(vec![3, 0]));
    assert_eq!(sizes(Vec::new()), Ok(Vec::new()));
    let failure = call::<Vec<u64>>("sizes", [Argument::Object(object("one"))]);
    assert_eq!(
        failure.expect_err("is one object").to_string(),
        "bad-argument: parameter `objects`: expected a list of objects, got an object"
    );
}

#[test]
fn prefixes_go_in_and_objects_come_out() {
    let place =
        || Prefix::from_objects("parts", [("a/1", "one"), ("b", "not this"), ("a/2", "two")]);
    let made =
        call_object("joins", [Argument::Prefix(place()), Argument::value("a")]).expect("joins");
    assert_eq!((made.bytes(), made.size()), (&b"onetwo"[..], 6));
    let failure = call_object(
        "joins",
        [Argument::Prefix(place()), Argument::value("../a")],
    )
    .expect_err("reaches out");
    assert_eq!(
        (failure.code(), failure.retry()),
        ("invalid-name", Retry::Never)
    );
    assert_eq!(
        call::<()>("joins", [Argument::Prefix(place()), Argument::value("a")])
            .expect_err("is an object")
            .code(),
        "bad-result"
    );
    assert_eq!(
        call_object("nothing", []).expect_err("is a value").code(),
        "bad-result"
    );
    let failure = call_object("joins", [Argument::value(&1), Argument::value("a")])
        .expect_err("is no prefix");
    assert_eq!(
        failure.message(),
        "parameter `place`: expected a prefix, got a value"
    );
}

#[test]
fn a_function_that_is_not_there_is_a_failure() {
    assert_eq!(
        call::<()>("subtract", []).expect_err("is unknown").code(),
        "unknown-function"
    );
}
