//! Every limit of this function, by name.
//!
//! A document past one of them fails with the code `too-large`; nothing is cut off in silence. They
//! stop hostile files well before the sandbox would: memory of our own grows with glyphs and with
//! text, time with the content that is run, the stack with nested forms.

/// Pages in one document. The largest manuals have some ten thousand.
pub(crate) const PAGES_MAX: usize = 50_000;
/// Glyphs on one page: 40 MB of them. A dense newspaper page has 50,000.
pub(crate) const GLYPHS_PER_PAGE_MAX: usize = 1_000_000;
/// Decoded bytes of content in one document, those of repeated forms counted each time: some ten
/// seconds of work. Forms that draw forms could otherwise multiply without bound. The largest
/// manuals have 200 MB.
pub(crate) const CONTENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes that drawing a form counts for beside those of its content: setting up its resources takes
/// as long. Forms without text count once.
pub(crate) const FORM_BYTES: u64 = 16 << 10;
/// Forms inside forms. Deeper ones are skipped as other readers do, since a cycle looks the same.
pub(crate) const FORM_DEPTH_MAX: usize = 24;
/// Saved graphics states; further ones are counted but not kept.
pub(crate) const SAVED_STATES_MAX: usize = 4096;
/// Open marked-content sequences; further ones are counted but not looked at.
pub(crate) const MARKED_DEPTH_MAX: usize = 4096;
/// Bytes of text in one document, `ActualText` included.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 20;
/// Bytes of a file; it is held in memory as a whole.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;
