//! Envelopes from the outside: their bytes as golden files, and what hostile bytes do.
//!
//! `golden` holds the format still, `hostile` throws bytes at the reader, `arbitrary` makes values
//! for both directions.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod arbitrary;
mod golden;
mod hostile;
mod notation;
mod samples;
