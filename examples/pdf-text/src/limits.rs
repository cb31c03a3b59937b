//! Every limit of this function, by name.
//!
//! A document past one of them fails with the code `too-large`; nothing is cut off in silence. They
//! stop hostile files well before the sandbox would: memory of our own grows with glyphs and with
//! text, time with the content that is run, the stack with nested forms.

/// Pages in one document. The largest manuals have some ten thousand.
pub(crate) const PAGES_MAX: usize = 50_000;
/// Entries of `/Kids` that are looked at. A node that is listed many times is walked many times, so
/// a tree without a single page can multiply without bound. Twenty for each page at most.
pub(crate) const PAGE_TREE_KIDS_MAX: usize = 1_000_000;
/// Nodes of the page tree inside each other. Balanced trees have five levels; some writers chain
/// their pages.
pub(crate) const PAGE_TREE_DEPTH_MAX: usize = 4096;
/// Glyphs on one page: 40 MB of them. A dense newspaper page has 50,000.
pub(crate) const GLYPHS_PER_PAGE_MAX: usize = 1_000_000;
/// Decoded bytes of content in one document, those of repeated forms counted each time: some ten
/// seconds of work. Forms that draw forms could otherwise multiply without bound. The largest
/// manuals have 200 MB.
pub(crate) const CONTENT_BYTES_MAX: u64 = 1 << 30;
/// Decoded bytes of one stream: a compressed megabyte can stand for a gigabyte. Real content has
/// a few megabytes.
pub(crate) const STREAM_BYTES_MAX: usize = 256 << 20;
/// Filters of one stream. Two are usual; each may decode up to `STREAM_BYTES_MAX`.
pub(crate) const FILTERS_MAX: usize = 8;
/// Bytes that drawing a form counts for beside those of its content: setting up its resources takes
/// as long. Forms without text count once.
pub(crate) const FORM_BYTES: u64 = 16 << 10;
/// Bytes that an annotation, or an entry of a `/Contents` array, counts for beside those of its
/// text: pages without number can share both.
pub(crate) const ENTRY_BYTES: u64 = 256;
/// Forms inside forms. Deeper ones are skipped as other readers do, since a cycle looks the same.
pub(crate) const FORM_DEPTH_MAX: usize = 24;
/// Saved graphics states; further ones are counted but not kept.
pub(crate) const SAVED_STATES_MAX: usize = 4096;
/// Open marked-content sequences; further ones are counted but not looked at.
pub(crate) const MARKED_DEPTH_MAX: usize = 4096;
/// Bytes in which the end of a string or dictionary of content is looked for, twice what the
/// standard allows a string to have. One without an end is read to where it plausibly ends.
pub(crate) const STRING_BYTES_MAX: usize = 64 << 10;
/// Searches for such an end in one content stream that may fail; later strings end at their first
/// closing parenthesis. Bounds the time that broken content takes.
pub(crate) const UNENDED_MAX: usize = 8;
/// Arrays inside the `/Contents` array of a page.
pub(crate) const CONTENTS_DEPTH_MAX: usize = 4;
/// Entries of a `ToUnicode` map; a font has at most 65,536 glyphs. Further ones are damage.
pub(crate) const MAPPINGS_MAX: usize = 200_000;
/// Fields around a form field that hand down their entries.
pub(crate) const FIELD_DEPTH_MAX: usize = 32;
/// Reasons listed for one page in `damaged`; the last one says that there are more.
pub(crate) const DAMAGES_PER_PAGE_MAX: usize = 16;
/// Bytes of text in one document, `ActualText` included.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 20;
/// Bytes of a file; it is held in memory as a whole.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;
