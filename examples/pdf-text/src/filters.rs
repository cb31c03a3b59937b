//! The filters of a stream, with what is left of data that is broken.
//!
//! Other decoders give all of the data or none, or hide that some is missing. Here each filter
//! gives what it could decode and says what was wrong, because the text before the fault is worth
//! having and the reader of it must know that it is not whole.
//!
//! Image filters are not decoded: nothing that holds text uses them. Each filter stops at
//! `STREAM_BYTES_MAX`.

use flate2::{Decompress, FlushDecompress, Status};
use hayro_syntax::object::Dict;

use crate::limits::STREAM_BYTES_MAX;

/// What a filter made of its input.
pub(crate) struct Filtered {
    pub(crate) data: Vec<u8>,
    /// What is wrong with the input, as the end of a sentence.
    pub(crate) fault: Option<Fault>,
}

/// What is wrong with the input of a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The data ends too early.
    CutOff,
    /// The data cannot be what the filter has written.
    Broken,
    /// The data decodes, but its checksum is another.
    Checksum,
    /// There is more than `STREAM_BYTES_MAX`.
    TooLarge,
}

impl Fault {
    /// For a reader of the result.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::CutOff => "its data is cut off",
            Self::Broken => "its data is damaged",
            Self::Checksum => "its checksum is wrong, so that letters may be",
            Self::TooLarge => "its data is too large",
        }
    }
}

impl Filtered {
    fn whole(data: Vec<u8>) -> Self {
        Self { data, fault: None }
    }

    fn with(data: Vec<u8>, fault: Fault) -> Self {
        Self {
            data,
            fault: Some(fault),
        }
    }
}

/// Apply the filter of this name; `None` when there is none that is known.
pub(crate) fn apply(name: &[u8], data: &[u8], parameters: &Dict<'_>) -> Option<Filtered> {
    let filtered = match name {
        b"FlateDecode" | b"Fl" => unpredicted(inflate(data), parameters),
        b"LZWDecode" | b"LZW" => {
            let early = parameters.get::<u8>("EarlyChange").unwrap_or(1) != 0;
            unpredicted(lzw(data, early), parameters)
        }
        b"ASCII85Decode" | b"A85" => ascii_85(data),
        b"ASCIIHexDecode" | b"AHx" => ascii_hex(data),
        b"RunLengthDecode" | b"RL" => run_length(data),
        _ => return None,
    };
    Some(filtered)
}

/// Undo `FlateDecode`. The checksum at the end may be missing, as in many files.
fn inflate(data: &[u8]) -> Filtered {
    let zlib = inflate_as(data, true);
    if zlib.fault.is_none() || zlib.fault == Some(Fault::TooLarge) {
        return zlib;
    }
    // The header of two bytes may be wrong or missing, and the checksum may be.
    let without_header = inflate_raw(data.get(2..).unwrap_or_default());
    let best = if without_header.data.len() >= zlib.data.len() {
        without_header
    } else {
        zlib
    };
    if best.data.is_empty() {
        let raw = inflate_raw(data);
        if raw.fault.is_none() {
            return raw;
        }
    }
    best
}

fn inflate_raw(data: &[u8]) -> Filtered {
    inflate_as(data, false)
}

fn inflate_as(data: &[u8], has_header: bool) -> Filtered {
    let mut decoder = Decompress::new(has_header);
    let mut out: Vec<u8> = Vec::with_capacity(data.len().saturating_mul(4).clamp(1 << 10, 1 << 20));
    loop {
        if out.len() > STREAM_BYTES_MAX {
            return Filtered::with(out, Fault::TooLarge);
        }
        if out.len() == out.capacity() {
            out.reserve(out.capacity());
        }
        let read = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let (rest, before) = (data.get(read..).unwrap_or_default(), out.len());
        match decoder.decompress_vec(rest, &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) if has_header => return Filtered::whole(out),
            Ok(Status::StreamEnd) => {
                let end = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
                let checksum = data
                    .get(end..)
                    .and_then(|rest| rest.first_chunk::<4>())
                    .map(|bytes| u32::from_be_bytes(*bytes));
                return match checksum {
                    Some(checksum) if checksum != adler(&out) => {
                        Filtered::with(out, Fault::Checksum)
                    }
                    _ => Filtered::whole(out),
                };
            }
            Ok(_) => {
                let moved = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX) > read;
                if !moved && out.len() == before && out.len() < out.capacity() {
                    return Filtered::with(out, Fault::CutOff);
                }
            }
            Err(_) => return Filtered::with(out, Fault::Broken),
        }
    }
}

/// The checksum of zlib.
fn adler(data: &[u8]) -> u32 {
    /// The most bytes after which the sums still fit.
    const BLOCK: usize = 5552;
    let (mut a, mut b) = (1_u32, 0_u32);
    for block in data.chunks(BLOCK) {
        for &byte in block {
            a += u32::from(byte);
            b += a;
        }
        a %= 65_521;
        b %= 65_521;
    }
    b << 16 | a
}

/// Undo `LZWDecode`. `is_early`: codes get longer one code before they must.
fn lzw(data: &[u8], is_early: bool) -> Filtered {
    const CLEAR: usize = 256;
    const END: usize = 257;
    const ENTRIES_MAX: usize = 4096;
    let early = usize::from(is_early);
    let mut out: Vec<u8> = Vec::new();
    // Each entry is a piece of the output: where it starts and how long it is.
    let mut entries: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut bytes = data.iter();
    loop {
        if out.len() > STREAM_BYTES_MAX {
            return Filtered::with(out, Fault::TooLarge);
        }
        // The entry of the code that is read next is only known after it.
        let next = END + 1 + entries.len() + usize::from(last.is_some());
        let width = match next + early {
            ..=511 => 9,
            512..=1023 => 10,
            1024..=2047 => 11,
            _ => 12,
        };
        while count < width {
            let Some(&byte) = bytes.next() else {
                return match last {
                    // Some writers leave the end out.
                    Some(_) if bits & ((1 << count) - 1) == 0 => Filtered::whole(out),
                    _ => Filtered::with(out, Fault::CutOff),
                };
            };
            bits = bits << 8 | u32::from(byte);
            count += 8;
        }
        count -= width;
        let code = usize::try_from(bits >> count & ((1 << width) - 1)).unwrap_or(END);
        bits &= (1 << count) - 1;
        if code == END {
            return Filtered::whole(out);
        }
        if code == CLEAR {
            entries.clear();
            last = None;
            continue;
        }
        let start = out.len();
        // The new entry is the last piece and the byte that follows it in the output.
        if let Some((from, len)) = last
            && entries.len() + END + 1 < ENTRIES_MAX
        {
            entries.push((from, len + 1));
        }
        if let Ok(byte) = u8::try_from(code) {
            out.push(byte);
            last = Some((start, 1));
            continue;
        }
        let Some(&(from, len)) = entries.get(code - END - 1) else {
            return Filtered::with(out, Fault::Broken);
        };
        // The piece may end in the byte that it begins with.
        for at in from..from + len {
            let Some(&byte) = out.get(at) else {
                return Filtered::with(out, Fault::Broken);
            };
            out.push(byte);
        }
        last = Some((start, len));
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

/// Undo `ASCII85Decode`. A missing end is no fault.
fn ascii_85(data: &[u8]) -> Filtered {
    let mut out = Vec::with_capacity(data.len() / 5 * 4);
    let mut group = [0_u8; 5];
    let mut len = 0;
    let mut flush = |group: &[u8; 5], len: usize| {
        let value = group.iter().enumerate().fold(0_u64, |value, (at, &digit)| {
            value * 85 + u64::from(if at < len { digit } else { 84 })
        });
        let bytes = u32::try_from(value).ok().map(u32::to_be_bytes);
        if let Some(bytes) = bytes {
            out.extend(bytes.iter().take(len.saturating_sub(1)));
        }
        bytes.is_some()
    };
    let mut fault = None;
    // PostScript has a mark at the start, too.
    let data = data.trim_ascii_start();
    for &byte in data.strip_prefix(b"<~").unwrap_or(data) {
        match byte {
            b'!'..=b'u' => {
                if let Some(place) = group.get_mut(len) {
                    *place = byte - b'!';
                }
                len += 1;
                if len == 5 {
                    if !flush(&group, len) {
                        fault = Some(Fault::Broken);
                        len = 0;
                        break;
                    }
                    len = 0;
                }
            }
            b'z' if len == 0 => {
                flush(&[0; 5], 5);
            }
            b'~' => break,
            byte if is_blank(byte) => {}
            _ => {
                fault = Some(Fault::Broken);
                break;
            }
        }
    }
    if len > 1 && !flush(&group, len) {
        fault = Some(Fault::Broken);
    }
    Filtered { data: out, fault }
}

/// Undo `ASCIIHexDecode`.
fn ascii_hex(data: &[u8]) -> Filtered {
    let mut out = Vec::with_capacity(data.len() / 2);
    let mut high: Option<u8> = None;
    let mut fault = None;
    for &byte in data {
        let digit = match byte {
            b'>' => break,
            byte if is_blank(byte) => continue,
            byte => char::from(byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok()),
        };
        let Some(digit) = digit else {
            fault = Some(Fault::Broken);
            break;
        };
        match high.take() {
            Some(high) => out.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    out.extend(high.map(|high| high << 4));
    Filtered { data: out, fault }
}

/// Undo `RunLengthDecode`. A missing end is no fault.
fn run_length(data: &[u8]) -> Filtered {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((&length, after)) = rest.split_first() {
        if out.len() > STREAM_BYTES_MAX {
            return Filtered::with(out, Fault::TooLarge);
        }
        rest = match length {
            128 => return Filtered::whole(out),
            0..=127 => {
                let count = usize::from(length) + 1;
                let Some((copied, after)) = after.split_at_checked(count) else {
                    out.extend_from_slice(after);
                    return Filtered::with(out, Fault::CutOff);
                };
                out.extend_from_slice(copied);
                after
            }
            129.. => {
                let Some((&byte, after)) = after.split_first() else {
                    return Filtered::with(out, Fault::CutOff);
                };
                out.resize(out.len() + 257 - usize::from(length), byte);
                after
            }
        };
    }
    Filtered::whole(out)
}

/// Undo the predictor that was applied before compression.
fn unpredicted(filtered: Filtered, parameters: &Dict<'_>) -> Filtered {
    let number = |key: &str, otherwise: usize| parameters.get::<usize>(key).unwrap_or(otherwise);
    let predictor = number("Predictor", 1);
    if predictor < 2 {
        return filtered;
    }
    // Of one byte of text each; anything else is an image.
    let columns = number("Columns", 1).clamp(1, STREAM_BYTES_MAX);
    let colors = number("Colors", 1).clamp(1, 64);
    let bits = number("BitsPerComponent", 8).clamp(1, 16);
    let pixel = (colors * bits).div_ceil(8);
    let row = (columns.saturating_mul(colors * bits)).div_ceil(8);
    let data = if predictor == 2 {
        sum_rows(filtered.data, row, pixel)
    } else {
        png_rows(&filtered.data, row, pixel)
    };
    Filtered {
        data,
        fault: filtered.fault,
    }
}

/// The TIFF predictor: each byte is a difference to the pixel before it.
fn sum_rows(mut data: Vec<u8>, row: usize, pixel: usize) -> Vec<u8> {
    for row in data.chunks_mut(row.max(1)) {
        for at in pixel..row.len() {
            let before = row.get(at - pixel).copied().unwrap_or(0);
            if let Some(byte) = row.get_mut(at) {
                *byte = byte.wrapping_add(before);
            }
        }
    }
    data
}

/// The predictors of PNG, one named at the start of each row.
fn png_rows(data: &[u8], row: usize, pixel: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(data.len());
    let mut above: Vec<u8> = Vec::new();
    for line in data.chunks(row + 1) {
        let Some((&kind, bytes)) = line.split_first() else {
            break;
        };
        let start = out.len();
        for (at, &byte) in bytes.iter().enumerate() {
            let of =
                |row: &[u8], at: Option<usize>| at.and_then(|at| row.get(at)).copied().unwrap_or(0);
            let before = at.checked_sub(pixel);
            let left = of(out.get(start..).unwrap_or_default(), before);
            let (up, corner) = (of(&above, Some(at)), of(&above, before));
            let predicted = match kind {
                1 => left,
                2 => up,
                3 => left.midpoint(up),
                4 => paeth(left, up, corner),
                _ => 0,
            };
            out.push(byte.wrapping_add(predicted));
        }
        above.clear();
        above.extend_from_slice(out.get(start..).unwrap_or_default());
    }
    out
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |of: u8| (estimate - i16::from(of)).abs();
    let (to_left, to_up, to_corner) = (distance(left), distance(up), distance(corner));
    if to_left <= to_up && to_left <= to_corner {
        left
    } else if to_up <= to_corner {
        up
    } else {
        corner
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn compressed(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Text that does not compress to nothing.
    fn text() -> Vec<u8> {
        (0_u32..4000)
            .flat_map(|number| {
                format!("{} ", number.wrapping_mul(2_654_435_761) >> 12).into_bytes()
            })
            .collect()
    }

    #[test]
    fn compressed_data_that_is_cut_off_gives_its_beginning() {
        let (text, packed) = (text(), compressed(&text()));
        assert_eq!(inflate(&packed).fault, None);
        let cut = inflate(&packed[..packed.len() / 2]);
        assert_eq!(cut.fault, Some(Fault::CutOff));
        assert!(cut.data.len() > text.len() / 4 && text.starts_with(&cut.data));
    }

    #[test]
    fn compressed_data_that_is_broken_gives_what_is_before_the_fault() {
        let (text, mut packed) = (text(), compressed(&text()));
        let middle = packed.len() / 2;
        packed[middle..middle + 40].fill(0xff);
        let broken = inflate(&packed);
        assert!(broken.fault.is_some());
        assert!(broken.data.len() > 100 && text[..100] == broken.data[..100]);
    }

    #[test]
    fn a_checksum_may_be_missing_but_not_wrong() {
        let (text, mut packed) = (text(), compressed(&text()));
        let end = packed.len() - 4;
        let missing = inflate(&packed[..end]);
        assert_eq!((missing.fault, missing.data), (None, text.clone()));
        packed[end] ^= 1;
        let wrong = inflate(&packed);
        assert_eq!(
            (wrong.fault, wrong.data),
            (Some(Fault::Checksum), text.clone())
        );
        let headless = inflate(&compressed(&text)[2..end]);
        assert_eq!((headless.fault, headless.data), (None, text));
    }

    #[test]
    fn the_other_filters_undo_what_they_should() {
        let check = |filtered: Filtered, expected: &[u8], fault: Option<Fault>| {
            assert_eq!(
                (filtered.data.as_slice(), filtered.fault),
                (expected, fault)
            );
        };
        check(ascii_hex(b"48 65 6C6c 6F>"), b"Hello", None);
        check(ascii_hex(b"4865x"), b"He", Some(Fault::Broken));
        check(ascii_85(b"87cURD]i,\"Ebo80~>"), b"Hello World!", None);
        check(ascii_85(b"87cUR\x80"), b"Hell", Some(Fault::Broken));
        check(
            run_length(&[2, b'a', b'b', b'c', 254, b'd', 128]),
            b"abcddd",
            None,
        );
        check(run_length(&[5, b'a']), b"a", Some(Fault::CutOff));
        // The example of the standard.
        let packed = [0x80, 0x0b, 0x60, 0x50, 0x22, 0x0c, 0x0c, 0x85, 0x01];
        check(lzw(&packed, true), b"-----A---B", None);
        check(lzw(&packed[..4], true), b"---", Some(Fault::CutOff));
    }

    #[test]
    fn rows_of_png_are_added_up() {
        assert_eq!(
            png_rows(&[1, 1, 1, 1, 2, 1, 1, 1, 0, 9, 9, 9], 3, 1),
            [1, 2, 3, 2, 3, 4, 9, 9, 9]
        );
        assert_eq!(sum_rows(vec![1, 1, 1, 5, 1, 1], 3, 1), [1, 2, 3, 5, 6, 7]);
    }
}
