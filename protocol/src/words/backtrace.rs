//! Where in a function's code a task failed.

use std::fmt;

use minicbor::{Decode, Decoder, Encode};
use serde::{Deserialize, Serialize};

use crate::text::cut;

/// The calls that a task was in when it failed, from the innermost: names of the component's own
/// functions, as far as it has them. Guest text: to be escaped where it is shown.
///
/// Bounds: [`FRAMES_MAX`](Self::FRAMES_MAX) calls, [`BYTES_MAX`](Self::BYTES_MAX) together. What is
/// further out is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Encode)]
#[serde(from = "Vec<String>")]
#[cbor(transparent)]
pub struct Backtrace(Vec<String>);

impl Backtrace {
    /// The most calls that are told.
    pub const FRAMES_MAX: usize = 20;
    /// The most bytes that they take together.
    pub const BYTES_MAX: usize = 4096;

    /// One without calls: nothing is known.
    pub const NONE: &Self = &Self(Vec::new());

    /// The calls, from the innermost, as far as there is room.
    #[must_use]
    pub fn of(calls: impl IntoIterator<Item = String>) -> Self {
        let mut room = Self::BYTES_MAX;
        let mut frames = Vec::new();
        for call in calls.into_iter().take(Self::FRAMES_MAX) {
            if room < '…'.len_utf8() {
                break;
            }
            let frame = cut(call, room);
            room -= frame.len();
            frames.push(frame);
        }
        Self(frames)
    }

    /// The calls, from the innermost.
    #[must_use]
    pub fn frames(&self) -> &[String] {
        &self.0
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<String>> for Backtrace {
    fn from(calls: Vec<String>) -> Self {
        Self::of(calls)
    }
}

impl<'b, C> Decode<'b, C> for Backtrace {
    fn decode(decoder: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        Vec::decode(decoder, ctx).map(|calls: Vec<String>| Self::of(calls))
    }
}

impl fmt::Display for Backtrace {
    /// A line for each call: `  0: f`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, frame) in self.0.iter().enumerate() {
            let end = if place == 0 { "" } else { "\n" };
            write!(f, "{end}{place:>3}: {frame}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_calls_are_told_as_far_as_there_is_room() {
        let deep = Backtrace::of((0..100).map(|call| format!("f{call}")));
        assert_eq!(deep.frames().len(), Backtrace::FRAMES_MAX);
        assert_eq!(deep.frames()[0], "f0");
        let long = Backtrace::of(["a".repeat(4000), "é".repeat(1000), "c".into()]);
        let bytes: usize = long.frames().iter().map(String::len).sum();
        assert!(bytes <= Backtrace::BYTES_MAX && long.frames()[1].starts_with('é'));
        let lines = Backtrace::of(["f".into(), "g".into()]).to_string();
        assert_eq!(lines, "  0: f\n  1: g");
        assert!(Backtrace::NONE.is_empty());
    }
}
