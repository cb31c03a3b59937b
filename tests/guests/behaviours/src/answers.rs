//! Ordinary answers: results and failures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sortie_guest::Failure;

/// Any value that JSON has.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Anything {
    Nothing(Option<()>),
    Truth(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Anything>),
    Map(BTreeMap<String, Anything>),
}

/// Does nothing, as fast as an instance can.
#[sortie_guest::function]
fn empty() {}

/// Returns the text it is given.
#[sortie_guest::function]
fn echo(value: String) -> String {
    value
}

/// Returns what it is given; a text that is a code with `!` in front is a failure.
#[sortie_guest::function]
fn mirrors(value: Anything) -> Result<Anything, Failure> {
    match value {
        Anything::Text(text) if text.starts_with('!') => Err(Failure::new(
            text.trim_start_matches('!'),
            "as it was \"asked\",\nfor",
        )),
        other => Ok(other),
    }
}

/// Adds two numbers; a sum that does not fit wraps.
#[sortie_guest::function]
fn add(a: i64, b: i64) -> i64 {
    a.wrapping_add(b)
}

/// Adds up a list of numbers; a sum that does not fit wraps.
#[sortie_guest::function]
fn sum(numbers: Vec<i64>) -> i64 {
    numbers.into_iter().fold(0, i64::wrapping_add)
}

/// Returns half of a number.
#[sortie_guest::function]
fn halves(value: f64) -> f64 {
    value / 2.0
}

/// Returns `len` bytes, each 0x5a.
#[sortie_guest::function]
fn returns_bytes(len: u64) -> Result<ByteBuf, Failure> {
    let len = usize::try_from(len).map_err(|error| Failure::new("too-large", error))?;
    Ok(ByteBuf::from(vec![0x5a; len]))
}

/// Fails for good.
#[sortie_guest::function]
fn fails(code: String, message: String) -> Result<(), Failure> {
    Err(Failure::new(code, message))
}

/// Fails and asks to be tried again in `after_ms` milliseconds.
#[sortie_guest::function]
fn fails_and_wants_retry(after_ms: u64) -> Result<(), Failure> {
    Err(Failure::new("not-now", "try again").retry_after(Duration::from_millis(after_ms)))
}

/// Fails with a message of 10 MB.
#[sortie_guest::function]
fn huge_message() -> Result<(), Failure> {
    Err(Failure::new("huge", "x".repeat(10_000_000)))
}
