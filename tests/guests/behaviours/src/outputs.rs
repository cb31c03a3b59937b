//! Objects that functions make.

use std::io::{self, Write as _};

use sortie_guest::{Failure, Object, Output, OutputObject};

/// Makes an object of `len` bytes, each 0x5a, written in pieces.
#[sortie_guest::function]
fn makes_object(len: u64, content_type: Option<String>) -> Result<OutputObject, Failure> {
    let mut output = Output::create(content_type.as_deref())?;
    fill(&mut output, len)?;
    Ok(output.finish()?)
}

/// Makes an object with the bytes of another.
#[sortie_guest::function]
fn copies(object: Object) -> Result<OutputObject, Failure> {
    let mut output = Output::create(None)?;
    io::copy(&mut object.reader(), &mut output)?;
    Ok(output.finish()?)
}

/// Makes an object with the bytes of others, one after the other.
#[sortie_guest::function]
fn concatenates(objects: Vec<Object>) -> Result<OutputObject, Failure> {
    let mut output = Output::create(None)?;
    for object in &objects {
        io::copy(&mut object.reader(), &mut output)?;
    }
    Ok(output.finish()?)
}

/// Returns the names and sizes of objects, with the byte that each has at an offset, if it is so
/// long.
#[sortie_guest::function]
fn names_of(objects: Vec<Object>, offset: u64) -> Result<Vec<(String, u64, Option<u8>)>, Failure> {
    let described = objects.iter().map(|object| {
        let byte = object.read_at(offset, 1)?.first().copied();
        Ok((object.name().to_owned(), object.size(), byte))
    });
    described.collect()
}

/// Writes to an object for ever.
#[sortie_guest::function]
fn writes_forever() -> Result<OutputObject, Failure> {
    let mut output = Output::create(None)?;
    loop {
        fill(&mut output, 1 << 20)?;
    }
}

/// Writes `len` bytes to an object, and answers without finishing it.
#[sortie_guest::function]
fn leaves_a_writer(len: u64) -> Result<u64, Failure> {
    let mut output = Output::create(None)?;
    fill(&mut output, len)?;
    output.flush()?;
    std::mem::forget(output);
    Ok(len)
}

/// Writes `len` bytes to an object, and panics.
#[sortie_guest::function]
#[expect(clippy::panic, reason = "that is what it does")]
fn writes_and_panics(len: u64) -> Result<OutputObject, Failure> {
    let mut output = Output::create(None)?;
    fill(&mut output, len)?;
    output.flush()?;
    panic!("in the middle of an object");
}

/// Makes an object of `len` bytes, and fails.
#[sortie_guest::function]
fn makes_and_fails(len: u64) -> Result<OutputObject, Failure> {
    let mut output = Output::create(None)?;
    fill(&mut output, len)?;
    output.finish()?;
    Err(Failure::new("on-purpose", "after the object was made"))
}

/// Makes an object of `len` bytes, and returns its size, not the object.
#[sortie_guest::function]
fn makes_and_keeps(len: u64) -> Result<u64, Failure> {
    let mut output = Output::create(None)?;
    fill(&mut output, len)?;
    let made = output.finish()?;
    let size = made.size();
    std::mem::forget(made);
    Ok(size)
}

/// Begins as many objects as it may, and returns their number with what the last attempt was told.
#[sortie_guest::function]
fn begins_objects() -> (usize, String) {
    let mut begun = Vec::new();
    loop {
        match Output::create(None) {
            Ok(output) => begun.push(output),
            Err(error) => return (begun.len(), error.to_string()),
        }
    }
}

/// Creates small objects for ever and keeps the handles of all.
#[sortie_guest::function]
fn hoards_outputs() -> Result<(), Failure> {
    loop {
        let mut output = Output::create(None)?;
        output.write_all(b"one more")?;
        std::mem::forget(output.finish()?);
    }
}

fn fill(output: &mut Output, len: u64) -> Result<(), Failure> {
    let piece = vec![0x5a; 100_000];
    let mut left = len;
    while left > 0 {
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        output.write_all(piece.get(..bytes).unwrap_or_default())?;
        left -= bytes as u64;
    }
    Ok(())
}
