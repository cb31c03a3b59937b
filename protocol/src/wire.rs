//! The wire format: a versioned envelope, and the encoding of fields.

pub(crate) mod codec;
pub mod envelope;
