//! Values on the wire: one CBOR item (RFC 8949) each, read and written with serde.
//!
//! Decoding is bounded by the bytes that arrived (a length that lies does not reserve memory) and
//! by `ciborium`'s limit of 256 levels of nesting. An item followed by anything else is refused: an
//! argument is one item, complete.

use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::output::OutputObject;
use crate::returned::{Answer, Returned};

/// The code of a failure to encode a result.
const BAD_RESULT: &str = "bad-result";

/// Why bytes are no value of the type asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The bytes end within the item.
    Truncated,
    /// The byte at this offset cannot be there.
    Malformed(usize),
    /// The item is well formed and of another type.
    Mismatched(String),
    /// The item nests too deeply.
    Nested,
    /// So many bytes follow the item.
    Trailing(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the CBOR item is truncated"),
            Self::Malformed(offset) => write!(f, "not CBOR at byte {offset}"),
            Self::Mismatched(what) => f.write_str(what),
            Self::Nested => f.write_str("the CBOR item nests too deeply"),
            Self::Trailing(bytes) => write!(f, "{bytes} bytes follow the CBOR item"),
        }
    }
}

/// The value that `encoded` holds.
pub(crate) fn decode<T: DeserializeOwned>(encoded: &[u8]) -> Result<T, Error> {
    let mut left = encoded;
    let value = ciborium::from_reader(&mut left).map_err(Error::from)?;
    match left.len() {
        0 => Ok(value),
        trailing => Err(Error::Trailing(trailing)),
    }
}

impl From<ciborium::de::Error<io::Error>> for Error {
    fn from(error: ciborium::de::Error<io::Error>) -> Self {
        use ciborium::de::Error as Cbor;
        match error {
            Cbor::Io(_) => Self::Truncated,
            Cbor::Syntax(offset) => Self::Malformed(offset),
            Cbor::Semantic(_, what) => Self::Mismatched(what),
            Cbor::RecursionLimitExceeded => Self::Nested,
        }
    }
}

/// A value, encoded; or why it cannot be.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    let mut encoded = Vec::new();
    match ciborium::into_writer(value, &mut encoded) {
        Ok(()) => Ok(encoded),
        Err(error) => Err(error.to_string()),
    }
}

/// A function's result, encoded.
pub fn answer<T: Serialize + ?Sized>(value: &T) -> Answer {
    encode(value).map(Returned::Value).map_err(|error| {
        Failure::new(
            BAD_RESULT,
            format_args!("the result cannot be encoded: {error}"),
        )
    })
}

/// A function's result that is an object.
pub fn answer_object(object: OutputObject) -> Answer {
    Ok(Returned::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_is_null() {
        assert!(matches!(answer(&()), Ok(Returned::Value(encoded)) if encoded == [0xf6]));
        assert_eq!(decode::<()>(&[0xf6]), Ok(()));
    }

    #[test]
    fn a_truncated_item_is_refused() {
        assert_eq!(decode::<String>(&[0x65, b'h']), Err(Error::Truncated));
        assert_eq!(decode::<u64>(&[]), Err(Error::Truncated));
    }

    #[test]
    fn bytes_after_the_item_are_refused() {
        assert_eq!(decode::<u64>(&[1, 2, 3]), Err(Error::Trailing(2)));
    }

    #[test]
    fn an_item_of_another_type_is_refused_with_both_types() {
        let error = decode::<String>(&[5]).expect_err("5 is no string");
        assert_eq!(
            error.to_string(),
            "invalid type: integer `5`, expected string"
        );
    }

    #[test]
    fn a_length_that_lies_reserves_no_memory() {
        // An array of 2^40 items, of which none follows.
        assert_eq!(
            decode::<Vec<u64>>(&[0x9b, 0, 0, 1, 0, 0, 0, 0, 0]),
            Err(Error::Truncated)
        );
        assert_eq!(
            decode::<String>(&[0x7b, 0, 0, 1, 0, 0, 0, 0, 0]),
            Err(Error::Truncated)
        );
    }

    #[test]
    fn an_item_that_nests_for_ever_is_refused() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Nested(Vec<Nested>);
        assert_eq!(decode::<Nested>(&[0x81; 1 << 20]), Err(Error::Nested));
    }
}
