//! Which PDFs of an archive contain a word: one function over a whole tar, as arXiv's bulk data
//! comes.
//!
//! A tar is read as a stream from front to back, a zip member by member, so memory grows with the
//! largest PDF and not with the archive. A PDF that cannot be read is reported in its place and the
//! scan goes on; only an archive that cannot be read, or a word that is none, fails the task. A PDF
//! that crashes the extractor ends the sandbox and with it this task: who needs a wall round every
//! PDF maps `pdf-text` over single files.
//!
//! Bounded by `member::MEMBERS_MAX` members and `member::MEMBER_BYTES_MAX` for each PDF; time is
//! the task's limit.

use sortie_guest::{Failure, Object};

mod archive;
mod member;
mod word;
mod zip;

use member::Content;
use word::Word;

// `pdf-text` is a library here.
sortie_guest::without_functions_of!(pdf_text);

/// What there is to say about one PDF.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Finding {
    /// It was read.
    Read {
        /// Its path in the archive.
        file: String,
        /// How many pages it has.
        pages: u32,
        /// Whether the word is in it.
        contains: bool,
        /// How many times.
        count: u64,
    },
    /// It was not.
    Skipped {
        /// Its path in the archive.
        file: String,
        /// Why: `too-large`, `unsupported-compression`, or a code of `pdf-text` (`encrypted`,
        /// `damaged`, ...).
        error: String,
    },
}

/// Look for a word in every PDF of an archive: a tar, which may be compressed with gzip, or a zip.
///
/// The word is found in any case and only as a whole: `graph` is in `Graph` and in `graph-based`
/// but not in `graphs`. Findings are in the archive's order, one for each member whose name ends in
/// `.pdf`. A PDF that is encrypted, damaged or has no text is a finding with an `error`.
///
/// Fails with `bad-word` when the word has no letter or digit, `damaged` when the archive is, and
/// `too-many-members` past 100,000.
#[sortie_guest::function]
pub fn scan(archive: Object, word: String) -> Result<Vec<Finding>, Failure> {
    let word = Word::new(&word)
        .ok_or_else(|| Failure::new("bad-word", format!("`{word}` has no letter or digit")))?;
    let mut findings = Vec::new();
    let name = archive.name().to_owned();
    archive::for_each_pdf(archive, |file, content| {
        findings.push(finding(file, content, &word))
    })?;
    log::info!("{} PDFs in `{name}`", findings.len());
    Ok(findings)
}

fn finding(file: String, content: Content, word: &Word) -> Finding {
    let bytes = match content {
        Content::Bytes(bytes) => bytes,
        Content::Unread(why) => {
            return Finding::Skipped {
                file,
                error: why.to_owned(),
            };
        }
    };
    match pdf_text::document::read(bytes) {
        Ok(document) => {
            let count = word.count_in(&document.text);
            Finding::Read {
                file,
                pages: document.pages,
                contains: count > 0,
                count,
            }
        }
        Err(error) => Finding::Skipped {
            file,
            error: error.code().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests;
