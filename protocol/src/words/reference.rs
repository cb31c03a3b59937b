//! References to results of other tasks, inside of values.
//!
//! A value that is an argument may contain, at any depth, the results of tasks that have not ended
//! when it is made. In its place each has a reference: the CBOR tag [`RESULT`] on the index of the
//! task, an unsigned integer (RFC 8949, section 3.4). Before the function is called each reference
//! is replaced by the result, which is one complete item, so what the function gets has none.
//!
//! Values are walked head by head, without recursion: what is nested costs no stack.

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use crate::id::TaskIndex;

/// The tag of a reference. It is not registered; values of users that have it are refused where
/// references are made.
pub const RESULT: u64 = 0x736f_7274;

/// A value cannot be read, or has a reference that it must not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not a CBOR item.
    #[error("the value is not a CBOR item: {0}")]
    Malformed(String),
    /// Its reference is not to a task.
    #[error("the value has the tag {RESULT}, which is reserved, on something that is no task")]
    NoTask,
    /// There is no result of that task.
    #[error("the value refers to task {0}, whose result is not at hand")]
    Missing(TaskIndex),
    /// What that task made is not one CBOR item.
    #[error("the result of task {0} is not one CBOR item")]
    NoItem(TaskIndex),
}

impl From<minicbor::decode::Error> for Invalid {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The tasks that a value refers to, in the order of their places.
///
/// # Errors
/// When it is not a sequence of CBOR items, or has the tag on something else.
pub fn results(value: &[u8]) -> Result<Vec<TaskIndex>, Invalid> {
    let mut tasks = Vec::new();
    walk(value, |_, task| {
        tasks.push(task);
        Ok(())
    })?;
    Ok(tasks)
}

/// The task whose result the whole value is, if it is a reference and nothing else.
#[must_use]
pub fn whole(value: &[u8]) -> Option<TaskIndex> {
    let mut decoder = Decoder::new(value);
    let task = reference(&mut decoder).ok()??;
    (decoder.position() == value.len()).then_some(task)
}

/// Whether the value is a list of results and of nothing else.
#[must_use]
pub fn is_list(value: &[u8]) -> bool {
    let mut decoder = Decoder::new(value);
    let Ok(length) = decoder.array() else {
        return false;
    };
    let mut left = length;
    while left != Some(0) && decoder.datatype().is_ok_and(|kind| kind != Type::Break) {
        if !matches!(reference(&mut decoder), Ok(Some(_))) {
            return false;
        }
        left = left.map(|left| left - 1);
    }
    // The end of a list of unknown length is one byte.
    let end = decoder.position() + usize::from(length.is_none());
    left.unwrap_or_default() == 0 && end == value.len()
}

/// The value with each reference replaced by the task's result.
///
/// # Errors
/// As [`results`], and when `result` has none.
pub fn replaced<'r>(
    value: &[u8],
    mut result: impl FnMut(TaskIndex) -> Option<&'r [u8]>,
) -> Result<Vec<u8>, Invalid> {
    let (mut whole, mut copied) = (Vec::with_capacity(value.len()), 0);
    walk(value, |at, task| {
        let found = result(task).ok_or(Invalid::Missing(task))?;
        if !is_item(found) {
            return Err(Invalid::NoItem(task));
        }
        whole.extend_from_slice(value.get(copied..at.start).unwrap_or_default());
        whole.extend_from_slice(found);
        copied = at.end;
        Ok(())
    })?;
    whole.extend_from_slice(value.get(copied..).unwrap_or_default());
    Ok(whole)
}

/// Whether bytes are one complete CBOR item. Functions are not trusted to return one.
fn is_item(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::new(bytes);
    decoder.skip().is_ok() && decoder.position() == bytes.len()
}

/// Find each reference, with its place.
fn walk(
    value: &[u8],
    mut found: impl FnMut(std::ops::Range<usize>, TaskIndex) -> Result<(), Invalid>,
) -> Result<(), Invalid> {
    let mut decoder = Decoder::new(value);
    while decoder.position() < value.len() {
        let start = decoder.position();
        if let Some(task) = reference(&mut decoder)? {
            found(start..decoder.position(), task)?;
        }
    }
    Ok(())
}

/// Read a reference, or pass over one head and what belongs to it alone.
fn reference(decoder: &mut Decoder<'_>) -> Result<Option<TaskIndex>, Invalid> {
    match decoder.datatype()? {
        Type::Tag if decoder.tag()? == Tag::new(RESULT) => {
            let task = decoder.u64().map_err(|_| Invalid::NoTask)?;
            return Ok(Some(task));
        }
        Type::Tag => {}
        Type::Array | Type::ArrayIndef => {
            decoder.array()?;
        }
        Type::Map | Type::MapIndef => {
            decoder.map()?;
        }
        // The pieces of a string of unknown length follow as strings, and then its end.
        Type::BytesIndef | Type::StringIndef | Type::Break => {
            decoder.set_position(decoder.position() + 1);
        }
        _ => decoder.skip()?,
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &[u8]) -> Vec<u8> {
        text.to_vec()
    }

    /// `[1, {"a": RESULT(7)}, RESULT(300), "x"]`
    fn nested() -> Vec<u8> {
        let tag = [0xda, 0x73, 0x6f, 0x72, 0x74];
        [
            &[0x84, 0x01, 0xa1, 0x61, b'a'][..],
            &tag,
            &[0x07],
            &tag,
            &[0x19, 0x01, 0x2c, 0x61, b'x'],
        ]
        .concat()
    }

    #[test]
    fn references_are_found_and_replaced_wherever_they_lie() {
        let value = nested();
        assert_eq!(results(&value), Ok(vec![7, 300]));
        assert_eq!(whole(&value), None);
        let (seven, three_hundred) = (item(&[0x82, 0x01, 0x02]), item(b"\x63abc"));
        let replaced = replaced(&value, |task| match task {
            7 => Some(&seven[..]),
            300 => Some(&three_hundred[..]),
            _ => None,
        });
        let should = item(&[
            0x84, 0x01, 0xa1, 0x61, b'a', 0x82, 0x01, 0x02, 0x63, b'a', b'b', b'c', 0x61, b'x',
        ]);
        assert_eq!(replaced, Ok(should));
    }

    #[test]
    fn a_reference_alone_is_the_whole_value() {
        let value = item(&[0xda, 0x73, 0x6f, 0x72, 0x74, 0x05]);
        assert_eq!(whole(&value), Some(5));
        assert_eq!(replaced(&value, |_| Some(&[0x0a])), Ok(vec![0x0a]));
        assert_eq!(whole(&[0x05]), None);
    }

    #[test]
    fn a_list_of_results_has_nothing_else() {
        let result = [0xda, 0x73, 0x6f, 0x72, 0x74, 0x05];
        let list = |head: &[u8], end: &[u8]| [head, &result, &result, end].concat();
        assert!(is_list(&list(&[0x82], &[])));
        assert!(is_list(&list(&[0x9f], &[0xff])));
        assert!(is_list(&[0x80]));
        for no_list in [
            result.to_vec(),
            nested(),
            list(&[0x83], &[0x01]),
            list(&[0x83], &[]),
            list(&[0x82], &[0x01]),
            list(&[0x9f], &[]),
            list(&[0xa1], &[]),
            item(&[]),
        ] {
            assert!(!is_list(&no_list), "{no_list:02x?}");
        }
    }

    #[test]
    fn what_is_no_reference_stays() {
        for value in [
            // A tagged time, bytes that look like a reference, strings of unknown length, floats.
            item(&[0xc1, 0x1a, 0x51, 0x4b, 0x67, 0xb0]),
            item(b"\x45\xdasort"),
            item(&[0x7f, 0x61, b'a', 0x61, b'b', 0xff]),
            item(&[0x9f, 0x5f, 0x41, 0x01, 0xff, 0xf9, 0x3c, 0x00, 0xff]),
            item(&[0xf6]),
        ] {
            assert_eq!(results(&value), Ok(vec![]), "{value:02x?}");
            assert_eq!(replaced(&value, |_| None), Ok(value));
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_refused_and_nesting_costs_no_stack() {
        let tagged_text = item(&[0xda, 0x73, 0x6f, 0x72, 0x74, 0x61, b'a']);
        assert_eq!(results(&tagged_text), Err(Invalid::NoTask));
        assert!(matches!(results(&[0x62, b'a']), Err(Invalid::Malformed(_))));
        assert_eq!(replaced(&nested(), |_| None), Err(Invalid::Missing(7)));
        let mut deep = vec![0x81; 1 << 20];
        deep.push(0x00);
        assert_eq!(results(&deep), Ok(vec![]));
    }
}
