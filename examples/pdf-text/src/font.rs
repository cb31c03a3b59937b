//! Fonts as text extraction needs them: from the bytes of a string to advances and plain text, one
//! table lookup for each code.
//!
//! hayro-font reads the font; this module asks it once for each code and remembers the answer,
//! because every question walks character maps and glyph names. Where the font does not say what a
//! code means, the rules of last resort are here (TeX fonts without names) and in [`crate::cid`]
//! (CJK fonts without `ToUnicode`).
//!
//! Outlines are never asked for. A font is loaded once for each document; tables are bounded by the
//! codes that occur.

use hayro_font::hayro_cmap::BfString;
use hayro_font::{
    CMapResolverFn, Font, FontCache, FontGlyph, FontQuery, FontResolverFn, GlyphId, StandardFont,
};
use hayro_syntax::object::{Dict, Name};
use rustc_hash::FxHashMap;
use std::sync::Arc;

use crate::cid;
use crate::glyph::{Kind, Text, Texts};
use crate::unicode;

/// What one code of a font does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    /// How far the pen moves along the writing direction, for font size 1. Negative in vertical
    /// fonts, which write downwards.
    pub(crate) advance: f32,
    pub(crate) text: Text,
    pub(crate) kind: Kind,
}

/// A font of the document, with what was learnt about its codes.
pub(crate) struct Face<'a> {
    font: Font<'a>,
    codes: Codes,
    unmapped: Unmapped,
    pub(crate) is_vertical: bool,
    /// The size of the letters against the font size: 1 except in Type 3 fonts, whose matrix may
    /// say anything.
    pub(crate) em: f32,
}

enum Codes {
    /// One byte each.
    Simple(Box<[Option<Code>; 256]>),
    /// Codes of one to four bytes; `is_two_bytes` when all of them have two.
    Composite {
        is_two_bytes: bool,
        known: FxHashMap<u32, Code>,
    },
}

/// What to do with a code the font does not explain.
enum Unmapped {
    /// The code is the character, but for the ligatures and accents of one of TeX's two encodings.
    Tex { is_ot1: bool },
    /// The code is the character if it is a printable one.
    Plain,
    /// Look at the character collection or the embedded font.
    Cid(Box<cid::Resolver>),
    /// A stand-in font: only ASCII makes sense.
    Ascii,
}

/// Loads fonts, each once.
pub(crate) struct Loader<'a> {
    cache: FontCache<'a>,
    fonts: FontResolverFn,
    cmaps: CMapResolverFn,
}

impl<'a> Loader<'a> {
    pub(crate) fn new() -> Self {
        Self {
            cache: FontCache::new(),
            fonts: Arc::new(|query| match query {
                FontQuery::Standard(font) => Some(font.get_font_data()),
                FontQuery::Fallback(query) => Some(query.pick_standard_font().get_font_data()),
            }),
            cmaps: Arc::new(hayro_cmap::load_embedded),
        }
    }

    /// The font of a font dictionary, or the stand-in when it cannot be read.
    pub(crate) fn load(&self, dict: &Dict<'a>) -> Option<Face<'a>> {
        match self.cache.font(dict, &self.fonts, &self.cmaps) {
            Some(font) => Some(Face::new(font, dict, &self.cmaps)),
            None => self.stand_in(),
        }
    }

    /// What other readers use where a page names no font, or one that does not exist.
    pub(crate) fn stand_in(&self) -> Option<Face<'a>> {
        let font = self
            .cache
            .standard_font(StandardFont::Helvetica, &self.fonts)?;
        Some(Face {
            font,
            codes: Codes::simple(),
            unmapped: Unmapped::Ascii,
            is_vertical: false,
            em: 1.0,
        })
    }
}

impl Codes {
    fn simple() -> Self {
        Self::Simple(Box::new([None; 256]))
    }
}

impl<'a> Face<'a> {
    fn new(font: Font<'a>, dict: &Dict<'a>, cmaps: &CMapResolverFn) -> Self {
        let subtype = dict.get::<Name<'_>>("Subtype");
        let is_vertical = !font.is_horizontal();
        if subtype.as_deref() == Some(b"Type0") {
            let encoding = dict.get::<Name<'_>>("Encoding");
            let is_two_bytes = matches!(encoding.as_deref(), Some(b"Identity-H" | b"Identity-V"));
            let unmapped = Unmapped::Cid(Box::new(cid::Resolver::new(dict, Arc::clone(cmaps))));
            return Self {
                font,
                codes: Codes::Composite {
                    is_two_bytes,
                    known: FxHashMap::default(),
                },
                unmapped,
                is_vertical,
                em: 1.0,
            };
        }
        let em = if subtype.as_deref() == Some(b"Type3") {
            type3_em(&font)
        } else {
            1.0
        };
        // TeX knows no TrueType; the subsets of other producers number their glyphs as they come.
        let unmapped = match subtype.as_deref() {
            Some(b"TrueType") => Unmapped::Plain,
            // Codes 11 to 15 are the ligatures of OT1; T1 has rare signs there and its ligatures at
            // 27 to 31.
            _ => Unmapped::Tex {
                is_ot1: (0x0b..=0x0f).any(|code| font.code_advance(code).x > 0.0),
            },
        };
        Self {
            font,
            codes: Codes::simple(),
            unmapped,
            is_vertical,
            em,
        }
    }

    /// The code at `at`, and how many bytes it takes.
    pub(crate) fn read(&self, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
        let first = *bytes.get(at)?;
        match &self.codes {
            Codes::Simple(_) => Some((u32::from(first), 1)),
            Codes::Composite {
                is_two_bytes: true, ..
            } => match bytes.get(at + 1) {
                Some(&second) => Some((u32::from(first) << 8 | u32::from(second), 2)),
                None => Some((0, 1)),
            },
            Codes::Composite { .. } => {
                let (code, len) = self.font.read_code(bytes, at);
                Some((code, len.max(1)))
            }
        }
    }

    /// What a code does.
    pub(crate) fn code(&mut self, code: u32, texts: &mut Texts) -> Code {
        match &self.codes {
            Codes::Simple(table) => {
                if let Some(Some(known)) =
                    usize::try_from(code).ok().and_then(|code| table.get(code))
                {
                    return *known;
                }
            }
            Codes::Composite { known, .. } => {
                if let Some(known) = known.get(&code) {
                    return *known;
                }
            }
        }
        let learnt = self.learn(code, texts);
        match &mut self.codes {
            Codes::Simple(table) => {
                if let Some(entry) = usize::try_from(code)
                    .ok()
                    .and_then(|code| table.get_mut(code))
                {
                    *entry = Some(learnt);
                }
            }
            Codes::Composite { known, .. } => {
                known.insert(code, learnt);
            }
        }
        learnt
    }

    fn learn(&mut self, code: u32, texts: &mut Texts) -> Code {
        let advance = self.font.code_advance(code);
        let advance = narrow(if self.is_vertical {
            advance.y
        } else {
            advance.x
        }) / 1000.0;
        let text = texts.intern(&self.text_of(code));
        let mut kind = texts.first(text).map(unicode::kind_of).unwrap_or_default();
        if self.is_vertical {
            kind = kind | Kind::VERTICAL;
        }
        Code {
            advance,
            text,
            kind,
        }
    }

    fn text_of(&mut self, code: u32) -> String {
        let said = match self.font.glyph(GlyphId::NOTDEF, code) {
            FontGlyph::Outline(glyph) => glyph.as_unicode(),
            FontGlyph::Type3(glyph) => glyph.as_unicode(),
        };
        let said = match said {
            Some(BfString::Char(c)) => c.to_string(),
            Some(BfString::String(string)) => string,
            None => String::new(),
        };
        let is_nonsense = said.chars().all(|c| c.is_control() && !c.is_whitespace());
        if is_nonsense {
            self.unmapped.text_of(code, &self.font)
        } else {
            unicode::plain(&said)
        }
    }
}

impl Unmapped {
    fn text_of(&mut self, code: u32, font: &Font<'_>) -> String {
        match self {
            Self::Tex { is_ot1 } => tex(code, *is_ot1).unwrap_or_default(),
            Self::Plain if code < 0x20 => char::REPLACEMENT_CHARACTER.to_string(),
            Self::Plain => tex(code, false).unwrap_or_default(),
            Self::Cid(resolver) => unicode::plain(&resolver.text_of(code, font)),
            Self::Ascii => char::from_u32(code)
                .filter(char::is_ascii)
                .filter(|c| !c.is_control())
                .map(String::from)
                .unwrap_or_default(),
        }
    }
}

/// What codes mean in fonts that carry no names (dvips bitmaps): ASCII and Latin-1, but for the
/// ligatures and accents of TeX's text fonts.
fn tex(code: u32, is_ot1: bool) -> Option<String> {
    /// From code 11 on.
    const OT1: [&str; 21] = [
        "ff", "fi", "fl", "ffi", "ffl", "\u{131}", "\u{237}", "`", "\u{b4}", "\u{2c7}", "\u{2d8}",
        "\u{af}", "\u{2da}", "\u{b8}", "ß", "æ", "œ", "ø", "Æ", "Œ", "Ø",
    ];
    /// From code 0 on.
    const T1: [&str; 32] = [
        "`", "\u{b4}", "\u{2c6}", "\u{2dc}", "\u{a8}", "\u{2dd}", "\u{2da}", "\u{2c7}", "\u{2d8}",
        "\u{af}", "\u{2d9}", "\u{b8}", "\u{2db}", "\u{201a}", "\u{2039}", "\u{203a}", "\u{201c}",
        "\u{201d}", "\u{201e}", "\u{ab}", "\u{bb}", "\u{2013}", "\u{2014}", "", "", "\u{131}",
        "\u{237}", "ff", "fi", "fl", "ffi", "ffl",
    ];
    let entry = |table: &[&str], from: u32| {
        table
            .get(usize::try_from(code.checked_sub(from)?).ok()?)
            .map(|&text| text.to_owned())
    };
    match code {
        0x0b..=0x1f if is_ot1 => entry(&OT1, 0x0b),
        0x7f if is_ot1 => Some("\u{a8}".into()),
        0x00..=0x1f if !is_ot1 => entry(&T1, 0),
        0xd7 => Some("Œ".into()),
        0xf7 => Some("œ".into()),
        0xff => Some("ß".into()),
        0x20..=0x7e | 0xa1..=0xfe => char::from_u32(code).map(String::from),
        _ => None,
    }
}

/// The em of a Type 3 font, judged by the widths of its glyphs: letters of text are about half an
/// em wide.
fn type3_em(font: &Font<'_>) -> f32 {
    let mut widths: Vec<f32> = (0..256)
        .map(|code| narrow(font.code_advance(code).x.abs()))
        .filter(|&width| width > 0.0)
        .collect();
    widths.sort_by(f32::total_cmp);
    let middle = widths.get(widths.len() / 2).copied().unwrap_or(500.0);
    let em = middle / 500.0;
    if em.is_finite() && em > 0.0 { em } else { 1.0 }
}

/// Coordinates lose nothing that matters in single precision.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding is what is wanted; out of range becomes infinite, which callers drop"
)]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_without_names_follow_one_of_the_two_tex_encodings() {
        let texts = |codes: &[u32], is_ot1| {
            codes
                .iter()
                .filter_map(|&code| tex(code, is_ot1))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            texts(&[0x0b, 0x0c, 0x0d, 0x0e, 0x0f], true),
            ["ff", "fi", "fl", "ffi", "ffl"]
        );
        assert_eq!(
            texts(&[0x1b, 0x1c, 0x1d, 0x1e, 0x1f], false),
            ["ff", "fi", "fl", "ffi", "ffl"]
        );
        assert_eq!(texts(&[0x13, 0x1c, 0x41], true), ["\u{b4}", "ø", "A"]);
        assert_eq!(
            texts(&[0x20, 0x7e, 0xe9, 0xff, 0xd7, 0x90, 0x100], false),
            [" ", "~", "é", "ß", "Œ"]
        );
    }
}
