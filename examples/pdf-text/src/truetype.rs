//! TrueType fonts without an encoding: what their codes mean.
//!
//! The standard leaves it to the font's own maps, which say which glyph a code draws and not which
//! character that is. Viewers take the codes for WinAnsiEncoding. So it is done here, unless the
//! font also maps characters to glyphs and says otherwise.

use hayro_font::Font;
use hayro_syntax::object::{Dict, Name};

use crate::cid::characters_by_glyph;

/// Whether a font dictionary says nothing about what codes mean.
pub(crate) fn lacks_encoding(font: &Dict<'_>) -> bool {
    let is_known = |name: &[u8]| {
        matches!(
            name,
            b"WinAnsiEncoding" | b"MacRomanEncoding" | b"MacExpertEncoding" | b"StandardEncoding"
        )
    };
    // Not embedded, these are the fonts of the same name, which have encodings of their own.
    let is_symbols = font.get::<Name<'_>>("BaseFont").is_some_and(|name| {
        [&b"Symbol"[..], b"Dingbats"]
            .iter()
            .any(|part| crate::streams::find(&name, part).is_some())
    });
    font.get::<Dict<'_>>("Encoding").is_none()
        && !font
            .get::<Name<'_>>("Encoding")
            .is_some_and(|name| is_known(&name))
        && !is_symbols
}

/// The characters of the codes of one font.
pub(crate) struct Characters([Option<char>; 256]);

impl Characters {
    pub(crate) fn read(font: &Font<'_>) -> Self {
        let by_glyph = characters_by_glyph(0, font);
        let of = |code: u8| {
            let usual = win_ansi(code);
            let glyph = font.map_code(u32::from(code)).to_u32();
            let own = by_glyph
                .get(&glyph)
                .copied()
                .filter(|&c| glyph != 0 && !is_private(c));
            // A glyph may serve several characters, of which the map turned round has one.
            match (usual, own) {
                (Some(usual), Some(own)) if !is_same_glyph(usual, own) => Some(own),
                (usual, own) => usual.or(own),
            }
        };
        Self(std::array::from_fn(|code| {
            u8::try_from(code).ok().and_then(of)
        }))
    }

    pub(crate) fn get(&self, code: u32) -> Option<char> {
        self.0.get(usize::try_from(code).ok()?).copied().flatten()
    }
}

/// Whether fonts draw both with one glyph.
fn is_same_glyph(a: char, b: char) -> bool {
    let plain = |c: char| match c {
        '\u{a0}' => ' ',
        '\u{ad}' | '\u{2010}' | '\u{2011}' => '-',
        '\u{2c9}' => '\u{af}',
        '\u{2219}' => '\u{b7}',
        '\u{2215}' => '\u{2044}',
        '\u{2126}' => '\u{3a9}',
        '\u{3bc}' => '\u{b5}',
        '\u{2206}' => '\u{394}',
        c => c,
    };
    plain(a) == plain(b)
}

fn is_private(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}')
}

/// WinAnsiEncoding, which is Latin-1 but for one row.
fn win_ansi(code: u8) -> Option<char> {
    const ROW: [char; 32] = [
        '\u{20ac}', '\u{2022}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}',
        '\u{2021}', '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{2022}', '\u{17d}',
        '\u{2022}', '\u{2022}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}',
        '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}',
        '\u{2022}', '\u{17e}', '\u{178}',
    ];
    match code {
        0x80..=0x9f => ROW.get(usize::from(code - 0x80)).copied(),
        0x20..=0x7e | 0xa0..=0xff => Some(char::from(code)),
        _ => None,
    }
}
