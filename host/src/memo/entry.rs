//! The entries of the memo and their file format.
//!
//! An entry starts with the version of its format and a hash over its name and content. An entry
//! that a crash truncated, one of another version and one that lies under another's name are
//! misses. This is no defence: a process that can write to a place can forge results.

use serde::{Deserialize, Serialize};
use sortie_protocol::memo::Key;
use sortie_protocol::{Digest, Ending, Failure, Limits, Log, Output, TenantId};

/// What entries start with: the version of their format.
const VERSION: &[u8; 8] = b"sortie\0\x02";
const HASH_BYTES: usize = 32;

/// What is kept of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) ending: Ending,
    pub(crate) log: Option<Box<Log>>,
}

/// What names an entry: a tenant's key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) key: &'a Key,
}

impl Entry {
    /// Whether a function with these limits could have returned it.
    pub(super) fn fits(&self, limits: &Limits) -> bool {
        let result = match &self.ending {
            Ending::Completed(Output::Object(object))
                if object.stored.size > limits.output_bytes.as_u64() =>
            {
                return false;
            }
            Ending::Completed(Output::Object(_)) | Ending::Failed(_) | Ending::Cancelled => 0,
            Ending::Completed(output) => output.size(),
        };
        let log = self.log.as_ref().map_or(0, |log| log.text.len() as u64);
        is_final(&self.ending) && result <= limits.result.as_u64() && log <= limits.log.as_u64()
    }

    /// The bytes that are kept under `name`.
    pub(crate) fn seal(
        &self,
        name: Name<'_>,
    ) -> Result<Vec<u8>, ciborium::ser::Error<std::io::Error>> {
        let mut content = Vec::new();
        ciborium::into_writer(self, &mut content)?;
        Ok(Self::seal_content(name, &content))
    }

    /// The same of an entry that is written already.
    pub(crate) fn seal_content(name: Name<'_>, content: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(VERSION.len() + HASH_BYTES + content.len());
        sealed.extend_from_slice(VERSION);
        sealed.extend_from_slice(hash(name, content).as_bytes());
        sealed.extend_from_slice(content);
        sealed
    }

    /// The entry, if these bytes are what was kept under `name`.
    pub(crate) fn open(name: Name<'_>, sealed: &[u8]) -> Option<Self> {
        let (sum, content) = sealed.strip_prefix(VERSION)?.split_at_checked(HASH_BYTES)?;
        if hash(name, content).as_bytes() != sum {
            return None;
        }
        ciborium::from_reader(content).ok()
    }
}

/// The object that these bytes refer to, whatever name they lie under; none where they are damaged
/// or refer to none.
///
/// # Errors
/// When they are of another version, so that it is not known what they refer to.
pub(crate) fn reference(sealed: &[u8]) -> Result<Option<Digest>, OtherVersion> {
    let content = sealed.strip_prefix(VERSION).ok_or(OtherVersion)?;
    let content = content.get(HASH_BYTES..).unwrap_or_default();
    let entry: Option<Entry> = ciborium::from_reader(content).ok();
    Ok(match entry.map(|entry| entry.ending) {
        Some(Ending::Completed(Output::Stored(stored))) => Some(stored.digest),
        Some(Ending::Completed(Output::Object(object))) => Some(object.stored.digest),
        Some(
            Ending::Completed(Output::Value(_) | Output::AtBroker(_))
            | Ending::Failed(_)
            | Ending::Cancelled,
        )
        | None => None,
    })
}

/// An entry of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OtherVersion;

impl Name<'_> {
    /// 64 hexadecimal digits that name both.
    pub(super) fn to_hex(self) -> String {
        hash(self, b"").to_hex().to_string()
    }
}

fn hash(name: Name<'_>, content: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("sortie memo entry 2");
    hasher
        .update(&(name.tenant.as_str().len() as u64).to_le_bytes())
        .update(name.tenant.as_str().as_bytes());
    hasher.update(name.key.as_bytes()).update(content);
    hasher.finalize()
}

/// Whether an ending is the function's own answer and will be the same next time.
pub(crate) fn is_final(ending: &Ending) -> bool {
    match ending {
        Ending::Completed(_) => true,
        Ending::Failed(Failure::Answer { retry, .. }) => retry.is_none(),
        Ending::Failed(
            Failure::Trapped { .. }
            | Failure::Stopped { .. }
            | Failure::Input { .. }
            | Failure::Platform { .. }
            | Failure::Refused { .. }
            | Failure::Upstream { .. },
        )
        | Ending::Cancelled => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sortie_protocol::memo::KeyBuilder;
    use sortie_protocol::{ByteSize, FunctionRef};

    use super::*;

    pub(crate) fn key(function: &str) -> Key {
        KeyBuilder::new(
            &FunctionRef {
                component: Digest::of(b""),
                name: function.into(),
            },
            &Limits::default(),
        )
        .finish()
    }

    pub(crate) fn entry(size: usize) -> Entry {
        Entry {
            ending: Ending::Completed(vec![7; size].into()),
            log: None,
        }
    }

    #[test]
    fn an_entry_opens_under_its_own_name_only_and_only_undamaged() {
        let (f, g) = (key("f"), key("g"));
        let name = Name {
            tenant: "a".parse().unwrap(),
            key: &f,
        };
        let sealed = entry(3).seal(name).unwrap();
        assert_eq!(Entry::open(name, &sealed), Some(entry(3)));
        assert_eq!(
            Entry::open(
                Name {
                    tenant: "b".parse().unwrap(),
                    ..name
                },
                &sealed
            ),
            None
        );
        assert_eq!(Entry::open(Name { key: &g, ..name }, &sealed), None);
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert_eq!(Entry::open(name, &damaged), None, "byte {position}");
            assert_eq!(
                Entry::open(name, &sealed[..position]),
                None,
                "cut at {position}"
            );
        }
    }

    #[test]
    fn what_the_limits_forbid_is_not_taken_from_a_memo() {
        let limits = Limits {
            result: ByteSize(10),
            log: ByteSize(2),
            ..Limits::default()
        };
        assert!(entry(10).fits(&limits) && !entry(11).fits(&limits));
        let log = Some(Box::new(Log {
            text: "abc".into(),
            dropped: 0,
        }));
        assert!(!Entry { log, ..entry(1) }.fits(&limits));
        assert!(
            !Entry {
                ending: Ending::Cancelled,
                log: None
            }
            .fits(&limits)
        );
    }
}
