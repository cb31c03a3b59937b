//! Layout: from the glyphs of a page, in the order the file draws them, to lines of text in the
//! order a reader reads them.
//!
//! The drawing order is the reading order in nearly every file, so it is kept and only mended:
//! glyphs join into [`segment`]s while the pen moves on along a line, segments that stand on one
//! baseline join into a line from left to right, columns that were drawn alternately are
//! separated ([`columns`]), and each line is then spelled out ([`line`]): spaces from gaps, accents
//! onto their letters, right-to-left runs into logical order ([`bidi`]). Text drawn again to look
//! bold or to throw a shadow is dropped before ([`overprint`]). Vertical text needs no
//! rules of its own: its direction of writing points down, and "along" and "across" follow; only
//! glyphs stacked by a horizontal font have to be found first ([`stacked`]).
//!
//! Nothing here knows PDF. Every pass is linear in the glyphs of the page but for sorting within
//! lines.

mod bidi;
mod cluster;
mod columns;
mod line;
mod overprint;
mod segment;
mod stacked;

#[cfg(test)]
mod tests;

use crate::glyph::{Glyph, Kind, Texts};
use columns::Line;
use line::Speller;

const SOFT_HYPHEN: char = '\u{ad}';

/// Lays out pages, one after the other; keeps its buffers between them.
#[derive(Default)]
pub(crate) struct Layout {
    speller: Speller,
}

impl Layout {
    /// Append the text of one page to `out`, without a newline at the end.
    pub(crate) fn write_page(&mut self, mut glyphs: Vec<Glyph>, texts: &Texts, out: &mut String) {
        stacked::mark(&mut glyphs);
        let mut segments = segment::build(&mut glyphs);
        overprint::drop(&mut glyphs, &mut segments);
        let is_rtl_page = is_mostly_rtl(&glyphs);
        let lines = columns::order(columns::lines(segments), is_rtl_page);
        let leading = columns::leading(&lines);
        let start = out.len();
        let mut previous: Option<&Line> = None;
        for line in &lines {
            let before = out.len();
            let is_broken = out
                .get(start..)
                .is_some_and(|page| page.ends_with(SOFT_HYPHEN));
            if let Some(previous) = previous {
                out.push_str(if line.follows_closely(previous, leading) {
                    "\n"
                } else {
                    "\n\n"
                });
            }
            let text_from = out.len();
            self.speller.spell(line, &glyphs, texts, is_rtl_page, out);
            if out.len() == text_from {
                out.truncate(before);
                continue;
            }
            previous = Some(line);
            // A soft hyphen says that the word goes on in the next line.
            let goes_on = out
                .get(text_from..)
                .is_some_and(|line| line.starts_with(char::is_alphabetic));
            if is_broken && goes_on {
                out.replace_range(before - SOFT_HYPHEN.len_utf8()..text_from, "");
            }
        }
        let trimmed = out
            .get(start..)
            .map_or(0, |page| page.trim_end_matches('\n').len());
        out.truncate(start + trimmed);
    }
}

fn is_mostly_rtl(glyphs: &[Glyph]) -> bool {
    let count = |kind: Kind| glyphs.iter().filter(|glyph| glyph.kind.has(kind)).count();
    let rtl = count(Kind::RTL);
    rtl > 0 && rtl * 2 > count(Kind::LETTER)
}
