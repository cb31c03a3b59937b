//! Fonts as text extraction needs them: from the bytes of a string to advances and plain text, one
//! table lookup for each code.
//!
//! hayro-font reads the font; this module asks it once for each code and remembers the answer,
//! because every question walks character maps and glyph names. What the font itself says in a
//! `ToUnicode` map comes first. Where nothing says what a code means, the rules of last resort are
//! here (TeX fonts without names), in [`crate::truetype`] (fonts without an encoding) and in
//! [`crate::cid`] (CJK fonts without `ToUnicode`).
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
use crate::predefined::{self, Form};
use crate::streams::{Lookup, Source};
use crate::tounicode::ToUnicode;
use crate::truetype;
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
    /// None for a font whose codes cannot be told apart from glyphs.
    font: Option<Font<'a>>,
    to_unicode: Option<ToUnicode>,
    codes: Codes,
    unmapped: Unmapped,
    /// Why text in this font may be wrong.
    pub(crate) damage: Option<String>,
    pub(crate) is_vertical: bool,
    /// The size of the letters against the font size: 1 except in Type 3 fonts, whose matrix may
    /// say anything.
    pub(crate) em: f32,
}

enum Codes {
    /// One byte each.
    Simple(Box<[Option<Code>; 256]>),
    /// Codes of one to four bytes.
    Composite {
        width: Width,
        known: FxHashMap<u32, Code>,
    },
}

/// How long the codes of a composite font are.
#[derive(Clone, Copy)]
enum Width {
    Two,
    /// Those of a form of Unicode.
    Form(Form),
    /// As its CMap says.
    Mixed,
}

/// What to do with a code the font does not explain.
enum Unmapped {
    /// The code is the character, but for the ligatures and accents of one of TeX's two encodings.
    Tex { is_ot1: bool },
    /// The code is the character if it is a printable one.
    Plain,
    /// A TrueType font without an encoding.
    TrueType(Option<Box<truetype::Characters>>),
    /// Look at the character collection or the embedded font.
    Cid(Box<cid::Resolver>),
    /// The codes of an unknown CMap.
    Unknown,
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
            cmaps: Arc::new(predefined::load),
        }
    }

    /// The font of a font dictionary, or the stand-in when it cannot be read.
    pub(crate) fn load(&self, dict: &Dict<'a>, source: Source<'a>) -> Option<Face<'a>> {
        let mut face = match self.cache.font(dict, &self.fonts, &self.cmaps) {
            Some(font) => Face::new(font, dict, &self.cmaps),
            None if is_composite(dict) => Face::undecodable(dict),
            None => self.stand_in()?,
        };
        face.read_to_unicode(dict, source);
        Some(face)
    }

    /// What other readers use where a page names no font, or one that does not exist.
    pub(crate) fn stand_in(&self) -> Option<Face<'a>> {
        let font = self
            .cache
            .standard_font(StandardFont::Helvetica, &self.fonts)?;
        Some(Face {
            font: Some(font),
            to_unicode: None,
            codes: Codes::simple(),
            unmapped: Unmapped::Ascii,
            damage: None,
            is_vertical: false,
            em: 1.0,
        })
    }
}

fn is_composite(dict: &Dict<'_>) -> bool {
    dict.get::<Name<'_>>("Subtype").as_deref() == Some(b"Type0")
}

impl Codes {
    fn simple() -> Self {
        Self::Simple(Box::new([None; 256]))
    }

    fn composite(width: Width) -> Self {
        Self::Composite {
            width,
            known: FxHashMap::default(),
        }
    }
}

impl<'a> Face<'a> {
    fn new(font: Font<'a>, dict: &Dict<'a>, cmaps: &CMapResolverFn) -> Self {
        let subtype = dict.get::<Name<'_>>("Subtype");
        let is_vertical = !font.is_horizontal();
        let (mut em, mut codes) = (1.0, Codes::simple());
        let unmapped = match subtype.as_deref() {
            Some(b"Type0") => {
                let encoding = dict.get::<Name<'_>>("Encoding");
                let name = encoding.as_deref().unwrap_or_default();
                codes = Codes::composite(match Form::of(name) {
                    Some(form) => Width::Form(form),
                    None if matches!(name, b"Identity-H" | b"Identity-V") => Width::Two,
                    None => Width::Mixed,
                });
                Unmapped::Cid(Box::new(cid::Resolver::new(dict, Arc::clone(cmaps))))
            }
            Some(b"TrueType") if truetype::lacks_encoding(dict) => Unmapped::TrueType(None),
            // TeX knows no TrueType; the subsets of other producers number their glyphs as they
            // come.
            Some(b"TrueType") => Unmapped::Plain,
            // Codes 11 to 15 are the ligatures of OT1; T1 has rare signs there and its ligatures at
            // 27 to 31.
            _ => Unmapped::Tex {
                is_ot1: (0x0b..=0x0f).any(|code| font.code_advance(code).x > 0.0),
            },
        };
        if subtype.as_deref() == Some(b"Type3") {
            em = type3_em(&font);
        }
        Self {
            font: Some(font),
            to_unicode: None,
            codes,
            unmapped,
            damage: None,
            is_vertical,
            em,
        }
    }

    /// A composite font whose CMap is unknown or cannot be read: its codes have two bytes, as
    /// nearly all do, and only a `ToUnicode` map can say what they mean.
    fn undecodable(dict: &Dict<'a>) -> Self {
        let map = match dict.get::<Name<'_>>("Encoding") {
            Some(name) => format!("its character map `{}` is not known", name.escape_ascii()),
            None => "its character map cannot be read".into(),
        };
        Self {
            font: None,
            to_unicode: None,
            codes: Codes::composite(Width::Two),
            unmapped: Unmapped::Unknown,
            damage: Some(map),
            is_vertical: false,
            em: 1.0,
        }
    }

    fn read_to_unicode(&mut self, dict: &Dict<'a>, source: Source<'a>) {
        if let Some(name) = dict.get::<Name<'_>>("ToUnicode") {
            self.to_unicode = ToUnicode::named(&name);
            return;
        }
        let damage = match source.entry(dict, b"ToUnicode") {
            Lookup::Nothing => None,
            Lookup::Missing(why) => Some(why),
            Lookup::Found(body) => {
                let decoded = body.decoded();
                let map = ToUnicode::parse(&decoded.data);
                let is_cut_off = map.is_cut_off;
                self.to_unicode = Some(map);
                decoded
                    .damage
                    .or_else(|| is_cut_off.then(|| "it has too many entries".into()))
            }
        };
        if let Some(why) = damage {
            self.damage
                .get_or_insert_with(|| format!("its map to Unicode is damaged: {why}"));
        }
    }

    /// The code at `at`, and how many bytes it takes.
    pub(crate) fn read(&self, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
        let first = *bytes.get(at)?;
        match &self.codes {
            Codes::Simple(_) => Some((u32::from(first), 1)),
            Codes::Composite { width, .. } => match (width, &self.font) {
                (Width::Form(form), _) => Some(form.read(bytes.get(at..)?)),
                (Width::Mixed, Some(font)) => {
                    let (code, len) = font.read_code(bytes, at);
                    Some((code, len.max(1)))
                }
                _ => match bytes.get(at + 1) {
                    Some(&second) => Some((u32::from(first) << 8 | u32::from(second), 2)),
                    None => Some((0, 1)),
                },
            },
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
        let advance = match &self.font {
            Some(font) => {
                let advance = font.code_advance(self.inner_code(code));
                narrow(if self.is_vertical {
                    advance.y
                } else {
                    advance.x
                }) / 1000.0
            }
            None => 1.0,
        };
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

    /// The code by which hayro knows the glyph.
    fn inner_code(&self, code: u32) -> u32 {
        match self.codes {
            Codes::Composite {
                width: Width::Form(form),
                ..
            } => form.to_utf16(code).unwrap_or(0),
            _ => code,
        }
    }

    fn text_of(&mut self, code: u32) -> String {
        let mapped = self.to_unicode.as_ref().and_then(|map| map.get(code));
        if let Some(said) = mapped.filter(|said| !is_nonsense(said)) {
            return unicode::plain(&said);
        }
        if let Codes::Composite {
            width: Width::Form(form),
            ..
        } = self.codes
        {
            let said = form.character(code).map(String::from).unwrap_or_default();
            return unicode::plain(&said);
        }
        let Some(font) = &self.font else {
            return self.unmapped.text_of(code, None);
        };
        // hayro would take the codes of a font without an encoding for StandardEncoding.
        let is_unencoded = matches!(self.unmapped, Unmapped::TrueType(_));
        let said = match font.glyph(GlyphId::NOTDEF, code) {
            _ if is_unencoded => None,
            FontGlyph::Outline(glyph) => glyph.as_unicode(),
            FontGlyph::Type3(glyph) => glyph.as_unicode(),
        };
        let said = match said {
            Some(BfString::Char(c)) => c.to_string(),
            Some(BfString::String(string)) => string,
            None => String::new(),
        };
        if is_nonsense(&said) {
            self.unmapped.text_of(code, Some(font))
        } else {
            unicode::plain(&said)
        }
    }
}

/// Whether a font says nothing but control characters.
fn is_nonsense(said: &str) -> bool {
    said.chars().all(|c| c.is_control() && !c.is_whitespace())
}

impl Unmapped {
    fn text_of(&mut self, code: u32, font: Option<&Font<'_>>) -> String {
        match (self, font) {
            (Self::Tex { is_ot1 }, _) => tex(code, *is_ot1).unwrap_or_default(),
            (Self::Plain, _) if code < 0x20 => char::REPLACEMENT_CHARACTER.to_string(),
            (Self::Plain, _) => tex(code, false).unwrap_or_default(),
            (Self::TrueType(characters), Some(font)) => {
                let characters =
                    characters.get_or_insert_with(|| Box::new(truetype::Characters::read(font)));
                let c = characters.get(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                unicode::plain(&c.to_string())
            }
            (Self::Cid(resolver), Some(font)) => unicode::plain(&resolver.text_of(code, font)),
            (Self::Unknown | Self::Cid(_) | Self::TrueType(_), _) => {
                char::REPLACEMENT_CHARACTER.to_string()
            }
            (Self::Ascii, _) => char::from_u32(code)
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
