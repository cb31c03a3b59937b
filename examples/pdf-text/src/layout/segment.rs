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
    for (index, glyph) in glyphs.iter_mut().enumerate() {
        match (segments.last_mut(), last) {
            (Some(segment), Some(last)) if is_repeated(&last, glyph) => {
                glyph.text = Text::NONE;
                segment.end += 1;
                continue;
            }
            (Some(segment), Some(last)) if segment.continues(&last, glyph) => segment.add(glyph),
            _ => segments.push(Segment::of(index, glyph)),
        }
        last = Some(*glyph);
    }
    segments
}

fn is_repeated(last: &Glyph, glyph: &Glyph) -> bool {
    last.text == glyph.text
        && last.is_parallel(glyph)
        && (last.along() - glyph.along()).abs() < 0.1 * lesser(glyph.em, glyph.advance)
        && (last.across() - glyph.across()).abs() < 0.1 * glyph.size
}
