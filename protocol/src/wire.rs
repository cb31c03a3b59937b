//! The values as bytes: a versioned envelope, and how single fields are written.

pub(crate) mod codec;
pub mod envelope;
