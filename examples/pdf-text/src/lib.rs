//! Text of PDFs, as two functions for Sortie.
//!
//! hayro reads the file and its fonts; what is text on a page, in which order and with which spaces
//! is decided here, in [`document`] and the modules below it. Nothing is drawn, no image is
//! decoded, and nothing but the bytes of the one object is read.
//!
//! Every limit is in `limits`, every failure has a code ([`Error::code`]) and none is
//! worth a retry: the same bytes give the same answer.

pub mod document;

mod annotations;
mod attachments;
mod cid;
mod content;
mod error;
mod fields;
mod filters;
mod font;
mod fonts;
mod glyph;
mod layers;
mod layout;
mod limits;
mod matrix;
mod pen;
mod predefined;
mod scan;
mod show;
mod streams;
mod tounicode;
mod tree;
mod truetype;
mod unicode;

pub use document::{Damage, Document};
pub use error::Error;
use sortie_guest::{Failure, Object};

/// Extract the text of a PDF, in reading order, pages separated by form feeds, with its title,
/// author and producer. What of it cannot be read is listed in `damaged`, by page.
///
/// Fails with `encrypted` when a password is needed, `damaged` when no page can be read,
/// `scanned` when the pages are images without text, and `too-large` past a limit of this function.
#[sortie_guest::function]
pub fn extract(pdf: Object) -> Result<Document, Failure> {
    if pdf.size() > limits::FILE_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "bytes",
            max: limits::FILE_BYTES_MAX,
        }
        .into());
    }
    Ok(document::read(pdf.read_all()?)?)
}

/// Count the words in the text of a PDF: runs of characters between blanks that have a letter or a
/// digit among them. Fails with `damaged` when any part of the text cannot be read: a number cannot
/// say that it is too small.
#[sortie_guest::function]
pub fn count_words(pdf: Object) -> Result<u64, Failure> {
    let document = extract(pdf)?;
    if let Some(damage) = document.damaged.first() {
        return Err(Error::Damaged(damage.to_string()).into());
    }
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    Ok(document.text.split_whitespace().filter(is_word).count() as u64)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error)
    }
}
