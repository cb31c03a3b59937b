//! Positioned glyphs: what the content interpreter hands to the layout.
//!
//! A glyph is a point on its baseline, the way its pen moves, and what it says. Coordinates are
//! those of the page as a reader holds it: origin at the top left of the visible box, y down, the
//! page's own rotation applied. Sizes are in the same unit (1/72 inch).
//!
//! A glyph must not know its font: everything layout needs is copied here, so that layout can be
//! tested with glyphs made by hand and so that the inner loops touch one flat array. What a glyph
//! says is a [`Text`], one code point or an entry of [`Texts`], because most glyphs say one
//! character and a string for each would double the memory.
//!
//! Bounded by the limits in [`crate::limits`]: the interpreter stops at `GLYPHS_PER_PAGE_MAX`.

use std::ops::BitOr;

/// What a glyph says: a code point, or an index into [`Texts`] past the code points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Text(u32);

/// The first value of [`Text`] that is not a code point.
const STRINGS_FROM: u32 = 0x11_0000;

impl Text {
    /// Says nothing: the glyph only moves the pen.
    pub(crate) const NONE: Self = Self(0);
    /// A space that the file itself drew.
    pub(crate) const SPACE: Self = Self(b' ' as u32);

    pub(crate) const fn of(c: char) -> Self {
        Self(c as u32)
    }

    /// The code point, unless this is a longer string.
    pub(crate) fn as_char(self) -> Option<char> {
        char::from_u32(self.0)
    }
}

/// The strings of glyphs that say more than one character (ligatures, `ActualText`).
#[derive(Default)]
pub(crate) struct Texts {
    strings: Vec<Box<str>>,
}

impl Texts {
    /// The handle of `string`; strings of one character are not stored.
    pub(crate) fn intern(&mut self, string: &str) -> Text {
        let mut chars = string.chars();
        match (chars.next(), chars.next()) {
            (None, _) => Text::NONE,
            (Some(c), None) => Text::of(c),
            _ => {
                let index = u32::try_from(self.strings.len()).unwrap_or(u32::MAX - STRINGS_FROM);
                self.strings.push(string.into());
                Text(STRINGS_FROM.saturating_add(index))
            }
        }
    }

    /// The string behind a handle that is not a code point; empty for one of another document.
    pub(crate) fn get(&self, text: Text) -> &str {
        let index = text
            .0
            .checked_sub(STRINGS_FROM)
            .and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| self.strings.get(index))
            .map_or("", |string| string)
    }

    /// The first character, which decides how the glyph is treated.
    pub(crate) fn first(&self, text: Text) -> Option<char> {
        text.as_char()
            .or_else(|| self.get(text).chars().next())
            .filter(|&c| c != '\0')
    }

    /// Append what the glyph says.
    pub(crate) fn push_to(&self, text: Text, out: &mut String) {
        match text.as_char() {
            Some('\0') => {}
            Some(c) => out.push(c),
            None => out.push_str(self.get(text)),
        }
    }
}

/// Properties of a glyph that layout asks for often, computed once for each code of a font.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Kind(u16);

impl Kind {
    pub(crate) const SPACE: Self = Self(1);
    /// A combining mark.
    pub(crate) const MARK: Self = Self(2);
    /// A spacing accent, which TeX draws over a letter.
    pub(crate) const ACCENT: Self = Self(4);
    /// A letter of a script written from right to left.
    pub(crate) const RTL: Self = Self(8);
    pub(crate) const LETTER: Self = Self(16);
    pub(crate) const DIGIT: Self = Self(32);
    /// An ideograph, kana, hangul or full-width sign.
    pub(crate) const WIDE: Self = Self(64);
    /// Drawn by a font in vertical writing mode, or found to be stacked.
    pub(crate) const VERTICAL: Self = Self(128);
    /// Found to be of one letter-spaced word with the letter before it.
    pub(crate) const JOINED: Self = Self(256);
    /// The first one after the pen was set down anew, by a matrix or a move.
    pub(crate) const PLACED: Self = Self(512);

    /// Those of the given kinds that apply.
    pub(crate) fn of(self, among: Self) -> Self {
        Self(self.0 & among.0)
    }

    /// Whether any of the given kinds applies.
    pub(crate) fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

impl BitOr for Kind {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The smaller of two numbers that are not NaN. `f32::min` is a call of the C library on
/// WebAssembly, and layout asks for every glyph.
pub(crate) fn lesser(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// The larger of two numbers that are not NaN.
pub(crate) fn greater(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// One glyph on a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glyph {
    /// Where the pen stood.
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// The direction of writing, a unit vector.
    pub(crate) ux: f32,
    pub(crate) uy: f32,
    /// The width of the glyph along it. Character spacing is not part of it: some producers
    /// (groff) make the spaces between words with it.
    pub(crate) advance: f32,
    /// The font size along the direction of writing: the measure of gaps.
    pub(crate) em: f32,
    /// The font size across it: the measure of lines.
    pub(crate) size: f32,
    pub(crate) text: Text,
    pub(crate) kind: Kind,
}

impl Glyph {
    /// Position along its own direction of writing.
    pub(crate) fn along(&self) -> f32 {
        self.x * self.ux + self.y * self.uy
    }

    /// Position across its own direction of writing; later lines have larger values.
    pub(crate) fn across(&self) -> f32 {
        self.y * self.ux - self.x * self.uy
    }

    /// Whether both are written in the same direction, within two degrees.
    pub(crate) fn is_parallel(&self, other: &Self) -> bool {
        self.ux * other.ux + self.uy * other.uy > 0.9994
    }
}
