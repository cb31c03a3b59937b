//! A glyph with the marks over it: the unit that lines are spelled in.

use crate::glyph::{Glyph, Kind, Text, Texts};
use crate::unicode;

/// A glyph, with the marks over it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    pub(super) from: f32,
    pub(super) to: f32,
    /// The baseline.
    pub(super) across: f32,
    pub(super) em: f32,
    pub(super) text: Text,
    pub(super) kind: Kind,
    /// Combining marks on it.
    pub(super) marks: [Option<Text>; 2],
}

impl Cluster {
    pub(super) fn of(glyph: &Glyph) -> Self {
        let from = glyph.along();
        Self {
            from,
            to: from + glyph.advance,
            across: glyph.across(),
            em: glyph.em,
            text: glyph.text,
            kind: glyph.kind,
            marks: [None; 2],
        }
    }

    pub(super) fn space() -> Self {
        Self {
            from: 0.0,
            to: 0.0,
            across: 0.0,
            em: 0.0,
            text: Text::SPACE,
            kind: Kind::SPACE,
            marks: [None; 2],
        }
    }

    /// Append what it says.
    pub(super) fn write(&self, texts: &Texts, out: &mut String) {
        if self.marks == [None; 2] {
            return texts.push_to(self.text, out);
        }
        let mut marked = String::new();
        for text in std::iter::once(self.text).chain(self.marks.into_iter().flatten()) {
            texts.push_to(text, &mut marked);
        }
        unicode::push_accented(&marked, out);
    }
}
