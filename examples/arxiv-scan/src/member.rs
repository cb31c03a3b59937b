//! What an archive's members may be, and what is made of one, whatever the kind of archive.

use std::io;

use sortie_guest::{Failure, object};

/// How large a PDF may be to be read. Extraction holds it whole, next to what it decodes; arXiv
/// takes no files over 50 MB.
pub(crate) const MEMBER_BYTES_MAX: u64 = 64 << 20;

/// How many members an archive may have, PDFs or not. arXiv's have a few thousand; each costs a
/// finding in the result.
pub(crate) const MEMBERS_MAX: usize = 100_000;

/// What a member holds.
pub(crate) enum Content {
    /// The PDF.
    Bytes(Vec<u8>),
    /// It was skipped, in a word.
    Unread(&'static str),
}

/// Whether a path is a PDF's.
pub(crate) fn is_pdf(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(_, extension)| extension.eq_ignore_ascii_case("pdf"))
}

/// The failure of an archive that cannot be read.
pub(crate) fn damaged(error: io::Error) -> Failure {
    match object::Error::within(&error) {
        Some(_) => Failure::from(error),
        None => Failure::new("damaged", format!("the archive cannot be read: {error}")),
    }
}
