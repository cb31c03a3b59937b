//! Composite fonts without `ToUnicode`: what a code means by its character collection or by the
//! embedded font.
//!
//! A font of one of Adobe's four CJK collections says which character each of its glyphs is in a
//! table that is not in the file but comes with hayro-cmap. Other fonts (`Identity`) say nothing,
//! but an embedded TrueType font usually maps characters to glyphs, and that map can
//! be turned round. What neither explains is marked with U+FFFD, so that a reader sees that
//! something is missing.
//!
//! The tables are read on the first code that needs them: most fonts never do.

use hayro_font::hayro_cmap::{BfString, CMap, CMapName, CidFamily};
use hayro_font::{CMapResolverFn, Font, FontGlyph};
use hayro_syntax::object::{Array, Dict, Object, Stream, String as PdfString};
use rustc_hash::FxHashMap;
use skrifa::charmap::Charmap;
use skrifa::raw::FontRef;

/// Entries looked at in the character map of an embedded font; a font has at most 65,536 glyphs.
const CHARACTERS_MAX: usize = 200_000;

/// Answers for one font.
pub(crate) struct Resolver {
    cmaps: CMapResolverFn,
    encoding: Encoding,
    family: Option<CidFamily>,
    tables: Option<Tables>,
}

enum Encoding {
    Named(Vec<u8>),
    Embedded(Vec<u8>),
    Unknown,
}

struct Tables {
    /// From codes to CIDs.
    cids: Option<CMap>,
    /// From CIDs to Unicode.
    unicode: Option<CMap>,
    /// From glyphs to characters.
    glyphs: FxHashMap<u32, char>,
}

impl Resolver {
    pub(crate) fn new(dict: &Dict<'_>, cmaps: CMapResolverFn) -> Self {
        let encoding = match dict.get::<Object<'_>>("Encoding") {
            Some(Object::Name(name)) => Encoding::Named(name.to_vec()),
            Some(Object::Stream(stream)) => embedded(&stream),
            _ => Encoding::Unknown,
        };
        Self {
            cmaps,
            encoding,
            family: family(dict),
            tables: None,
        }
    }

    pub(crate) fn text_of(&mut self, code: u32, font: &Font<'_>) -> String {
        let tables = self.tables.get_or_insert_with(|| {
            Tables::read(
                &self.encoding,
                self.family.as_ref(),
                &self.cmaps,
                code,
                font,
            )
        });
        tables
            .text_of(code, font)
            .unwrap_or_else(|| char::REPLACEMENT_CHARACTER.to_string())
    }
}

fn embedded(stream: &Stream<'_>) -> Encoding {
    stream.decoded_data().map_or(Encoding::Unknown, |data| {
        Encoding::Embedded(data.into_owned())
    })
}

fn family(dict: &Dict<'_>) -> Option<CidFamily> {
    let descendant = dict
        .get::<Array<'_>>("DescendantFonts")?
        .iter::<Dict<'_>>()
        .next()?;
    let info = descendant.get::<Dict<'_>>("CIDSystemInfo")?;
    let registry = info.get::<PdfString<'_>>("Registry")?;
    let ordering = info.get::<PdfString<'_>>("Ordering")?;
    Some(CidFamily::from_registry_ordering(
        registry.as_bytes(),
        ordering.as_bytes(),
    ))
}

impl Tables {
    fn read(
        encoding: &Encoding,
        family: Option<&CidFamily>,
        cmaps: &CMapResolverFn,
        code: u32,
        font: &Font<'_>,
    ) -> Self {
        let parse = |data: &[u8]| {
            let cmaps = CMapResolverFn::clone(cmaps);
            CMap::parse(data, move |name| cmaps(name))
        };
        let cids = match encoding {
            Encoding::Named(name) if name == b"Identity-H" || name == b"Identity-V" => {
                Some(CMap::identity_h())
            }
            Encoding::Named(name) => cmaps(CMapName::from_bytes(name)).and_then(parse),
            Encoding::Embedded(data) => parse(data),
            Encoding::Unknown => None,
        };
        let collection = cids
            .as_ref()
            .and_then(|cids| cids.metadata().character_collection.as_ref())
            .map(|collection| &collection.family);
        let unicode = [family, collection]
            .into_iter()
            .flatten()
            .find_map(|family| cmaps(family.ucs2_cmap()?).and_then(parse));
        let glyphs = if unicode.is_none() {
            characters_by_glyph(code, font)
        } else {
            FxHashMap::default()
        };
        Self {
            cids,
            unicode,
            glyphs,
        }
    }

    fn text_of(&self, code: u32, font: &Font<'_>) -> Option<String> {
        if let Some(unicode) = &self.unicode {
            let cid = (1..=4).find_map(|len| self.cids.as_ref()?.lookup_cid_code(code, len))?;
            return match unicode.lookup_bf_string(cid)? {
                BfString::Char(c) => Some(c.to_string()),
                BfString::String(string) => Some(string),
            };
        }
        self.glyphs
            .get(&font.map_code(code).to_u32())
            .map(char::to_string)
    }
}

/// The embedded font's own character map, turned round.
pub(crate) fn characters_by_glyph(code: u32, font: &Font<'_>) -> FxHashMap<u32, char> {
    let mut characters = FxHashMap::default();
    let FontGlyph::Outline(glyph) = font.glyph(font.map_code(code), code) else {
        return characters;
    };
    let Some(data) = glyph.font_data() else {
        return characters;
    };
    let Ok(font) = FontRef::new((*data.data).as_ref()) else {
        return characters;
    };
    for (character, glyph) in Charmap::new(&font).mappings().take(CHARACTERS_MAX) {
        if let Some(character) = char::from_u32(character) {
            // The first character wins: it is the plainest one in every encoding order.
            characters.entry(glyph.to_u32()).or_insert(character);
        }
    }
    characters
}
