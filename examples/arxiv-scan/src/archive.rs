//! The PDFs of an archive, one after the other: a zip goes to [`crate::zip`], a tar is read here.
//!
//! One member is in memory at a time, and what is no PDF is skipped without being kept. Reads are
//! sequential, as the object's stream wants them. An archive that ends too early or is no tar is
//! `damaged`; an object that cannot be read keeps its own code.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sortie_guest::{Failure, Object};
use tar::Entry;

use crate::member::{Content, MEMBER_BYTES_MAX, MEMBERS_MAX, damaged, is_pdf};
use crate::zip;

/// How a gzip stream begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Calls `visit` with every PDF's path and content, in the archive's order. What kind of archive it
/// is its first bytes say.
pub(crate) fn for_each_pdf(
    object: Object,
    visit: impl FnMut(String, Content),
) -> Result<(), Failure> {
    let mut reader = object.reader();
    let start = reader.fill_buf()?;
    if zip::is_zip(start) {
        drop(reader);
        return zip::for_each_pdf(object, visit);
    }
    if start.starts_with(&GZIP) {
        in_tar(BufReader::new(MultiGzDecoder::new(reader)), visit)
    } else {
        in_tar(reader, visit)
    }
}

fn in_tar(stream: impl Read, mut visit: impl FnMut(String, Content)) -> Result<(), Failure> {
    for (index, member) in tar::Archive::new(stream)
        .entries()
        .map_err(damaged)?
        .enumerate()
    {
        if index >= MEMBERS_MAX {
            return Err(Failure::new(
                "too-many-members",
                format!("the archive has more than {MEMBERS_MAX} members"),
            ));
        }
        let mut member = member.map_err(damaged)?;
        if let Some(file) = pdf_path(&member) {
            visit(file, content(&mut member).map_err(damaged)?);
        }
    }
    Ok(())
}

/// The path of a member that is a PDF by its name.
fn pdf_path(member: &Entry<'_, impl Read>) -> Option<String> {
    let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
    (member.header().entry_type().is_file() && is_pdf(&path)).then_some(path)
}

fn content(member: &mut Entry<'_, impl Read>) -> io::Result<Content> {
    let size = member.size();
    if size > MEMBER_BYTES_MAX {
        return Ok(Content::Unread("too-large"));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    member.take(MEMBER_BYTES_MAX).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Content::Bytes(bytes))
}
