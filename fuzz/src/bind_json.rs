//! Fuzzes arguments: texts and JSON, by the types in a function's signature.
//!
//! Both sides come from outside: the signature from a component, the text from a file of inputs.

use std::path::PathBuf;
use std::sync::OnceLock;

use futures::executor::block_on;
use serde_json::Value;
use sortie::objects::{Config, Objects};
use sortie::protocol::Parameter;
use sortie::{Kind, Signature};
use sortie_frontend::binding::{Files, Names, Places, Shape, shown};
use sortie_frontend::fuzzing::{check, item, value};
use tokio::runtime::Runtime;

use crate::input::{choose, chosen, lines};
use crate::memory::{at_most, measured};

/// What binding may allocate for each byte: a few copies of a tree of JSON, whose smallest items
/// take some hundred bytes for two.
const MEMORY_FACTOR: usize = 2048;
/// Parameters of a signature here.
const PARAMETERS_MAX: usize = 8;

const TYPED: u8 = 0;
const SHAPED: u8 = 1;
const NAMED: u8 = 2;

/// Makes arguments of a text.
pub fn run(data: &[u8]) {
    match choose(data, NAMED + 1) {
        Some((TYPED, rest)) => typed(rest),
        Some((SHAPED, rest)) => shaped(rest),
        Some((_, rest)) => named(rest),
        None => {}
    }
}

/// A text is the same argument alone as within an array of arguments.
fn typed(data: &[u8]) {
    let Some((type_name, text)) = lines(data) else {
        return;
    };
    let (read, bytes) = measured(|| value(type_name, text));
    at_most(bytes, data, MEMORY_FACTOR);
    let Ok((input, shown)) = read else {
        return;
    };
    // The nearest floating point number, as every reader has it.
    if let ("f64", Value::Number(_), Ok(nearest)) = (type_name, &shown, text.trim().parse::<f64>())
    {
        assert_eq!(input, sortie::value(nearest), "{text}");
    }
    // JSON has no word for numbers that are not finite; alone they are written without quotes.
    if shown.as_str().is_none_or(|text| !is_beyond(text)) {
        assert_eq!(item(type_name, &shown), Ok(input));
    }
}

fn is_beyond(text: &str) -> bool {
    let number = text.trim_start_matches(['-', '+']).to_ascii_lowercase();
    matches!(number.as_str(), "nan" | "inf" | "infinity")
}

/// A line of inputs for a function whose parameters are objects (`o`), prefixes (`p`), lists (`l`)
/// and values of types.
fn shaped(data: &[u8]) {
    let Some((signature, text)) = lines(data) else {
        return;
    };
    let signature = Signature {
        name: "f".into(),
        doc: String::new(),
        parameters: signature
            .split(';')
            .take(PARAMETERS_MAX)
            .map(parameter)
            .collect(),
        returns: "()".into(),
    };
    let shape = block_on(Shape::new(&signature, &[], places()));
    if let Ok(shape) = shape {
        // Either is fine: it must only end, without a panic.
        let _ = check(&shape, text);
    }
}

fn parameter(written: &str) -> Parameter {
    let kind = match written {
        "o" => Kind::Object,
        "p" => Kind::Prefix,
        "l" => Kind::Objects,
        _ => Kind::Value,
    };
    Parameter {
        name: written.into(),
        kind,
        type_name: written.into(),
    }
}

fn places() -> Places {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static OBJECTS: OnceLock<Objects> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("threads can be started"));
    let objects = OBJECTS.get_or_init(|| Objects::new(Config::default(), runtime.handle().clone()));
    Places {
        objects: objects.clone(),
        folder: PathBuf::from("/data"),
        troubles: Default::default(),
        files: Files::Here,
        output: None,
        names: Names::default(),
    }
}

/// What a broker kept as the name of an input is shown, whatever it is.
fn named(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let name = text.into();
    let (shown, bytes) = measured(|| shown(Some(&name)));
    at_most(bytes, data, MEMORY_FACTOR);
    assert!(shown != Value::Null || name.as_str().trim() == "null");
}

/// Types and texts that fit, and some that do not.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let typed = [
        "u8\n255",
        "f64\n-inf",
        "f64\n0.1",
        "f64\n2.2250738585072011e-308",
        "f64\n123456789012345678901234567890",
        "i64\n1e3",
        "String\n\"42\"",
        "char\n4",
        "Option<f64>\nnull",
        "Vec<f64>\n[1, 2.5]",
        "(u8, [f64; 2])\n[1.0, [2, 3]]",
        "std::collections::HashMap<String, f32>\n{\"a\": 1}",
        "serde_json::Value\n{\"a\": [1, \"x\"]}",
        "BTreeMap<Box<str>, NonZeroU8>\n{\"a\":1}",
    ];
    let shaped = [
        "o\ns3://b/k#bytes=0-9",
        "p\nfolder/",
        "o;u8\n[\"a.pdf\", 7]",
        "p;String\n[\"s3://b/\", \"x\"]",
        "u8\n7",
        "\n[1]",
    ];
    let named = ["a.pdf", "[1,{\"a\":2}]", "null"];
    let seeds = [(TYPED, &typed[..]), (SHAPED, &shaped), (NAMED, &named)];
    let mut seeds: Vec<_> = seeds
        .into_iter()
        .flat_map(|(choice, texts)| {
            texts
                .iter()
                .map(move |text| chosen(choice, text.as_bytes()))
        })
        .collect();
    // Types that nest deep in each place where a type may stand.
    for (open, close) in [
        ("Option<", ">"),
        ("(u8,", ")"),
        ("[", ";2]"),
        ("BTreeMap<", ",u8>"),
    ] {
        let deep = format!("{}u8{}\n1", open.repeat(1_000), close.repeat(1_000));
        seeds.push(chosen(TYPED, deep.as_bytes()));
    }
    seeds
}
