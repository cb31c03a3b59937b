//! Tenants, and the key that names a job among those of all tenants.
//!
//! A broker may serve several tenants. A job's id alone does not say whose it is, so everything at
//! a broker is keyed by tenant and job.

use std::fmt;
use std::str::FromStr;

use minicbor::decode::Error as DecodeError;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

use crate::id::JobId;

/// The most characters in a tenant's name: it becomes part of stream names.
pub const NAME_CHARS_MAX: usize = 32;

/// The name of a tenant: 1 to [`NAME_CHARS_MAX`] characters of `a-z`, `0-9` and `-`. Held in place,
/// so that keys can be copied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId {
    /// Filled up with zeros, which no name contains.
    bytes: [u8; NAME_CHARS_MAX],
}

/// The text is not a tenant's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {NAME_CHARS_MAX} characters of a-z, 0-9 and `-`")]
pub struct InvalidName;

impl TenantId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.bytes.iter().position(|byte| *byte == 0);
        let name = self.bytes.get(..end.unwrap_or(NAME_CHARS_MAX));
        // Only ASCII gets in.
        name.and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default()
    }
}

/// The tenant used when none is configured.
impl Default for TenantId {
    fn default() -> Self {
        let mut bytes = [0; NAME_CHARS_MAX];
        for (byte, character) in bytes.iter_mut().zip(b"default") {
            *byte = *character;
        }
        Self { bytes }
    }
}

impl FromStr for TenantId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let fits = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        if !(1..=NAME_CHARS_MAX).contains(&text.len()) || !text.as_bytes().iter().all(fits) {
            return Err(InvalidName);
        }
        let mut bytes = [0; NAME_CHARS_MAX];
        for (byte, character) in bytes.iter_mut().zip(text.bytes()) {
            *byte = character;
        }
        Ok(Self { bytes })
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.as_str().into()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<C> Encode<C> for TenantId {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(self.as_str())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for TenantId {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let position = decoder.position();
        let parsed = decoder.str()?.parse();
        parsed.map_err(|error: InvalidName| DecodeError::message(error.to_string()).at(position))
    }
}

/// Names a job among those of all tenants.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[cbor(map)]
pub struct JobKey {
    /// Whose job it is.
    #[n(0)]
    pub tenant: TenantId,
    /// The job.
    #[n(1)]
    pub job: JobId,
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_name_is_what_a_stream_can_be_named_with() {
        let longest = "a".repeat(NAME_CHARS_MAX);
        for name in ["a", "team-7", longest.as_str()] {
            assert_eq!(name.parse::<TenantId>().unwrap().as_str(), name);
        }
        let too_long = "a".repeat(NAME_CHARS_MAX + 1);
        for name in ["", "A", "a.b", "a b", "ä", "a\0", too_long.as_str()] {
            assert_eq!(name.parse::<TenantId>(), Err(InvalidName), "{name}");
        }
        assert_eq!(TenantId::default().as_str(), "default");
    }

    #[test]
    fn a_key_shows_its_tenant_and_its_job() {
        let key = JobKey {
            tenant: "team-7".parse().unwrap(),
            job: JobId::from_bytes([0x11; 16]),
        };
        assert_eq!(
            key.to_string(),
            "team-7/job-11111111111111111111111111111111"
        );
    }
}
