//! Memo keys: derives the key of a task's result in the cache of results.
//!
//! A key covers everything a deterministic task can see: the contract, the component, the function,
//! each argument, the version of each object, and the limits that a guest can notice. A task with a
//! grant sees more than that and has no key. Neither has a task with an object whose store provides
//! no validator, or with a prefix, whose content may change at any time. Limits on time and on
//! output size are left out: they decide whether there is a result, never which one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::CONTRACT_VERSION;
use crate::address::{Address, Place};
use crate::function::FunctionRef;
use crate::job::Limits;
use crate::size::ByteSize;

/// The hash of a task's content. Two deterministic tasks with equal keys have equal results.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key([u8; 32]);

impl Key {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Hashes a task's content into a [`Key`].
#[derive(Debug, Clone)]
pub struct KeyBuilder {
    hasher: blake3::Hasher,
}

impl KeyBuilder {
    /// Start with the parts that all tasks of a job share. Build it once and clone it for each
    /// task.
    #[must_use]
    pub fn new(function: &FunctionRef, limits: &Limits) -> Self {
        let mut builder = Self {
            hasher: blake3::Hasher::new_derive_key("sortie memo key 1"),
        };
        builder.bytes(CONTRACT_VERSION.as_bytes());
        builder.bytes(function.component.as_bytes());
        builder.bytes(function.name.as_bytes());
        let Limits {
            memory,
            wall_time: _,
            cpu_time: _,
            result,
            log,
            output_bytes: _,
        } = limits;
        for ByteSize(size) in [memory, result, log] {
            builder.bytes(&size.to_le_bytes());
        }
        builder
    }

    /// Add a value argument.
    pub fn value(&mut self, cbor: &[u8]) {
        self.hasher.update(b"v");
        self.bytes(cbor);
    }

    /// Add an object argument: where it is, and which version.
    pub fn object(&mut self, address: &Address, etag: &str, size: u64) {
        self.hasher.update(b"o");
        // Its parts, not its URL: two paths that are not UTF-8 may have one URL.
        self.bytes(&encoded(address));
        self.bytes(etag.as_bytes());
        self.bytes(&size.to_le_bytes());
    }

    /// Begin a list of objects, which are added next, one by one.
    pub fn list(&mut self, objects: usize) {
        self.hasher.update(b"l");
        self.hasher.update(&(objects as u64).to_le_bytes());
    }

    /// Add a prefix argument: where it is.
    pub fn prefix(&mut self, place: &Place) {
        self.hasher.update(b"p");
        self.bytes(&encoded(place));
    }

    /// The key.
    #[must_use]
    pub fn finish(&self) -> Key {
        Key(*self.hasher.finalize().as_bytes())
    }

    /// Each part is preceded by its length, so that different sequences of parts never hash alike.
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}

/// The parts of a name, in bytes.
fn encoded(name: &impl minicbor::Encode<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into memory cannot fail.
    let _ = minicbor::encode(name, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::Digest;

    fn at(url: &str) -> Address {
        url.parse().unwrap()
    }

    fn place(url: &str) -> Place {
        url.parse().unwrap()
    }

    fn builder(limits: Limits) -> KeyBuilder {
        KeyBuilder::new(
            &FunctionRef {
                component: Digest::of(b"c"),
                name: "f".into(),
            },
            &limits,
        )
    }

    fn key(change: impl FnOnce(&mut KeyBuilder)) -> Key {
        let mut builder = builder(Limits::default());
        change(&mut builder);
        builder.finish()
    }

    #[test]
    fn every_part_counts() {
        let keys = [
            key(|_| ()),
            key(|b| b.value(b"")),
            key(|b| b.value(b"ab")),
            key(|b| {
                b.value(b"a");
                b.value(b"b");
            }),
            key(|b| b.object(&at("s3://b/u"), "1", 2)),
            key(|b| b.object(&at("s3://b/u"), "2", 2)),
            key(|b| b.object(&at("s3://b/w"), "1", 2)),
            key(|b| {
                b.list(1);
                b.object(&at("s3://b/u"), "1", 2);
            }),
            key(|b| {
                b.list(0);
                b.object(&at("s3://b/u"), "1", 2);
            }),
            key(|b| b.prefix(&place("s3://b/u/"))),
            key(|b| b.prefix(&place("s3://b/w/"))),
            builder(Limits {
                memory: ByteSize(1 << 20),
                ..Limits::default()
            })
            .finish(),
        ];
        for (i, a) in keys.iter().enumerate() {
            for b in keys.iter().skip(i + 1) {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn limits_on_time_and_on_what_is_written_do_not_change_a_result() {
        let (wall_time, cpu_time, written) =
            (Duration::from_secs(9), Duration::from_secs(8), ByteSize(7));
        let longer = Limits {
            wall_time,
            cpu_time,
            output_bytes: written,
            ..Limits::default()
        };
        assert_eq!(
            builder(longer).finish(),
            builder(Limits::default()).finish()
        );
    }
}
