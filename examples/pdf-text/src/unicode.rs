//! What characters are, as far as text extraction cares, and how code points become plain text.
//!
//! No geometry and no PDF here. Ligatures and the presentation forms of Hebrew and Arabic are taken
//! apart because they say how a letter was drawn, not which letter it is; other compatibility
//! characters stay as the file has them.

use unicode_normalization::UnicodeNormalization;

use crate::glyph::Kind;

/// Whether a character is only a way of drawing others, and has to be taken apart.
fn is_presentation_form(c: char) -> bool {
    matches!(c, '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
}

/// Plain text for what a font says about one code. Control characters vanish, kinds of blank become
/// a space.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{3000}' => {
                out.push(' ')
            }
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {}
            c if c.is_control() => {}
            c if is_presentation_form(c) => {
                out.extend(std::iter::once(c).nfkc().filter(|&c| c != ' '))
            }
            c => out.push(c),
        }
    }
    out
}

/// How layout has to treat a glyph that begins with `c`.
pub(crate) fn kind_of(c: char) -> Kind {
    if c == ' ' {
        return Kind::SPACE;
    }
    if c.is_ascii_digit() {
        return Kind::DIGIT;
    }
    if c.is_ascii() {
        return if c.is_ascii_alphabetic() {
            Kind::LETTER
        } else if combining_accent(c).is_some() {
            Kind::ACCENT
        } else {
            Kind::default()
        };
    }
    if unicode_normalization::char::is_combining_mark(c) {
        return Kind::MARK;
    }
    if combining_accent(c).is_some() {
        return Kind::ACCENT;
    }
    if is_wide(c) {
        return if c.is_alphanumeric() {
            Kind::WIDE | Kind::LETTER
        } else {
            Kind::WIDE
        };
    }
    if c.is_numeric() {
        return Kind::DIGIT;
    }
    if matches!(c, '\u{66a}'..='\u{66c}') {
        return Kind::default();
    }
    if is_rtl(c) {
        return Kind::RTL | Kind::LETTER;
    }
    if c.is_alphabetic() {
        Kind::LETTER
    } else {
        Kind::default()
    }
}

/// Letters and signs of scripts written from right to left.
fn is_rtl(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

/// Characters that fill a square: CJK, kana, hangul and their punctuation; also what could not be
/// decoded, which is mostly that.
fn is_wide(c: char) -> bool {
    matches!(c,
        char::REPLACEMENT_CHARACTER
        | '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ffef}'
        | '\u{20000}'..='\u{3ffff}')
}

/// The combining form of a spacing accent.
pub(crate) fn combining_accent(c: char) -> Option<char> {
    Some(match c {
        '`' | '\u{2cb}' => '\u{300}',
        '\u{b4}' | '\u{2ca}' => '\u{301}',
        '^' | '\u{2c6}' => '\u{302}',
        '~' | '\u{2dc}' => '\u{303}',
        '\u{af}' | '\u{2c9}' => '\u{304}',
        '\u{2d8}' => '\u{306}',
        '\u{2d9}' => '\u{307}',
        '\u{a8}' => '\u{308}',
        '\u{2da}' => '\u{30a}',
        '\u{2dd}' => '\u{30b}',
        '\u{2c7}' => '\u{30c}',
        '\u{b8}' => '\u{327}',
        '\u{2db}' => '\u{328}',
        _ => return None,
    })
}

/// Append a letter and its combining marks, as one character where there is one. A dotless i or j
/// gets its dot from the accent it carries.
pub(crate) fn push_accented(marked: &str, out: &mut String) {
    let is_below = |c: char| matches!(c, '\u{323}'..='\u{333}');
    let has_accent = marked
        .chars()
        .any(|c| unicode_normalization::char::is_combining_mark(c) && !is_below(c));
    let dotted = marked.chars().map(|c| match c {
        '\u{131}' if has_accent => 'i',
        '\u{237}' if has_accent => 'j',
        c => c,
    });
    out.extend(dotted.nfc());
}

/// The bracket that looks like `c` seen in a mirror.
pub(crate) fn mirrored(c: char) -> char {
    match c {
        '(' => ')',
        ')' => '(',
        '[' => ']',
        ']' => '[',
        '{' => '}',
        '}' => '{',
        '<' => '>',
        '>' => '<',
        '\u{ab}' => '\u{bb}',
        '\u{bb}' => '\u{ab}',
        '\u{2039}' => '\u{203a}',
        '\u{203a}' => '\u{2039}',
        c => c,
    }
}

/// Whether `c` opens a pair of brackets; `None` when it is no bracket.
pub(crate) fn opens_pair(c: char) -> Option<bool> {
    match c {
        '(' | '[' | '{' | '<' | '\u{ab}' | '\u{2039}' => Some(true),
        ')' | ']' | '}' | '>' | '\u{bb}' | '\u{203a}' => Some(false),
        _ => None,
    }
}

/// Text strings outside content streams: UTF-16 or UTF-8 by their mark, else PDFDocEncoding.
pub(crate) fn text_string(bytes: &[u8]) -> String {
    match bytes {
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => bytes.iter().map(|&byte| pdf_doc(byte)).collect(),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.as_chunks::<2>().0.iter().map(|&pair| unit(pair));
    let mut escaped = false;
    // Escape sequences that name a language stand between two U+001B.
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|&c| {
            escaped ^= c == '\u{1b}';
            !escaped && c != '\u{1b}'
        })
        .collect()
}

/// The rows of PDFDocEncoding that differ from Latin-1.
fn pdf_doc(byte: u8) -> char {
    const ACCENTS: [char; 8] = [
        '\u{2d8}', '\u{2c7}', '\u{2c6}', '\u{2d9}', '\u{2dd}', '\u{2db}', '\u{2da}', '\u{2dc}',
    ];
    const SIGNS: [char; 31] = [
        '\u{2022}', '\u{2020}', '\u{2021}', '\u{2026}', '\u{2014}', '\u{2013}', '\u{192}',
        '\u{2044}', '\u{2039}', '\u{203a}', '\u{2212}', '\u{2030}', '\u{201e}', '\u{201c}',
        '\u{201d}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{2122}', '\u{fb01}', '\u{fb02}',
        '\u{141}', '\u{152}', '\u{160}', '\u{178}', '\u{17d}', '\u{131}', '\u{142}', '\u{153}',
        '\u{161}', '\u{17e}',
    ];
    let row = |from: u8, row: &[char]| {
        row.get(usize::from(byte - from))
            .copied()
            .unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    match byte {
        0x18..=0x1f => row(0x18, &ACCENTS),
        0x80..=0x9e => row(0x80, &SIGNS),
        0xa0 => '\u{20ac}',
        byte => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_and_presentation_forms_become_letters() {
        assert_eq!(plain("\u{fb03}"), "ffi");
        assert_eq!(plain("\u{fefb}"), "\u{644}\u{627}");
        assert_eq!(plain("\u{fb2a}"), "\u{5e9}\u{5c1}");
    }

    #[test]
    fn blanks_become_spaces_and_controls_vanish() {
        assert_eq!(plain("a\u{a0}b\u{0}\u{200e}"), "a b");
    }

    #[test]
    fn accents_compose_with_their_letter() {
        let mut out = String::new();
        for marked in ["e\u{301}", "\u{131}\u{308}", "c\u{327}"] {
            push_accented(marked, &mut out);
        }
        assert_eq!(out, "éïç");
    }

    #[test]
    fn text_strings_are_read_in_their_three_encodings() {
        assert_eq!(text_string(b"caf\xe9 \x8dx\x8e"), "café \u{201c}x\u{201d}");
        assert_eq!(text_string(b"\xfe\xff\x00A\x20\xac"), "A€");
        assert_eq!(text_string(b"\xef\xbb\xbf\xc3\xa9"), "é");
        assert_eq!(text_string(b"\xfe\xff\x00\x1b\x00e\x00n\x00\x1b\x00A"), "A");
    }
}
