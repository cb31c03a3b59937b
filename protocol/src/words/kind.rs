//! The kinds of arguments, by how they travel.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// How an argument travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A CBOR item.
    #[n(0)]
    Value,
    /// A handle to an object.
    #[n(1)]
    Object,
    /// A handle to whatever objects lie below one place.
    #[n(2)]
    Prefix,
    /// A list of handles to objects.
    #[n(3)]
    Objects,
}

impl Kind {
    /// With its article, in a sentence.
    #[must_use]
    pub fn article(self) -> &'static str {
        match self {
            Self::Value => "an ordinary value",
            Self::Object => "an object",
            Self::Prefix => "a prefix",
            Self::Objects => "a list of objects",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value",
            Self::Object => "object",
            Self::Prefix => "prefix",
            Self::Objects => "objects",
        })
    }
}
