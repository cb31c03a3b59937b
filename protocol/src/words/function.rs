//! Functions: what a task calls, and how it names it.

use std::fmt;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::Digest;

/// A function: an export of one exact component.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Encode, Decode,
)]
#[cbor(map)]
pub struct FunctionRef {
    /// The component.
    #[n(0)]
    pub component: Digest,
    /// The function's name there.
    #[cbor(n(1), with = "codec::text")]
    pub name: Arc<str>,
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.component.short())
    }
}

/// The place of a function in its job's table, from 0.
pub type FunctionIndex = u32;
