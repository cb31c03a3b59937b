//! The PDFs of a zip, one after the other.
//!
//! Members are found through the central directory at the archive's end, which is read as a stream,
//! and each that is a PDF by its name is read from where the directory says it is; nothing else of
//! the archive is read. What is in memory is one member and one entry of the directory.
//!
//! Everything an archive says of itself may be a lie. A member never yields more than it is said
//! to, nor more than [`crate::member::MEMBER_BYTES_MAX`]; members that together take more bytes
//! than the archive has overlap, as in a bomb, and are refused. Archives of several files, and
//! members that are compressed other than by deflate, are not read.

use std::io::{self, BufRead, Read, Seek as _, SeekFrom};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use sortie_guest::{Failure, Object};

use crate::member::{Content, MEMBER_BYTES_MAX, MEMBERS_MAX, damaged, is_pdf};

/// How a zip begins: with a member, or, when it has none, with its end.
const STARTS: [[u8; 4]; 2] = [*b"PK\x03\x04", *b"PK\x05\x06"];
const MEMBER: [u8; 4] = *b"PK\x03\x04";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";

const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const LOCATOR_64_BYTES: usize = 20;
const ENTRY_BYTES: usize = 46;
const MEMBER_HEADER_BYTES: usize = 30;
/// How far from the archive's end its end record may begin: it has a comment of up to 64 KiB.
const TAIL_BYTES: u64 = 22 + 65_535 + 20;

/// Whether an archive is a zip, by its first bytes.
pub(crate) fn is_zip(start: &[u8]) -> bool {
    STARTS.iter().any(|zip| start.starts_with(zip))
}

/// Where the central directory is.
struct Directory {
    offset: u64,
    entries: u64,
}

/// A member, as the directory describes it.
struct Entry {
    path: String,
    is_encrypted: bool,
    method: u16,
    crc: u32,
    compressed: u64,
    size: u64,
    offset: u64,
}

/// Calls `visit` with every PDF's path and content, in the order of the directory.
pub(crate) fn for_each_pdf(
    mut object: Object,
    mut visit: impl FnMut(String, Content),
) -> Result<(), Failure> {
    let directory = find_directory(&object)?;
    let mut entries = object.reader_at(directory.offset);
    let mut bytes_left = object.size();
    for index in 0..directory.entries {
        if index >= MEMBERS_MAX as u64 {
            return Err(Failure::new(
                "too-many-members",
                format!("the archive has more than {MEMBERS_MAX} members"),
            ));
        }
        let entry = read_entry(&mut entries).map_err(damaged)?;
        // A folder has a slash at its end, and so no extension.
        if !is_pdf(&entry.path) {
            continue;
        }
        bytes_left = bytes_left
            .checked_sub(entry.compressed)
            .ok_or_else(|| wrong("its members overlap"))?;
        let content = match why_unread(&entry) {
            Some(why) => Content::Unread(why),
            None => content(&mut object, &entry)?,
        };
        visit(entry.path, content);
    }
    Ok(())
}

/// Why a member is not even looked at.
fn why_unread(entry: &Entry) -> Option<&'static str> {
    if entry.is_encrypted {
        Some("encrypted")
    } else if entry.size > MEMBER_BYTES_MAX {
        Some("too-large")
    } else if !matches!(entry.method, 0 | 8) {
        Some("unsupported-compression")
    } else {
        None
    }
}

/// A member's bytes. One that is not what the directory says is damaged, and the scan goes on with
/// the next.
fn content(object: &mut Object, entry: &Entry) -> Result<Content, Failure> {
    match unpack(object, entry) {
        Ok(bytes) => Ok(Content::Bytes(bytes)),
        Err(error) if sortie_guest::object::Error::within(&error).is_some() => {
            Err(Failure::from(error))
        }
        Err(_) => Ok(Content::Unread("damaged")),
    }
}

fn unpack(object: &mut Object, entry: &Entry) -> io::Result<Vec<u8>> {
    object.seek(SeekFrom::Start(entry.offset))?;
    let header: [u8; MEMBER_HEADER_BYTES] = read_array(object)?;
    if !header.starts_with(&MEMBER) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Its name and extra field, which may differ from the directory's.
    let skip = i64::from(u16_at(&header, 26)) + i64::from(u16_at(&header, 28));
    object.seek(SeekFrom::Current(skip))?;
    let packed = object.take(entry.compressed);
    let size = usize::try_from(entry.size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size)?;
    // One byte more than it should have tells that it has more.
    match entry.method {
        0 => packed.take(entry.size + 1).read_to_end(&mut bytes)?,
        _ => DeflateDecoder::new(packed)
            .take(entry.size + 1)
            .read_to_end(&mut bytes)?,
    };
    let mut crc = Crc::new();
    crc.update(&bytes);
    if bytes.len() == size && crc.sum() == entry.crc {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Find the end record, and with it the directory.
fn find_directory(object: &Object) -> Result<Directory, Failure> {
    let start = object.size().saturating_sub(TAIL_BYTES);
    let tail = object.read_at(start, u32::try_from(TAIL_BYTES).unwrap_or(u32::MAX))?;
    let end = (0..=tail.len().saturating_sub(END_BYTES))
        .rev()
        .find(|&at| is_end(&tail, at))
        .ok_or_else(|| wrong("it has no end record"))?;
    let record = tail.get(end..).unwrap_or_default();
    if u16_at(record, 4) != u16_at(record, 6) {
        return Err(wrong("it is one of several files"));
    }
    let (entries, offset) = (u16_at(record, 10), u32_at(record, 16));
    if entries != u16::MAX && offset != u32::MAX && u32_at(record, 12) != u32::MAX {
        return Ok(Directory {
            offset: offset.into(),
            entries: entries.into(),
        });
    }
    let locator = end
        .checked_sub(LOCATOR_64_BYTES)
        .and_then(|at| tail.get(at..))
        .filter(|bytes| bytes.starts_with(&LOCATOR_64));
    match locator {
        Some(locator) => find_directory_64(object, u64_at(locator, 8)),
        // Full numbers that mean what they say.
        None => Ok(Directory {
            offset: offset.into(),
            entries: entries.into(),
        }),
    }
}

fn find_directory_64(object: &Object, at: u64) -> Result<Directory, Failure> {
    let record = object.read_at(at, u32::try_from(END_64_BYTES).unwrap_or(u32::MAX))?;
    if record.len() < END_64_BYTES || !record.starts_with(&END_64) {
        return Err(wrong(
            "it has no end record of the large kind where it says",
        ));
    }
    Ok(Directory {
        offset: u64_at(&record, 48),
        entries: u64_at(&record, 32),
    })
}

/// Whether the end record is here: its comment reaches to the archive's end.
fn is_end(tail: &[u8], at: usize) -> bool {
    let record = tail.get(at..).unwrap_or_default();
    record.starts_with(&END)
        && record.len() >= END_BYTES
        && usize::from(u16_at(record, 20)) == record.len() - END_BYTES
}

/// Read the next entry of the directory.
fn read_entry(directory: &mut impl BufRead) -> io::Result<Entry> {
    let header: [u8; ENTRY_BYTES] = read_array(directory)?;
    if !header.starts_with(&ENTRY) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its directory ends too early",
        ));
    }
    let path = read_vec(directory, u16_at(&header, 28))?;
    let extra = read_vec(directory, u16_at(&header, 30))?;
    read_vec(directory, u16_at(&header, 32))?;
    // In this order, and only those that do not fit 32 bits.
    let mut large = large_numbers(&extra);
    let mut number = |at| match u32_at(&header, at) {
        u32::MAX => large.next().unwrap_or(u32::MAX.into()),
        small => small.into(),
    };
    let (size, compressed, offset) = (number(24), number(20), number(42));
    Ok(Entry {
        path: String::from_utf8_lossy(&path).into_owned(),
        is_encrypted: u16_at(&header, 8) & 1 != 0,
        method: u16_at(&header, 10),
        crc: u32_at(&header, 16),
        compressed,
        size,
        offset,
    })
}

/// The numbers of 64 bits in an extra field.
fn large_numbers(extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = extra;
    let mut found: &[u8] = &[];
    while let Some((head, body)) = rest.split_at_checked(4) {
        let (field, after) = body
            .split_at_checked(u16_at(head, 2).into())
            .unwrap_or((body, &[]));
        if u16_at(head, 0) == 1 {
            found = field;
            break;
        }
        rest = after;
    }
    found
        .chunks_exact(8)
        .map(|bytes| u64_at(bytes, 0))
        .collect::<Vec<_>>()
        .into_iter()
}

fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_vec(from: &mut impl Read, len: u16) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.into()];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// `N` bytes; zeros where there are none, which no caller asks for that has looked at the length.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..at + N)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}

fn wrong(what: &str) -> Failure {
    Failure::new("damaged", format!("the archive cannot be read: {what}"))
}
