//! From the bytes of a file to a [`Document`]: opens it, walks its pages, and decides what a
//! failure is called.
//!
//! A document is whole or it fails: text of the readable half of a damaged file would look like all
//! of it. What other readers mend without loss (a wrong cross-reference table, an odd trailer) is
//! no damage. Pages are interpreted and laid out one at a time, so that only the text outlives a
//! page.

use hayro_syntax::object::Dict;
use hayro_syntax::page::Page;
use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::content::{Interpreter, Shared};
use crate::fonts::Fonts;
use crate::glyph::Texts;
use crate::layers::Layers;
use crate::layout::Layout;
use crate::limits::{PAGES_MAX, TEXT_BYTES_MAX};
use crate::unicode;

/// The text of a PDF and what it says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Number of pages.
    pub pages: u32,
    /// The text in reading order, pages separated by a form feed (U+000C).
    pub text: String,
    /// The title from the document information.
    pub title: Option<String>,
    /// The author from the document information.
    pub author: Option<String>,
    /// The program that wrote the file.
    pub producer: Option<String>,
}

/// Why a document has no text to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A password is needed, or the encryption is one that cannot be read.
    #[error("the document is encrypted: {0}")]
    Encrypted(&'static str),
    /// The file is no PDF, or parts of it are missing.
    #[error("the document is damaged: {0}")]
    Damaged(String),
    /// Pages are pictures, without a single glyph.
    #[error(
        "the document has no text: its pages ({pages}) are images, which have to be recognised \
         optically first"
    )]
    Scanned {
        /// Number of pages.
        pages: usize,
    },
    /// A limit of this function.
    #[error("the document has more {what} than the limit of {max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

impl Error {
    /// The code of the failure that a task reports.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Encrypted(_) => "encrypted",
            Self::Damaged(_) => "damaged",
            Self::Scanned { .. } => "scanned",
            Self::TooLarge { .. } => "too-large",
        }
    }
}

/// Read the text of a PDF.
pub fn read(bytes: Vec<u8>) -> Result<Document, Error> {
    let pdf = open(bytes)?;
    let pages = pdf.pages();
    check_page_tree(&pdf, pages.len())?;
    let text = text_of(&pdf, pages)?;
    let information = pdf.metadata();
    let string = |bytes: &Option<Box<[u8]>>| {
        let string = bytes.as_deref().map(unicode::text_string)?;
        let string = string.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!string.is_empty()).then(|| string.to_owned())
    };
    Ok(Document {
        pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
        text,
        title: string(&information.title),
        author: string(&information.author),
        producer: string(&information.producer),
    })
}

fn open(bytes: Vec<u8>) -> Result<Pdf, Error> {
    Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            Error::Encrypted("a password is needed")
        }
        LoadPdfError::Decryption(DecryptionError::UnsupportedAlgorithm) => {
            Error::Encrypted("the algorithm is not supported")
        }
        LoadPdfError::Decryption(
            DecryptionError::MissingIDEntry | DecryptionError::InvalidEncryption,
        ) => Error::Damaged("its encryption dictionary is incomplete".into()),
        LoadPdfError::Invalid => Error::Damaged("no pages can be found in it".into()),
    })
}

/// The page tree says how many pages there should be; a file that was cut off has fewer, or no tree
/// at all.
fn check_page_tree(pdf: &Pdf, found: usize) -> Result<(), Error> {
    if found > PAGES_MAX {
        return Err(Error::TooLarge {
            what: "pages",
            max: PAGES_MAX as u64,
        });
    }
    let xref = pdf.xref();
    let catalog = xref.get::<Dict<'_>>(xref.root_id());
    let Some(tree) = catalog.and_then(|catalog| catalog.get::<Dict<'_>>("Pages")) else {
        return Err(Error::Damaged(format!(
            "its page tree is missing; {found} loose pages were found"
        )));
    };
    let promised = tree
        .get::<u32>("Count")
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(found);
    if found < promised {
        return Err(Error::Damaged(format!(
            "{found} of its {promised} pages can be read"
        )));
    }
    if found == 0 {
        return Err(Error::Damaged("it has no pages".into()));
    }
    Ok(())
}

fn text_of(pdf: &Pdf, pages: &[Page<'_>]) -> Result<String, Error> {
    let catalog = pdf
        .xref()
        .get::<Dict<'_>>(pdf.xref().root_id())
        .unwrap_or_default();
    let mut shared = Shared {
        fonts: Fonts::new(),
        texts: Texts::default(),
        layers: Layers::read(&catalog),
        content_bytes: 0,
        plain_forms: FxHashSet::default(),
    };
    let mut layout = Layout::default();
    let mut text = String::new();
    let (mut has_glyphs, mut has_images) = (false, false);
    for (index, page) in pages.iter().enumerate() {
        if index > 0 {
            text.push('\u{c}');
        }
        let content = Interpreter::run_page(page, &mut shared)?;
        if content.is_damaged {
            return Err(Error::Damaged(format!(
                "the content of page {} cannot be decoded",
                index + 1
            )));
        }
        has_glyphs |= !content.glyphs.is_empty();
        has_images |= content.has_images;
        layout.write_page(content.glyphs, &shared.texts, &mut text);
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of text",
                max: TEXT_BYTES_MAX as u64,
            });
        }
    }
    if has_images && !has_glyphs {
        return Err(Error::Scanned { pages: pages.len() });
    }
    Ok(text)
}
