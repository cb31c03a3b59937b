//! Text of PDFs, as two functions for Sortie.
//!
//! hayro reads the file and its fonts; what is text on a page, in which order and with which spaces
//! is decided here, in [`document`] and the modules below it. Nothing is drawn, no image is
//! decoded, and nothing but the bytes of the one object is read.
//!
//! Every limit is in `limits`, every failure has a code ([`document::Error::code`]) and none is
//! worth a retry: the same bytes give the same answer.

pub mod document;

mod cid;
mod content;
mod font;
mod fonts;
mod glyph;
mod layers;
mod layout;
mod limits;
mod matrix;
mod pen;
mod unicode;

pub use document::{Document, Error};
use sortie_guest::{Failure, Object};

/// Extract the text of a PDF, in reading order, pages separated by form feeds, with its title,
/// author and producer.
///
/// Fails with `encrypted` when a password is needed, `damaged` when parts of the file are missing,
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
/// digit among them.
#[sortie_guest::function]
pub fn count_words(pdf: Object) -> Result<u64, Failure> {
    let document = extract(pdf)?;
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    Ok(document.text.split_whitespace().filter(is_word).count() as u64)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code(), error)
    }
}
