//! `ToUnicode` maps: from the codes of a font to text, however sloppily they are written.
//!
//! A map is a PostScript program that nobody runs. Only its sections are looked for: `beginbfchar`,
//! `beginbfrange`, and `begincidchar` and `begincidrange`, which some writers use with code points
//! for numbers. Words may touch each other and strings; what is out of place is skipped, and the
//! entries around it count. The name of a predefined map instead of a program, alone or with
//! `usecmap`, is a map too.
//!
//! Bounded by `MAPPINGS_MAX`; ranges are kept as ranges.

use hayro_font::hayro_cmap::{BfString, CMap, CMapName, load_embedded};

use crate::limits::MAPPINGS_MAX;
use crate::predefined::Form;

/// A map from codes to text.
#[derive(Default)]
pub(crate) struct ToUnicode {
    /// By their first code; of those with the same, the last one counts.
    entries: Vec<Entry>,
    /// The text of all entries, in UTF-16.
    units: Vec<u16>,
    base: Option<Base>,
    /// Whether there were more entries than are kept.
    pub(crate) is_cut_off: bool,
}

/// Codes from `first` to `last`, which stand for consecutive characters.
#[derive(Clone, Copy)]
struct Entry {
    first: u32,
    last: u32,
    /// Where the text of the first one is.
    from: u32,
    len: u32,
}

/// What answers for codes without an entry.
enum Base {
    /// The code is the character.
    Form(Form),
    /// A map that comes with hayro.
    Map(Box<CMap>),
}

/// Ranges around a code that are looked through, should they overlap.
const OVERLAPS_MAX: usize = 16;

impl ToUnicode {
    /// The map that a name stands for.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Base::named(name).map(|base| Self {
            base: Some(base),
            ..Self::default()
        })
    }

    /// The map of a program.
    pub(crate) fn parse(program: &[u8]) -> Self {
        let mut parser = Parser {
            map: Self::default(),
            section: Section::None,
            pending: Vec::new(),
            units: Vec::new(),
            next_code: None,
            name: &[],
        };
        parser.run(program);
        let mut map = parser.map;
        map.entries.sort_by_key(|entry| entry.first);
        map
    }

    /// What a code says, unless the map is silent.
    pub(crate) fn get(&self, code: u32) -> Option<String> {
        let end = self.entries.partition_point(|entry| entry.first <= code);
        let found = self
            .entries
            .get(..end)?
            .iter()
            .rev()
            .take(OVERLAPS_MAX)
            .find(|entry| code <= entry.last);
        match found {
            Some(entry) => self.text(entry, code - entry.first),
            None => self.base.as_ref()?.get(code),
        }
    }

    fn text(&self, entry: &Entry, offset: u32) -> Option<String> {
        let from = usize::try_from(entry.from).ok()?;
        let units = self
            .units
            .get(from..)?
            .get(..usize::try_from(entry.len).ok()?)?;
        let mut text = String::from_utf16(units).ok()?;
        if offset > 0 {
            // The last character counts on.
            let last = u32::from(text.pop()?);
            text.push(char::from_u32(last.checked_add(offset)?)?);
        }
        Some(text)
    }

    fn push(&mut self, first: u32, last: u32, units: &[u16]) {
        if self.entries.len() >= MAPPINGS_MAX {
            self.is_cut_off = true;
            return;
        }
        let (Ok(from), Ok(len)) = (u32::try_from(self.units.len()), u32::try_from(units.len()))
        else {
            return;
        };
        self.units.extend_from_slice(units);
        self.entries.push(Entry {
            first,
            last,
            from,
            len,
        });
    }
}

impl Base {
    fn named(name: &[u8]) -> Option<Self> {
        if name.starts_with(b"Identity-") {
            return Some(Self::Form(Form::Utf16));
        }
        if let Some(form) = Form::of(name) {
            return Some(Self::Form(form));
        }
        let data = load_embedded(CMapName::from_bytes(name))?;
        CMap::parse(data, load_embedded).map(|map| Self::Map(Box::new(map)))
    }

    fn get(&self, code: u32) -> Option<String> {
        match self {
            Self::Form(form) => form.character(code).map(String::from),
            Self::Map(map) => match map.lookup_bf_string(code)? {
                BfString::Char(c) => Some(c.to_string()),
                BfString::String(string) => Some(string),
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    None,
    BfChar,
    BfRange,
    CidChar,
    CidRange,
}

struct Parser<'p> {
    map: ToUnicode,
    section: Section,
    /// Codes of an entry whose text has not come yet.
    pending: Vec<u32>,
    units: Vec<u16>,
    /// Within an array: the code that its next string is for.
    next_code: Option<u32>,
    /// The last literal name.
    name: &'p [u8],
}

impl<'p> Parser<'p> {
    fn run(&mut self, program: &'p [u8]) {
        let mut rest = program;
        while let Some((&byte, after)) = rest.split_first() {
            rest = match byte {
                b'%' => skip_line(after),
                b'<' if after.first() == Some(&b'<') => after.get(1..).unwrap_or_default(),
                b'<' => {
                    let len = after
                        .iter()
                        .position(|&byte| !byte.is_ascii_hexdigit() && !byte.is_ascii_whitespace())
                        .unwrap_or(after.len());
                    let (digits, after) = after.split_at(len);
                    self.on_string(&hexadecimal(digits));
                    after.strip_prefix(b">").unwrap_or(after)
                }
                b'(' => {
                    let len = after.iter().position(|&byte| byte == b')').unwrap_or(0);
                    let (string, after) = after.split_at(len);
                    self.on_string(string);
                    after
                }
                b'[' => {
                    self.open_array();
                    after
                }
                b']' => {
                    self.close_array();
                    after
                }
                b'/' => {
                    let (name, after) = after.split_at(word_len(after));
                    self.name = name;
                    after
                }
                byte if is_word(byte) => {
                    let (word, after) = rest.split_at(word_len(rest));
                    self.on_word(word);
                    after
                }
                _ => after,
            };
        }
    }

    fn on_word(&mut self, word: &[u8]) {
        let is_begun = [
            (&b"beginbfchar"[..], Section::BfChar),
            (b"beginbfrange", Section::BfRange),
            (b"begincidchar", Section::CidChar),
            (b"begincidrange", Section::CidRange),
        ]
        .into_iter()
        .find(|(keyword, _)| crate::streams::find(word, keyword).is_some());
        if let Some((_, section)) = is_begun {
            self.section = section;
            self.reset();
        } else if word.starts_with(b"end") {
            self.section = Section::None;
            self.reset();
        } else if word == b"usecmap" {
            self.map.base = Base::named(self.name).or(self.map.base.take());
        } else if matches!(self.section, Section::CidChar | Section::CidRange)
            && let Some(number) = std::str::from_utf8(word)
                .ok()
                .and_then(|word| word.parse::<u32>().ok())
        {
            self.on_number(number);
        }
    }

    fn reset(&mut self) {
        self.pending.clear();
        self.next_code = None;
    }

    fn on_string(&mut self, bytes: &[u8]) {
        match (self.section, self.pending.as_slice()) {
            (Section::None, _) => {}
            (Section::BfRange, _) if self.next_code.is_some() => {
                if let Some(code) = self.next_code {
                    self.add(code, code, bytes);
                    self.next_code = code.checked_add(1);
                }
            }
            (Section::BfChar, &[code]) => self.add(code, code, bytes),
            (Section::BfRange, &[first, last]) => self.add(first, last, bytes),
            (Section::CidChar, [_]) | (Section::CidRange, [_, _]) => {
                // A number was left out: this is the next entry.
                self.pending.clear();
                self.pending.extend(code(bytes));
            }
            _ => self.pending.extend(code(bytes)),
        }
    }

    fn on_number(&mut self, number: u32) {
        let codes = match (self.section, self.pending.as_slice()) {
            (Section::CidChar, &[code]) => Some((code, code)),
            (Section::CidRange, &[first, last]) => Some((first, last)),
            _ => None,
        };
        if let (Some((first, last)), Some(c)) = (codes, char::from_u32(number)) {
            let mut units = [0; 2];
            self.map
                .push(first, last.max(first), c.encode_utf16(&mut units));
        }
        self.pending.clear();
    }

    fn open_array(&mut self) {
        if let (Section::BfRange, &[first, _]) = (self.section, self.pending.as_slice()) {
            self.next_code = Some(first);
        }
    }

    fn close_array(&mut self) {
        if self.next_code.take().is_some() {
            self.pending.clear();
        }
    }

    fn add(&mut self, first: u32, last: u32, text: &[u8]) {
        self.units.clear();
        let (pairs, odd) = text.as_chunks::<2>();
        match (pairs, odd) {
            // A text of one byte, which some writers use.
            ([], &[byte]) => self.units.push(u16::from(byte)),
            _ => self
                .units
                .extend(pairs.iter().map(|&pair| u16::from_be_bytes(pair))),
        }
        if !self.units.is_empty() {
            self.map.push(first, last.max(first), &self.units);
        }
        if self.next_code.is_none() {
            self.pending.clear();
        }
    }
}

fn is_word(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && byte != 0 && !b"()<>[]{}/%".contains(&byte)
}

fn word_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|&byte| !is_word(byte))
        .unwrap_or(bytes.len())
}

fn skip_line(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    bytes.get(end.unwrap_or(bytes.len())..).unwrap_or_default()
}

fn hexadecimal(digits: &[u8]) -> Vec<u8> {
    let mut digits = digits
        .iter()
        .filter_map(|&byte| char::from(byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::new();
    while let Some(high) = digits.next() {
        bytes.push(high << 4 | digits.next().unwrap_or(0));
    }
    bytes
}

/// A code, of at most four bytes.
fn code(bytes: &[u8]) -> Option<u32> {
    (!bytes.is_empty() && bytes.len() <= 4).then(|| {
        bytes
            .iter()
            .fold(0, |code, &byte| code << 8 | u32::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(program: &str, codes: std::ops::RangeInclusive<u32>, expected: &str) {
        let map = ToUnicode::parse(program.as_bytes());
        let text: String = codes.filter_map(|code| map.get(code)).collect();
        assert_eq!(text, expected, "{program}");
    }

    #[test]
    fn sections_give_characters_ligatures_and_ranges() {
        check(
            "2 beginbfchar <01> <0041> <02> <00660069> endbfchar 2 beginbfrange <03> <05> <0061> \
             <06> <07> [<0078> <D83DDE00>] endbfrange",
            1..=7,
            "Afiabcx😀",
        );
    }

    #[test]
    fn tokens_may_touch() {
        check(
            "/CMapType 2 def1 begincodespacerange<01><03>endcodespacerange3 beginbfchar<01><0041>\
             <02><0042>endbfchar1 beginbfrange<03><04><0043>endbfrangeendcmap",
            1..=4,
            "ABCD",
        );
    }

    #[test]
    fn what_is_out_of_place_costs_no_more_than_its_entry() {
        check(
            "/Ordering (UC>) def /CMapName /Adobe-UC> def > ) ] 3 beginbfchar <01> <0041> > <02> \
             <0042> ) <03> <> <04> <0043> endbfchar",
            1..=4,
            "ABC",
        );
    }

    #[test]
    fn code_points_in_sections_for_glyphs_count() {
        check(
            "1 begincidrange <41> <43> 97 endcidrange 1 begincidchar <44> 8364 endcidchar",
            0x41..=0x44,
            "abc€",
        );
    }

    #[test]
    fn the_last_of_two_entries_counts_and_a_range_may_be_around_another() {
        check(
            "1 beginbfrange <00> <ff> <0000> endbfrange 2 beginbfchar <41> <0078> <41> <0079> \
             endbfchar",
            0x40..=0x42,
            "@yB",
        );
    }

    #[test]
    fn predefined_maps_count_by_name() {
        let text = |map: Option<ToUnicode>, code| map.and_then(|map| map.get(code));
        assert_eq!(
            text(ToUnicode::named(b"Identity-H"), 0xe9).as_deref(),
            Some("é")
        );
        assert_eq!(
            text(ToUnicode::named(b"UniGB-UCS2-H"), 0x4e2d).as_deref(),
            Some("中")
        );
        assert_eq!(
            text(ToUnicode::named(b"UniJIS-UTF8-H"), 0xe38182).as_deref(),
            Some("あ")
        );
        assert_eq!(
            text(ToUnicode::named(b"Adobe-Japan1-UCS2"), 843).as_deref(),
            Some("あ")
        );
        assert!(ToUnicode::named(b"NoSuchMap").is_none());
        check(
            "/Identity-H usecmap 1 beginbfchar <42> <0063> endbfchar",
            0x41..=0x42,
            "Ac",
        );
    }
}
