//! Who coordinates an open job.

use minicbor::{Decode, Encode};

use crate::id::WorkerId;

/// A claim to the coordination of an open job: to release its tasks as their inputs come, and to
/// seal it when all have ended. It holds while it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Term {
    /// Which claim it is, from 1; each that takes over from another has the next number.
    #[n(0)]
    pub number: u64,
    /// A name that no other process has.
    #[n(1)]
    pub holder: WorkerId,
    /// Whether the holder goes on. If not, whoever wants to may take over at once.
    #[n(2)]
    pub holds: bool,
}
