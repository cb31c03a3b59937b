//! Tasks that other programs find by a name.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::id::{JobId, TaskIndex};

/// The longest name, in bytes.
pub const TASK_NAME_BYTES_MAX: usize = 256;

/// What a task is published as: 1 to [`TASK_NAME_BYTES_MAX`] bytes of text without control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskName(Arc<str>);

/// Why a text cannot be a [`TaskName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTaskName {
    /// It is empty.
    #[error("a name has at least one character")]
    Empty,
    /// It is too long.
    #[error("a name has at most {TASK_NAME_BYTES_MAX} bytes, and this one has {0}")]
    TooLong(usize),
    /// It has a control character.
    #[error("a name has no control characters")]
    Control,
}

impl TaskName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskName {
    type Err = InvalidTaskName;

    fn from_str(text: &str) -> Result<Self, InvalidTaskName> {
        match text.len() {
            0 => Err(InvalidTaskName::Empty),
            1..=TASK_NAME_BYTES_MAX if text.contains(char::is_control) => {
                Err(InvalidTaskName::Control)
            }
            1..=TASK_NAME_BYTES_MAX => Ok(Self(text.into())),
            more => Err(InvalidTaskName::TooLong(more)),
        }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> Encode<C> for TaskName {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for TaskName {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let position = decoder.position();
        decoder.str()?.parse().map_err(|invalid: InvalidTaskName| {
            minicbor::decode::Error::message(invalid).at(position)
        })
    }
}

/// A task that was published.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Published {
    /// Its name, within its tenant.
    #[n(0)]
    pub name: TaskName,
    /// Its job.
    #[n(1)]
    pub job: JobId,
    /// Its position in the job.
    #[n(2)]
    pub index: TaskIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_bounds() {
        let name = |text: &str| text.parse::<TaskName>().map(|name| name.to_string());
        assert_eq!(name("sales 2026/Q3 ✓"), Ok("sales 2026/Q3 ✓".into()));
        assert_eq!(name(""), Err(InvalidTaskName::Empty));
        assert_eq!(name("a\nb"), Err(InvalidTaskName::Control));
        assert_eq!(name(&"x".repeat(256)), Ok("x".repeat(256)));
        assert_eq!(name(&"x".repeat(257)), Err(InvalidTaskName::TooLong(257)));
    }
}
