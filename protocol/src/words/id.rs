//! Ids and digests.
//!
//! Each is a newtype, so that a job is never taken for a lease. They print in the form that logs,
//! results and broker subjects use, and are parsed from it if a user may type it. Random ids are
//! made by the caller: this crate has no source of randomness.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A position among the tasks of a job, from 0, in the order of submission.
pub type TaskIndex = u64;

/// The SHA-256 of a component's bytes; it *is* the environment a task runs in.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(transparent)]
pub struct Digest(#[cbor(with = "minicbor::bytes")] [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hexadecimal digits, for people to read.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = hex(&self.0);
        text.truncate(12);
        text
    }

    /// The 64 hexadecimal digits without the `sha256:` in front, for file names and subjects.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }
}

/// Makes a [`Digest`] of bytes that come in pieces.
#[derive(Debug, Clone, Default)]
pub struct DigestBuilder(sha2::Sha256);

impl DigestBuilder {
    /// Add further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix("sha256:").ok_or(ParseError {
            expected: "`sha256:` and 64 hexadecimal digits",
        })?;
        unhex(digits).map(Self).ok_or(ParseError {
            expected: "`sha256:` and 64 hexadecimal digits",
        })
    }
}

/// The text is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseError {
    expected: &'static str,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            Serialize, Deserialize, Encode, Decode,
        )]
        #[cbor(transparent)]
        pub struct $name(#[cbor(with = "minicbor::bytes")] [u8; 16]);

        impl $name {
            /// An id from 16 bytes that the caller drew at random.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                const EXPECTED: &str = concat!("`", $prefix, "` and 32 hexadecimal digits");
                let bytes = text.strip_prefix($prefix).and_then(unhex);
                bytes.map(Self).ok_or(ParseError { expected: EXPECTED })
            }
        }
    };
}

random_id!(
    /// Names a job. 128 random bits: clients make them without asking anyone.
    JobId,
    "job-"
);
random_id!(
    /// Names a worker process, for the time it runs.
    WorkerId,
    "worker-"
);

/// Names a lease within its broker. A lease that expired is never granted again under the same id,
/// which is what fences late workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    // Of a pair the standard library takes a sign for a digit.
    if digits.len() != 2 * N || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha256_and_round_trips_through_text() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.short(), "ba7816bf8f01");
    }

    #[test]
    fn ids_of_another_kind_do_not_parse() {
        let job = JobId::from_bytes([7; 16]);
        assert_eq!(job.to_string().parse(), Ok(job));
        assert!(job.to_string().parse::<WorkerId>().is_err());
        assert!("job-é".repeat(9).parse::<JobId>().is_err());
        assert!("sha256:12".parse::<Digest>().is_err());
        let signed = job.to_string().replace("07", "+7");
        assert!(signed.parse::<JobId>().is_err(), "{signed}");
    }
}
