//! Objects.

use std::io::BufRead as _;

use serde_bytes::ByteBuf;
use sortie_guest::{Failure, Object};

/// Returns an object's size and the sum of its bytes, read as a stream.
#[sortie_guest::function]
fn sum_of(object: Object) -> Result<(u64, u64), Failure> {
    Ok((object.size(), sum(&object)?))
}

/// Returns `len` bytes of an object from `offset`.
#[sortie_guest::function]
fn reads_range(object: Object, offset: u64, len: u64) -> Result<ByteBuf, Failure> {
    let len = u32::try_from(len).map_err(|error| Failure::new("too-large", error))?;
    Ok(ByteBuf::from(object.read_at(offset, len)?))
}

/// Returns the name and the sum of the bytes of each of two objects.
#[sortie_guest::function]
fn two_objects(a: Object, b: Object) -> Result<[(String, u64); 2], Failure> {
    Ok([
        (a.name().to_owned(), sum(&a)?),
        (b.name().to_owned(), sum(&b)?),
    ])
}

/// Reads the first byte of an object for ever.
#[sortie_guest::function]
fn reads_forever(object: Object) -> Result<(), Failure> {
    loop {
        object.read_at(0, 1)?;
    }
}

fn sum(object: &Object) -> Result<u64, Failure> {
    let mut reader = object.reader();
    let mut sum = 0u64;
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(sum);
        }
        sum += piece.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let used = piece.len();
        reader.consume(used);
    }
}
