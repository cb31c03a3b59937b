//! Bytes as text that a person can review: one CBOR item a line, in hexadecimal, with what it says
//! behind a `#`.

use std::fmt::Write as _;

use minicbor::Decoder;
use minicbor::data::Type;

/// Write `message` under a title. Only the hexadecimal digits count when it is read back.
pub(crate) fn write(title: &str, message: &[u8]) -> String {
    let mut text = format!("# {title}\n");
    let mut decoder = Decoder::new(message);
    item(&mut decoder, 0, "", &mut text);
    assert_eq!(decoder.position(), message.len());
    text
}

/// The bytes of such a text.
pub(crate) fn read(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    let pairs = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// `key` is the hexadecimal key in front of the item, if it is in a map.
fn item(decoder: &mut Decoder<'_>, depth: usize, key: &str, text: &mut String) {
    let start = decoder.position();
    let mut line = |decoder: &Decoder<'_>, says: String| {
        let bytes = decoder.input().get(start..decoder.position()).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let indented = format!("{:width$}{key}{hex}", "", width = 2 * depth);
        writeln!(text, "{indented:<40}  # {says}").unwrap();
    };
    match decoder.datatype().unwrap() {
        Type::Array => {
            let items = decoder.array().unwrap().unwrap();
            line(decoder, format!("array of {items}"));
            (0..items).for_each(|_| item(decoder, depth + 1, "", text));
        }
        Type::Map => {
            let fields = decoder.map().unwrap().unwrap();
            line(decoder, format!("map of {fields}"));
            for _ in 0..fields {
                let start = decoder.position();
                decoder.u64().unwrap();
                let key: String = decoder
                    .input()
                    .get(start..decoder.position())
                    .unwrap()
                    .iter()
                    .map(|byte| format!("{byte:02x} "))
                    .collect();
                item(decoder, depth + 1, &key, text);
            }
        }
        Type::Bytes => {
            let bytes = decoder.bytes().unwrap();
            line(decoder, format!("{} bytes", bytes.len()));
        }
        Type::String => {
            let says = format!("{:?}", decoder.str().unwrap());
            line(decoder, says);
        }
        Type::Bool => {
            let says = decoder.bool().unwrap().to_string();
            line(decoder, says);
        }
        Type::Null => {
            decoder.null().unwrap();
            line(decoder, "null".into());
        }
        _ => {
            let says = decoder.u64().unwrap().to_string();
            line(decoder, says);
        }
    }
}
