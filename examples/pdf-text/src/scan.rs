//! The scanner of content streams: operators and their operands.
//!
//! Nothing ends a page but its end. A bad token ends the string, the array or the operator that it
//! is in: a stray bracket is skipped, a number may touch what follows it, an array ends at the
//! operator that shows it, and a string or dictionary without an end is read to where it plausibly
//! ends. Numbers are read as loosely as viewers do: `--12` is 12 and a lone `.` is 0.
//!
//! Inline images are skipped. Strings without escapes are borrowed from the content. The search
//! for an end is bounded by `STRING_BYTES_MAX` and `UNENDED_MAX`, so that the time is linear.

use std::borrow::Cow;

use crate::limits::{STRING_BYTES_MAX, UNENDED_MAX};

/// What stands before an operator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'c> {
    Number(f64),
    /// Without the solidus, escapes resolved.
    Name(Cow<'c, [u8]>),
    String(Cow<'c, [u8]>),
    /// An array, whose strings and numbers are the items of the scanner.
    Array,
    /// A dictionary, from `<<` to `>>`.
    Dict(&'c [u8]),
}

/// Reads one content stream.
pub(crate) struct Scanner<'c> {
    bytes: &'c [u8],
    at: usize,
    operands: Vec<Operand<'c>>,
    items: Vec<Operand<'c>>,
    /// Searches for the end of a string or dictionary that found none.
    unended: usize,
    /// Whether the end of an image was looked for in all that follows, without success.
    lacks_image_end: bool,
}

const REGULAR: u8 = 0;
const BLANK: u8 = 1;
const DELIMITER: u8 = 2;

/// What each byte is.
static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn classes() -> [u8; 256] {
    let mut table = [REGULAR; 256];
    let (blanks, delimiters) = (b"\0\t\n\x0c\r ", b"()<>[]{}/%");
    let mut at = 0;
    while at < blanks.len() {
        table[blanks[at] as usize] = BLANK;
        at += 1;
    }
    at = 0;
    while at < delimiters.len() {
        table[delimiters[at] as usize] = DELIMITER;
        at += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(REGULAR)
}

/// Powers of ten for the digits after a point.
const TENS: [f64; 19] = [
    1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

impl<'c> Scanner<'c> {
    pub(crate) fn new(bytes: &'c [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            operands: Vec::new(),
            items: Vec::new(),
            unended: 0,
            lacks_image_end: false,
        }
    }

    /// The operands of the operator that was read last.
    pub(crate) fn operands(&self) -> &[Operand<'c>] {
        &self.operands
    }

    /// The strings and numbers of its array, if it has one.
    pub(crate) fn items(&self) -> &[Operand<'c>] {
        &self.items
    }

    /// The last `N` operands, if they are numbers.
    pub(crate) fn numbers<const N: usize>(&self) -> Option<[f64; N]> {
        let last = self.operands.get(self.operands.len().checked_sub(N)?..)?;
        let mut numbers = [0.0; N];
        for (number, operand) in numbers.iter_mut().zip(last) {
            let Operand::Number(value) = operand else {
                return None;
            };
            *number = *value;
        }
        Some(numbers)
    }

    /// Read on to the next operator, which may be one that nobody knows.
    pub(crate) fn next(&mut self) -> Option<&'c [u8]> {
        self.operands.clear();
        self.items.clear();
        loop {
            let byte = self.skip_blanks()?;
            match byte {
                b'0'..=b'9' | b'-' | b'+' | b'.' => {
                    let number = self.number();
                    self.operands.push(Operand::Number(number));
                }
                b'/' => {
                    let name = self.name();
                    self.operands.push(Operand::Name(name));
                }
                b'(' => {
                    let string = self.literal();
                    self.operands.push(Operand::String(string));
                }
                b'<' if self.peek(1) == Some(b'<') => {
                    if let Some(dict) = self.dict() {
                        self.operands.push(Operand::Dict(dict));
                    }
                }
                b'<' => {
                    let string = self.hexadecimal();
                    self.operands.push(Operand::String(string));
                }
                b'[' => {
                    self.at += 1;
                    self.array();
                }
                b')' | b'>' | b']' | b'{' | b'}' => self.at += 1,
                _ => {
                    let operator = self.word();
                    if operator == b"BI" {
                        self.skip_image();
                    }
                    return Some(operator);
                }
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            let byte = self.peek(0)?;
            if class(byte) == BLANK {
                self.at += 1;
            } else if byte == b'%' {
                while self
                    .peek(0)
                    .is_some_and(|byte| !matches!(byte, b'\n' | b'\r'))
                {
                    self.at += 1;
                }
            } else {
                return Some(byte);
            }
        }
    }

    /// Regular bytes from here on.
    fn word(&mut self) -> &'c [u8] {
        let start = self.at;
        while self.peek(0).is_some_and(|byte| class(byte) == REGULAR) {
            self.at += 1;
        }
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    fn number(&mut self) -> f64 {
        let mut is_negative = false;
        while let Some(sign @ (b'-' | b'+')) = self.peek(0) {
            is_negative ^= sign == b'-';
            self.at += 1;
        }
        let (mut mantissa, mut digits) = (0_u64, 0_usize);
        let mut value = 0.0;
        while let Some(digit @ b'0'..=b'9') = self.peek(0) {
            // Past eighteen digits a float is all that can be had.
            if digits < 18 {
                mantissa = mantissa * 10 + u64::from(digit - b'0');
                digits += 1;
            } else {
                value = (if value == 0.0 { float(mantissa) } else { value }) * 10.0;
            }
            self.at += 1;
        }
        if value == 0.0 {
            value = float(mantissa);
        }
        if self.peek(0) == Some(b'.') {
            self.at += 1;
            let mut places = 0_usize;
            while let Some(digit @ (b'0'..=b'9' | b'-')) = self.peek(0) {
                // A minus within a number ends it, but belongs to it.
                if digit == b'-' {
                    break;
                }
                if digits < 18 {
                    mantissa = mantissa * 10 + u64::from(digit - b'0');
                    digits += 1;
                    places += 1;
                }
                self.at += 1;
            }
            if places > 0 {
                value = float(mantissa) / TENS.get(places).copied().unwrap_or(1.0);
            }
        }
        while matches!(self.peek(0), Some(b'-')) {
            self.at += 1;
            while matches!(self.peek(0), Some(b'0'..=b'9' | b'.')) {
                self.at += 1;
            }
        }
        if is_negative { -value } else { value }
    }

    fn name(&mut self) -> Cow<'c, [u8]> {
        self.at += 1;
        let raw = self.word();
        if !raw.contains(&b'#') {
            return Cow::Borrowed(raw);
        }
        let mut name = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match (byte, after) {
                (b'#', [high, low, after @ ..])
                    if digit(*high).is_some() && digit(*low).is_some() =>
                {
                    name.push(digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
                    rest = after;
                }
                _ => name.push(byte),
            }
        }
        Cow::Owned(name)
    }

    /// A string in parentheses.
    fn literal(&mut self) -> Cow<'c, [u8]> {
        let start = self.at + 1;
        let rest = self.bytes.get(start..).unwrap_or_default();
        let end = match self.unended < UNENDED_MAX {
            true => literal_end(rest.get(..STRING_BYTES_MAX).unwrap_or(rest)),
            false => None,
        };
        let (end, next) = end.map_or_else(
            || {
                self.unended += 1;
                unended_literal(rest)
            },
            |end| (end, end + 1),
        );
        self.at = start + next;
        let raw = rest.get(..end).unwrap_or_default();
        if raw.iter().any(|byte| matches!(byte, b'\\' | b'\r')) {
            Cow::Owned(unescaped(raw))
        } else {
            Cow::Borrowed(raw)
        }
    }

    /// A string in hexadecimal digits. What is no digit is skipped; what begins another token ends
    /// it.
    fn hexadecimal(&mut self) -> Cow<'c, [u8]> {
        self.at += 1;
        let mut string = Vec::new();
        let mut high: Option<u8> = None;
        let mut is_after_blank = false;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'>' => {
                    self.at += 1;
                    break;
                }
                b'(' | b')' | b'[' | b']' | b'<' | b'/' => break,
                byte if is_after_blank && digit(byte).is_none() && class(byte) == REGULAR => break,
                _ => {}
            }
            is_after_blank = class(byte) == BLANK;
            self.at += 1;
            if let Some(low) = digit(byte) {
                match high.take() {
                    Some(high) => string.push(high << 4 | low),
                    None => high = Some(low),
                }
            }
        }
        string.extend(high.map(|high| high << 4));
        Cow::Owned(string)
    }

    /// A dictionary, or nothing but its bracket when it has no end.
    fn dict(&mut self) -> Option<&'c [u8]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = match self.unended < UNENDED_MAX {
            true => dict_end(rest.get(..STRING_BYTES_MAX).unwrap_or(rest)),
            false => None,
        };
        let Some(end) = end else {
            self.unended += 1;
            self.at += 2;
            return None;
        };
        self.at += end;
        rest.get(..end)
    }

    /// The items of an array, without those of no use. It ends with its bracket, or before an
    /// operator that cannot be in one.
    fn array(&mut self) {
        self.items.clear();
        self.operands.push(Operand::Array);
        // Of arrays in arrays only the strings and numbers count.
        let mut depth = 1_usize;
        while let Some(byte) = self.skip_blanks() {
            match byte {
                b'0'..=b'9' | b'-' | b'+' | b'.' => {
                    let number = self.number();
                    self.items.push(Operand::Number(number));
                }
                b'(' => {
                    let string = self.literal();
                    self.items.push(Operand::String(string));
                }
                b'<' if self.peek(1) == Some(b'<') => drop(self.dict()),
                b'<' => {
                    let string = self.hexadecimal();
                    self.items.push(Operand::String(string));
                }
                b'/' => drop(self.name()),
                b']' => {
                    self.at += 1;
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                }
                b'[' => {
                    self.at += 1;
                    depth += 1;
                }
                b')' | b'>' | b'{' | b'}' => self.at += 1,
                _ => {
                    let start = self.at;
                    if ends_array(self.word()) {
                        self.at = start;
                        return;
                    }
                }
            }
        }
    }

    /// Skip an inline image, up to and with its `EI`. Without one, only the operator is skipped.
    fn skip_image(&mut self) {
        let start = self.at;
        while let Some(byte) = self.skip_blanks() {
            match byte {
                b'/' => drop(self.name()),
                b'(' => drop(self.literal()),
                b'<' if self.peek(1) == Some(b'<') => drop(self.dict()),
                b'<' => drop(self.hexadecimal()),
                byte if class(byte) == DELIMITER => self.at += 1,
                _ => match self.word() {
                    b"ID" => break,
                    // The image has no data; the text after it is not part of it.
                    b"EI" => return,
                    b"BI" | b"BT" | b"ET" | b"Tj" | b"TJ" => {
                        self.at = start;
                        return;
                    }
                    _ => {}
                },
            }
        }
        if self.lacks_image_end {
            self.at = start;
            return;
        }
        // One blank is between the operator and the data.
        let data = self.at + 1;
        let rest = self.bytes.get(data..).unwrap_or_default();
        let end = memchr::memmem::find_iter(rest, b"EI").find(|&at| is_image_end(rest, at));
        self.lacks_image_end = end.is_none();
        self.at = end.map_or(start, |end| data + end + 2);
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounding is what is wanted")]
fn float(mantissa: u64) -> f64 {
    mantissa as f64
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Operators that show that the array before them was not ended.
fn ends_array(word: &[u8]) -> bool {
    matches!(
        word,
        b"TJ" | b"Tj" | b"BT" | b"ET" | b"Td" | b"TD" | b"Tm" | b"T*" | b"Tf" | b"EMC" | b"Do"
    )
}

/// Where the string ends whose first byte is the first of these: its closing parenthesis.
fn literal_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        at += bytes
            .get(at..)?
            .iter()
            .position(|byte| matches!(byte, b'(' | b')' | b'\\'))?;
        match bytes.get(at) {
            Some(b'\\') => at += 1,
            Some(b'(') => depth += 1,
            _ if depth == 0 => return Some(at),
            _ => depth -= 1,
        }
        at += 1;
    }
}

/// Where a string ends that never ends, and where to go on: at the first closing parenthesis,
/// or with its line.
fn unended_literal(bytes: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b')' => return (at, at + 1),
            b'\n' | b'\r' => return (at, at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (bytes.len(), bytes.len())
}

/// Where a dictionary ends that begins with these bytes.
fn dict_end(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        match (byte, next) {
            (b'<', Some(b'<')) => {
                depth += 1;
                at += 2;
            }
            (b'>', Some(b'>')) => {
                depth = depth.checked_sub(1)?;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            (b'(', _) => at += 2 + literal_end(bytes.get(at + 1..)?)?,
            // A hexadecimal string, whose bracket may touch those of the dictionary.
            (b'<', _) => at += 1 + bytes.get(at..)?.iter().position(|&byte| byte == b'>')?,
            _ => at += 1,
        }
    }
    None
}

/// The bytes that a string with escapes and ends of lines stands for.
fn unescaped(raw: &[u8]) -> Vec<u8> {
    let mut string = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
            string.push(b'\n');
            continue;
        }
        if byte != b'\\' {
            string.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => string.push(b'\n'),
            Some(b'r') => string.push(b'\r'),
            Some(b't') => string.push(b'\t'),
            Some(b'b') => string.push(8),
            Some(b'f') => string.push(12),
            Some(b'\r') => drop(bytes.next_if_eq(&b'\n')),
            Some(b'\n') | None => {}
            Some(first @ b'0'..=b'7') => {
                let mut value = first - b'0';
                for _ in 0..2 {
                    if let Some(octal) = bytes.next_if(|byte| matches!(byte, b'0'..=b'7')) {
                        value = value.wrapping_mul(8).wrapping_add(octal - b'0');
                    }
                }
                string.push(value);
            }
            Some(other) => string.push(other),
        }
    }
    string
}

/// Whether the `EI` at this place of an image's data ends it: blanks are around it, and what
/// follows reads like content.
fn is_image_end(data: &[u8], at: usize) -> bool {
    /// Bytes looked at after it.
    const AFTER: usize = 24;
    let is_blank = |byte: Option<&u8>| byte.is_none_or(|&byte| class(byte) == BLANK);
    if !is_blank(at.checked_sub(1).and_then(|before| data.get(before)))
        || !is_blank(data.get(at + 2))
    {
        return false;
    }
    let after = data.get(at + 2..).unwrap_or_default();
    after
        .iter()
        .take(AFTER)
        .take_while(|&&byte| byte != b'(')
        .all(|&byte| (0x20..0x7f).contains(&byte) || matches!(byte, b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators with their operands, as text.
    fn scanned(content: &str) -> String {
        let mut scanner = Scanner::new(content.as_bytes());
        let mut out = Vec::new();
        while let Some(operator) = scanner.next() {
            for operand in scanner.operands() {
                out.push(match operand {
                    Operand::Array => format!("[{}]", shown(scanner.items())),
                    operand => shown(std::slice::from_ref(operand)),
                });
            }
            out.push(String::from_utf8_lossy(operator).into_owned());
        }
        out.join(" ")
    }

    fn shown(operands: &[Operand<'_>]) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        operands
            .iter()
            .map(|operand| match operand {
                Operand::Number(number) => number.to_string(),
                Operand::Name(name) => format!("/{}", text(name)),
                Operand::String(string) => format!("({})", text(string)),
                Operand::Array => "[".into(),
                Operand::Dict(dict) => text(dict),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn operators_have_their_operands() {
        assert_eq!(
            scanned("/F#31 12 Tf % a comment\n[(a(b)c) -1.5<4a4B>]TJ /P<</A(>>)/B<3e>>>BDC"),
            "/F1 12 Tf [(a(b)c) -1.5 (JK)] TJ /P <</A(>>)/B<3e>>> BDC"
        );
        assert_eq!(
            scanned(
                r"(\050\\\n\
x\53) Tj"
            ),
            "((\\\nx+) Tj"
        );
    }

    #[test]
    fn numbers_are_read_as_viewers_read_them() {
        assert_eq!(
            scanned("--12 . - +.5 -14Td 1.2.3 12-34 .5- 00012.50 100000000000000000000 w"),
            "12 0 -0 0.5 -14 Td 1.2 0.3 12 0.5 12.5 100000000000000000000 w"
        );
    }

    #[test]
    fn a_bad_token_ends_no_more_than_what_it_is_in() {
        assert_eq!(
            scanned("[(a)-71b)-7(c)] TJ (d) Tj"),
            "[(a) -71 -7 (c)] TJ (d) Tj"
        );
        assert_eq!(scanned(") ] > } (a) Tj"), "(a) Tj");
        assert_eq!(scanned("[(a) 3 (b) TJ ET"), "[(a) 3 (b)] TJ ET");
        assert_eq!(scanned("(a(b) Tj (c) Tj"), "(a(b) Tj (c) Tj");
        assert_eq!(scanned("(a Tj\n(b) Tj"), "(a Tj) (b) Tj");
        assert_eq!(scanned("<41 Tj (b) Tj"), "(A) Tj (b) Tj");
        assert_eq!(scanned("/P << /A (b) BDC (c) Tj"), "/P /A (b) BDC (c) Tj");
    }

    #[test]
    fn inline_images_are_skipped_and_what_follows_is_read() {
        assert_eq!(
            scanned("BI /W 2 /H 1 ID \u{1}EI \u{80}\u{2} EI\nQ (a) Tj"),
            "BI Q (a) Tj"
        );
        assert_eq!(scanned("BI (a) Tj"), "BI (a) Tj");
    }

    #[test]
    fn what_has_no_end_takes_linear_time() {
        for piece in [
            "(\n<< ",
            "BI ",
            "BI ID ",
            "[(",
            "<< /A (",
            "BI ID EI\u{80} ",
        ] {
            let content = piece.repeat(200_000);
            let mut scanner = Scanner::new(content.as_bytes());
            while scanner.next().is_some() {}
        }
    }
}
