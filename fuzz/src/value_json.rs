//! Fuzzes values of functions, from CBOR to JSON.

use ciborium::cbor;
use serde_json::Value;
use sortie_frontend::fuzzing::parts_bytes;
use sortie_frontend::json::{GROWTH_MAX, Layout, write};

use crate::memory::{at_most, measured};
use crate::seeds::encoded;

/// What writing may allocate for each byte of a value: the text, while its buffer grows, and the
/// copy that is appended.
const MEMORY_FACTOR: usize = 4 * GROWTH_MAX;
/// How deep the JSON may nest that is read again here: the reader's own bound is a little higher.
const NESTING_MAX: usize = 120;

/// Writes a value in both layouts: JSON of bounded size, and the same in both.
pub fn run(cbor: &[u8]) {
    let (line, indented) = (text(cbor, Layout::Line), text(cbor, Layout::Indented));
    assert_eq!(line.is_some(), indented.is_some());
    if let (Some(line), Some(indented)) = (line, indented)
        && nesting(&line) <= NESTING_MAX
    {
        let read = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("it is JSON");
        assert_eq!(read(&line), read(&indented));
    }
    if let Ok(bytes) = parts_bytes(cbor) {
        assert!(bytes <= GROWTH_MAX * cbor.len());
    }
}

/// The text of a value; none if it has none.
fn text(cbor: &[u8], layout: Layout) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (written, bytes) = measured(|| write(cbor, layout, &mut out));
    at_most(bytes, cbor, MEMORY_FACTOR);
    written.ok()?;
    assert!(
        out.len() <= GROWTH_MAX * cbor.len(),
        "{} bytes of text for {} of CBOR",
        out.len(),
        cbor.len()
    );
    Some(out)
}

/// How deep lists and maps nest in a text of JSON.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Values of each kind, some nested.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let key = cbor!([1, { "a" => null }]);
    let values = [
        cbor!({ "text" => "a\u{1b}\"b\n", "list" => [1, -2, 2.5, true, null, [], {}] }),
        cbor!([u64::MAX, i64::MIN, f64::NAN, 0.1, 1e300]),
        cbor!({ 1 => { true => { null => "\u{1}\"" } } }),
        key.map(|key| ciborium::Value::Map(vec![(key.clone(), key)])),
        Ok(ciborium::Value::Tag(
            2,
            Box::new(ciborium::Value::Bytes(vec![255; 17])),
        )),
    ];
    let mut seeds: Vec<Vec<u8>> = encoded(values);
    // Lists and maps of unknown length, in pieces, and nested deep.
    seeds.push(vec![0x9f, 0xbf, 0x7f, 0x61, 0x61, 0xff, 0xf4, 0xff, 0xff]);
    seeds.push([vec![0x81; 200], vec![0xf6]].concat());
    seeds.push([[0xa1; 100].as_slice(), &[0x00; 101]].concat());
    seeds
}
