//! Fuzzes what is read from folders and stores that other processes write to: entries of the memo,
//! and blocks of inputs on disk.

use ciborium::cbor;
use sortie_host::fuzzing::{memo_entry, memo_same, memo_sealed};
use sortie_objects::fuzzing::{disk_block, disk_file};

use crate::input::{choose, chosen};
use crate::memory::{at_most, measured};

/// What opening an entry may allocate for each byte: text and bytes while their buffers grow.
const MEMORY_FACTOR: usize = 16;

const CONTENT: u8 = 0;
const SEALED: u8 = 1;
const BLOCK: u8 = 2;

/// Opens an entry or a block.
pub fn run(data: &[u8]) {
    match choose(data, BLOCK + 1) {
        // The hash of an entry has no key, so whoever writes to the store can have any content.
        Some((CONTENT, content)) => opens(&memo_sealed(content)),
        Some((SEALED, sealed)) => opens(sealed),
        Some((_, file)) => block(file),
        None => {}
    }
}

/// What is opened is sealed to an entry that is the same.
fn opens(sealed: &[u8]) {
    let (again, bytes) = measured(|| memo_entry(sealed));
    at_most(bytes, sealed, MEMORY_FACTOR);
    if let Some(again) = again {
        assert!(memo_same(sealed, &again));
    }
}

/// A block is what was written, under its name only.
fn block(file: &[u8]) {
    let content = disk_block([1; 16], 7, file.to_vec());
    if let Some(content) = content {
        assert_eq!(disk_file([1; 16], 7, &content), file);
        assert_eq!(disk_block([1; 16], 8, file.to_vec()), None);
    }
    let written = disk_file([1; 16], 7, file);
    assert_eq!(disk_block([1; 16], 7, written).as_deref(), Some(file));
}

/// Entries with values, stored values, objects and failures.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let digest = ciborium::Value::Bytes(vec![7; 32]);
    let value = ciborium::Value::Bytes(b"\x01".to_vec());
    let bucket = cbor!({ "Bucket" => { "service" => "S3", "bucket" => "b", "key" => "k" } });
    let bucket = bucket.expect("a literal is a value");
    let stored = cbor!({ "digest" => digest, "size" => 3, "location" => bucket });
    let stored = stored.expect("a literal is a value");
    let answer = cbor!({ "code" => "damaged", "message" => "m", "retry" => null });
    let answer = answer.expect("a literal is a value");
    let entries = [
        cbor!({ "ending" => { "Completed" => { "Value" => value } }, "log" => null }),
        cbor!({ "ending" => { "Completed" => { "Stored" => stored.clone() } }, "log" => null }),
        cbor!({
            "ending" => { "Completed" => { "Object" => {
                "stored" => stored, "content_type" => "text/plain"
            } } },
            "log" => { "text" => "said", "dropped" => 4 }
        }),
        cbor!({ "ending" => { "Failed" => { "Answer" => answer } }, "log" => null }),
        cbor!({ "ending" => "Cancelled", "log" => null }),
    ];
    let mut seeds = Vec::new();
    for entry in entries {
        let mut content = Vec::new();
        let entry = entry.expect("a literal is a value");
        ciborium::into_writer(&entry, &mut content).expect("memory takes every write");
        seeds.push(chosen(CONTENT, &content));
        seeds.push(chosen(SEALED, &memo_sealed(&content)));
    }
    seeds.push(chosen(BLOCK, &disk_file([1; 16], 7, b"0123456789")));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_among_the_seeds_are_opened() {
        let sealed = seeds()
            .into_iter()
            .filter(|seed| seed.first() == Some(&SEALED));
        for (number, seed) in sealed.enumerate() {
            let entry = memo_entry(seed.get(1..).unwrap_or_default());
            assert!(entry.is_some(), "entry {number}");
        }
    }
}
