//! Why a document has no text to give, and the codes of that.

/// Why a document has no text to give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A password is needed, or the encryption is one that cannot be read.
    #[error("the document is encrypted: {0}")]
    Encrypted(&'static str),
    /// The file is no PDF, or none of its pages can be read.
    #[error("the document is damaged: {0}")]
    Damaged(String),
    /// Pages are pictures, without a single glyph.
    #[error(
        "the document has no text: its pages ({pages}) are images, which have to be recognised \
         optically first"
    )]
    Scanned {
        /// Number of pages.
        pages: u32,
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
