//! What a submitter calls the input of a task, for people and programs that read results later.
//!
//! A broker keeps no arguments of tasks that have ended. So the submitter's word for the input
//! travels with the task, and the worker puts it into the outcome. Nobody on the way looks at it.

use std::fmt;
use std::sync::Arc;

use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

use crate::text::cut;

/// The longest name, in bytes: as long as the longest key in S3. A longer one is cut, because it
/// travels twice with each task, and a large value is no name.
pub const INPUT_NAME_BYTES_MAX: usize = 1024;

/// What a submitter calls the input of a task: any text of at most [`INPUT_NAME_BYTES_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct InputName(Arc<str>);

impl InputName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.len() + 4
    }
}

impl From<&str> for InputName {
    /// Longer text is cut, and ends in `…`.
    fn from(text: &str) -> Self {
        if text.len() <= INPUT_NAME_BYTES_MAX {
            Self(text.into())
        } else {
            Self(cut(text.into(), INPUT_NAME_BYTES_MAX).into())
        }
    }
}

impl From<String> for InputName {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl fmt::Display for InputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<C> Encode<C> for InputName {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for InputName {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        decoder.str().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_bound_wherever_it_comes_from() {
        let long = "é".repeat(INPUT_NAME_BYTES_MAX);
        let name = InputName::from(&*long);
        assert!(name.as_str().len() <= INPUT_NAME_BYTES_MAX && name.as_str().ends_with('…'));
        let bytes = minicbor::to_vec(&*long).unwrap();
        assert_eq!(minicbor::decode::<InputName>(&bytes).unwrap(), name);
        assert_eq!(InputName::from("a.pdf").to_string(), "a.pdf");
    }
}
