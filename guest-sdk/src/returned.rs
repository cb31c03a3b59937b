//! What a call of a function gives back: an encoded value, an object, or a failure.

use crate::failure::Failure;
use crate::output::OutputObject;

/// The result of a call.
pub type Answer = Result<Returned, Failure>;

/// What a function returned.
#[derive(Debug)]
pub enum Returned {
    /// One CBOR item.
    Value(Vec<u8>),
    /// An object that the function made.
    Object(OutputObject),
}
