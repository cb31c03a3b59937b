//! Predefined CMaps whose codes are Unicode: `UniJIS-UTF8-H` and its kin in all four families.
//!
//! Their codes need no table to become text. The tables that come with hayro know the widths of
//! glyphs by UTF-16 only, so codes of the other forms are turned into UTF-16 first.

use hayro_font::hayro_cmap::{CMapName, load_embedded};

/// How codes write Unicode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Utf8,
    /// Also UCS-2, which is the same without pairs.
    Utf16,
    Utf32,
}

impl Form {
    /// The form of the codes of a predefined CMap, if they are Unicode.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        if !name.starts_with(b"Uni") {
            return None;
        }
        name.split(|&byte| byte == b'-')
            .find_map(|part| match part {
                b"UTF8" => Some(Self::Utf8),
                b"UTF16" | b"UCS2" => Some(Self::Utf16),
                b"UTF32" => Some(Self::Utf32),
                _ => None,
            })
    }

    /// The code at the start of these bytes, and how many of them it takes. Broken ones give code 0
    /// and take one unit.
    pub(crate) fn read(self, bytes: &[u8]) -> (u32, usize) {
        let code = |len: usize| {
            bytes
                .get(..len)
                .map(|bytes| {
                    bytes
                        .iter()
                        .fold(0, |code, &byte| code << 8 | u32::from(byte))
                })
                .filter(|&code| self.character(code).is_some())
                .map(|code| (code, len))
        };
        let first = bytes.first().copied().unwrap_or(0);
        match self {
            Self::Utf8 => {
                let len = match first {
                    0xf0.. => 4,
                    0xe0..=0xef => 3,
                    0xc0..=0xdf => 2,
                    _ => 1,
                };
                code(len).unwrap_or((0, 1))
            }
            Self::Utf16 if matches!(first, 0xd8..=0xdb) => {
                code(4).unwrap_or((0, bytes.len().clamp(1, 2)))
            }
            Self::Utf16 => code(2).unwrap_or((0, bytes.len().clamp(1, 2))),
            Self::Utf32 => code(4).unwrap_or((0, bytes.len().clamp(1, 4))),
        }
    }

    /// The character that a code stands for.
    pub(crate) fn character(self, code: u32) -> Option<char> {
        match self {
            Self::Utf8 => {
                let bytes = code.to_be_bytes();
                let blanks = bytes.iter().take(3).take_while(|&&byte| byte == 0).count();
                let mut chars = std::str::from_utf8(bytes.get(blanks..)?).ok()?.chars();
                chars.next().filter(|_| chars.next().is_none())
            }
            Self::Utf16 => {
                let (high, low) = (
                    u16::try_from(code >> 16).ok()?,
                    u16::try_from(code & 0xffff).ok()?,
                );
                let pair = [high, low];
                let units = if high == 0 { pair.get(1..)? } else { &pair };
                let mut chars = char::decode_utf16(units.iter().copied());
                chars.next()?.ok().filter(|_| chars.next().is_none())
            }
            Self::Utf32 => char::from_u32(code),
        }
    }

    /// The same character as a code of UTF-16.
    pub(crate) fn to_utf16(self, code: u32) -> Option<u32> {
        let mut units = [0; 2];
        let units = self.character(code)?.encode_utf16(&mut units);
        Some(
            units
                .iter()
                .fold(0, |code, &unit| code << 16 | u32::from(unit)),
        )
    }
}

/// The table of a predefined CMap. One for which there is none, but whose codes are Unicode, has
/// that of its family for UTF-16.
pub(crate) fn load(name: CMapName<'_>) -> Option<&'static [u8]> {
    load_embedded(name).or_else(|| {
        let name = name.to_bytes();
        Form::of(name)?;
        let is_vertical = name.ends_with(b"-V");
        let family = match name {
            [b'U', b'n', b'i', b'J', b'I', b'S', ..] => {
                [CMapName::UniJisUtf16H, CMapName::UniJisUtf16V]
            }
            [b'U', b'n', b'i', b'G', b'B', ..] => [CMapName::UniGbUtf16H, CMapName::UniGbUtf16V],
            [b'U', b'n', b'i', b'C', b'N', b'S', ..] => {
                [CMapName::UniCnsUtf16H, CMapName::UniCnsUtf16V]
            }
            [b'U', b'n', b'i', b'K', b'S', ..] | [b'U', b'n', b'i', b'A', b'K', b'R', ..] => {
                [CMapName::UniKsUtf16H, CMapName::UniKsUtf16V]
            }
            _ => return None,
        };
        let [horizontal, vertical] = family;
        load_embedded(if is_vertical { vertical } else { horizontal })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_its_codes() {
        let read = |form: Form, bytes: &[u8]| {
            let mut text = String::new();
            let mut at = 0;
            while at < bytes.len() {
                let (code, len) = form.read(&bytes[at..]);
                at += len;
                text.extend(form.character(code).filter(|&c| c != '\0'));
                assert_eq!(
                    form.to_utf16(code)
                        .and_then(|code| Form::Utf16.character(code)),
                    form.character(code)
                );
            }
            text
        };
        let text = "a文𠮷é";
        assert_eq!(read(Form::Utf8, text.as_bytes()), text);
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(read(Form::Utf16, &utf16), text);
        let utf32: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_be_bytes())
            .collect();
        assert_eq!(read(Form::Utf32, &utf32), text);
        assert_eq!(read(Form::Utf8, b"a\xff\xe6b"), "ab");
    }

    #[test]
    fn every_family_has_a_table_for_every_form() {
        for family in ["UniJIS", "UniJIS2004", "UniGB", "UniCNS", "UniKS"] {
            for form in ["UCS2", "UTF8", "UTF16", "UTF32"] {
                for direction in ["H", "V"] {
                    let name = format!("{family}-{form}-{direction}");
                    assert!(
                        load(CMapName::from_bytes(name.as_bytes())).is_some(),
                        "{name}"
                    );
                }
            }
        }
        assert!(load(CMapName::from_bytes(b"Unknown-H")).is_none());
    }
}
