//! From the bytes of a file to a [`Document`]: opens it, walks its pages, and decides what a
//! failure is called.
//!
//! What can be read is given, and what cannot be is listed beside it by page: text of the readable
//! half of a damaged file must not look like all of it. A document fails only when no page can be
//! read. What other readers mend without loss (a wrong cross-reference table, an odd trailer) is no
//! damage. Pages are interpreted and laid out one at a time, so that only the text outlives a page.

use std::fmt;
use std::sync::Arc;

use hayro_syntax::object::Dict;
use hayro_syntax::{DecryptionError, LoadPdfError, Pdf, PdfData};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::content::{Interpreter, PageContent, Shared};
use crate::error::Error;
use crate::fields::Fields;
use crate::fonts::Fonts;
use crate::glyph::Texts;
use crate::layers::Layers;
use crate::layout::Layout;
use crate::limits::TEXT_BYTES_MAX;
use crate::streams::Source;
use crate::tree::{self, Slot};
use crate::{attachments, unicode};

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
    /// What could not be read, by page. Empty when the text is all of it.
    pub damaged: Vec<Damage>,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The number of the page, from 1; none when it concerns the document as a whole.
    pub page: Option<u32>,
    /// What is wrong, for people.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.page {
            Some(page) => write!(f, "page {page}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// Read the text of a PDF.
pub fn read(bytes: Vec<u8>) -> Result<Document, Error> {
    let pdf = open(Arc::new(bytes))?;
    let mut reading = Reading::default();
    reading.run(&pdf)?;
    let information = pdf.metadata();
    let string = |bytes: &Option<Box<[u8]>>| {
        let string = bytes.as_deref().map(unicode::text_string)?;
        let string = string.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!string.is_empty()).then(|| string.to_owned())
    };
    Ok(Document {
        pages: reading.pages,
        text: reading.text,
        title: string(&information.title),
        author: string(&information.author),
        producer: string(&information.producer),
        damaged: reading.damaged,
    })
}

fn open(bytes: Arc<Vec<u8>>) -> Result<Pdf, Error> {
    match Pdf::new(PdfData::from(Arc::clone(&bytes))) {
        // Nothing that is read here needs the password of the attachments.
        Err(LoadPdfError::Decryption(error)) => {
            attachments::open_without(&bytes).ok_or_else(|| decryption_error(error))
        }
        Err(LoadPdfError::Invalid) => Err(Error::Damaged("no pages can be found in it".into())),
        Ok(pdf) => Ok(pdf),
    }
}

fn decryption_error(error: DecryptionError) -> Error {
    match error {
        DecryptionError::PasswordProtected => Error::Encrypted("a password is needed"),
        DecryptionError::UnsupportedAlgorithm => Error::Encrypted("the algorithm is not supported"),
        DecryptionError::MissingIDEntry | DecryptionError::InvalidEncryption => {
            Error::Damaged("its encryption dictionary is incomplete".into())
        }
    }
}

/// The text of a document, as far as it has been read.
#[derive(Default)]
struct Reading {
    pages: u32,
    text: String,
    damaged: Vec<Damage>,
    /// Pages of which nothing could be read.
    lost: u32,
    has_glyphs: bool,
    has_images: bool,
}

impl Reading {
    fn run(&mut self, pdf: &Pdf) -> Result<(), Error> {
        let tree::Pages { slots, damage } = tree::read(pdf)?;
        if slots.is_empty() {
            return Err(Error::Damaged("it has no pages".into()));
        }
        self.damaged
            .extend(damage.map(|reason| Damage { page: None, reason }));
        let catalog = pdf
            .xref()
            .get::<Dict<'_>>(pdf.xref().root_id())
            .unwrap_or_default();
        let source = Source::new(pdf);
        let mut shared = Shared {
            source,
            fonts: Fonts::new(source),
            texts: Texts::default(),
            layers: Layers::read(&catalog),
            fields: Fields::read(&catalog),
            content_bytes: 0,
            plain_forms: FxHashSet::default(),
        };
        let mut layout = Layout::default();
        for slot in slots {
            let content = match slot {
                Slot::Page(page) => Interpreter::run_page(&page, &mut shared)?,
                Slot::Unreadable(why) => PageContent {
                    damage: vec![why],
                    ..PageContent::default()
                },
            };
            self.add(content, &mut layout, &shared.texts)?;
        }
        if self.lost == self.pages {
            return Err(Error::Damaged(self.lost_message()));
        }
        if self.has_images && !self.has_glyphs {
            return Err(Error::Scanned { pages: self.pages });
        }
        Ok(())
    }

    /// Add what the next page holds.
    fn add(
        &mut self,
        content: PageContent,
        layout: &mut Layout,
        texts: &Texts,
    ) -> Result<(), Error> {
        if self.pages > 0 {
            self.text.push('\u{c}');
        }
        self.pages += 1;
        let is_empty = content.glyphs.is_empty() && !content.has_images;
        if is_empty && !content.damage.is_empty() {
            self.lost += 1;
        }
        self.has_glyphs |= !content.glyphs.is_empty();
        self.has_images |= content.has_images;
        let page = Some(self.pages);
        let damage = content.damage.into_iter();
        self.damaged
            .extend(damage.map(|reason| Damage { page, reason }));
        layout.write_page(content.glyphs, texts, &mut self.text);
        if self.text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of text",
                max: TEXT_BYTES_MAX as u64,
            });
        }
        Ok(())
    }

    fn lost_message(&self) -> String {
        let first = self.damaged.first().map(Damage::to_string);
        let first = first.unwrap_or_default();
        match self.pages {
            1 => format!("its only page cannot be read: {first}"),
            pages => format!("none of its {pages} pages can be read, such as {first}"),
        }
    }
}
