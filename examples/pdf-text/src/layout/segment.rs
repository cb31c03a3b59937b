//! Segments: glyphs drawn one after the other along one baseline.
//!
//! A segment ends where the pen leaves the line or jumps further than any word space; sub- and
//! superscripts stay in it, and so do the small steps back of kerning and of accents set over
//! letters. A glyph drawn twice in one place (bold by overprinting) is dropped here.

use crate::glyph::{Glyph, Kind, Text, greater, lesser};

/// Gap, in ems, that ends a segment: wider than the spaces of justified text, narrower than the
/// gutter between columns.
const GAP_MAX: f32 = 0.9;
/// Step back, in ems, that stays in a segment: an accent is set and the pen goes back by its width.
const BACK_MAX: f32 = 0.9;
/// Shift of the baseline, in sizes, that is no shift.
const SHIFT_NONE: f32 = 0.15;
/// Shift of the baseline, in sizes, that a script may have.
const SHIFT_SCRIPT: f32 = 0.6;
/// Gap, in ems, between a letter and its script.
const SCRIPT_GAP: f32 = 0.5;

/// Shift, in widths, of a glyph that is drawn again at once.
const REPEATED_SHIFT: f32 = 0.3;
/// Shift, in ems, of a short word that is drawn again.
const COPY_SHIFT: f32 = 0.15;

/// A run of glyphs by their indices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Extent along the direction of writing.
    pub(super) from: f32,
    pub(super) to: f32,
    /// The baseline.
    pub(super) across: f32,
    pub(super) size: f32,
    pub(super) em: f32,
    pub(super) ux: f32,
    pub(super) uy: f32,
    /// Whether all glyphs so far are accents or spaces, which do not decide where the line stands.
    is_vague: bool,
}

impl Segment {
    fn of(index: usize, glyph: &Glyph) -> Self {
        let from = glyph.along();
        Self {
            start: index,
            end: index + 1,
            from,
            to: from + glyph.advance,
            across: glyph.across(),
            size: glyph.size,
            em: glyph.em,
            ux: glyph.ux,
            uy: glyph.uy,
            is_vague: is_vague(glyph),
        }
    }

    pub(super) fn is_parallel(&self, other: &Self) -> bool {
        self.ux * other.ux + self.uy * other.uy > 0.9994
    }

    fn add(&mut self, glyph: &Glyph) {
        let along = glyph.along();
        self.end += 1;
        self.from = lesser(self.from, along);
        self.to = greater(self.to, along + glyph.advance);
        if self.is_vague || glyph.size > self.size * 1.2 {
            self.across = glyph.across();
            self.size = glyph.size;
            self.em = glyph.em;
            self.is_vague = is_vague(glyph);
        }
    }

    /// The segment without some glyphs at its start.
    pub(super) fn without_first(&self, count: usize) -> Self {
        Self {
            start: self.start + count,
            ..*self
        }
    }

    /// Take the extent again from the glyphs that say something.
    pub(super) fn measure(&mut self, glyphs: &[Glyph]) {
        let mut said = glyphs
            .get(self.start..self.end)
            .unwrap_or_default()
            .iter()
            .filter(|glyph| glyph.text != Text::NONE);
        let Some(first) = said.next() else {
            return;
        };
        (self.from, self.to) = (first.along(), first.along() + first.advance);
        for glyph in said {
            self.from = lesser(self.from, glyph.along());
            self.to = greater(self.to, glyph.along() + glyph.advance);
        }
    }

    /// Whether the pen, having drawn `last`, moves on in this segment to draw `glyph`.
    fn continues(&self, last: &Glyph, glyph: &Glyph) -> bool {
        if !last.is_parallel(glyph) {
            return false;
        }
        let gap = glyph.along() - (last.along() + last.advance);
        let shift = (glyph.across() - self.across).abs();
        let (em, size) = (greater(last.em, glyph.em), greater(self.size, glyph.size));
        if shift <= SHIFT_NONE * size {
            return gap > -BACK_MAX * em && gap < GAP_MAX * em;
        }
        shift <= SHIFT_SCRIPT * size && gap > -SCRIPT_GAP * em && gap < SCRIPT_GAP * em
    }
}

fn is_vague(glyph: &Glyph) -> bool {
    glyph.kind.has(Kind::ACCENT | Kind::MARK | Kind::SPACE)
}

/// Split the glyphs of a page into segments, in drawing order. Repeated glyphs are emptied in
/// place.
pub(crate) fn build(glyphs: &mut [Glyph]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut last: Option<Glyph> = None;
    for index in 0..glyphs.len() {
        let Some(&glyph) = glyphs.get(index) else {
            break;
        };
        match (segments.last_mut(), last) {
            (Some(segment), Some(last)) if is_repeated(&last, &glyph) => {
                if let Some(glyph) = glyphs.get_mut(index) {
                    glyph.text = Text::NONE;
                }
                segment.end += 1;
                continue;
            }
            (Some(segment), Some(last))
                if segment.continues(&last, &glyph)
                    && !begins_copy(glyphs, segment.start, index, &last, &glyph) =>
            {
                segment.add(&glyph);
            }
            _ => segments.push(Segment::of(index, &glyph)),
        }
        last = Some(glyph);
    }
    segments
}

/// Whether the pen goes back to draw a short word again over itself, which stays a segment of its
/// own.
fn begins_copy(glyphs: &[Glyph], start: usize, index: usize, last: &Glyph, glyph: &Glyph) -> bool {
    /// Letters of such a word; longer ones are further back than a segment goes.
    const LETTERS_MAX: usize = 8;
    if glyph.along() > last.along() || is_vague(glyph) {
        return false;
    }
    let earlier = glyphs.get(start..index).unwrap_or_default();
    earlier.iter().rev().take(LETTERS_MAX).any(|earlier| {
        earlier.text == glyph.text
            && (earlier.along() - glyph.along()).abs() < COPY_SHIFT * glyph.em
            && (earlier.across() - glyph.across()).abs() < COPY_SHIFT * glyph.size
    })
}

fn is_repeated(last: &Glyph, glyph: &Glyph) -> bool {
    last.text == glyph.text
        && last.is_parallel(glyph)
        && (last.along() - glyph.along()).abs() < REPEATED_SHIFT * lesser(glyph.em, glyph.advance)
        && (last.across() - glyph.across()).abs() < 0.1 * glyph.size
}
