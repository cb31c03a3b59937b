//! Glyphs of a horizontal font set one below the other: how browsers and word processors write
//! vertical Chinese and Japanese.
//!
//! A run of at least three wide glyphs, each right below the one before, is turned into vertical
//! writing: the direction of the pen becomes "down". A narrow table cell of two characters stays as
//! it is.

use crate::glyph::{Glyph, Kind, greater};

/// Glyphs that make a run.
const RUN_MIN: usize = 3;

/// Turn stacked runs into vertical writing.
pub(crate) fn mark(glyphs: &mut [Glyph]) {
    let mut start = 0;
    while start < glyphs.len() {
        let mut end = start + 1;
        while let (Some(above), Some(below)) = (glyphs.get(end - 1), glyphs.get(end)) {
            if !is_below(above, below) {
                break;
            }
            end += 1;
        }
        if end - start >= RUN_MIN {
            for glyph in glyphs.get_mut(start..end).unwrap_or_default() {
                turn(glyph);
            }
        }
        start = end;
    }
}

fn is_below(above: &Glyph, below: &Glyph) -> bool {
    let is_wide = |glyph: &Glyph| glyph.kind.has(Kind::WIDE) && !glyph.kind.has(Kind::VERTICAL);
    if !is_wide(above) || !is_wide(below) || !above.is_parallel(below) {
        return false;
    }
    let middle = |glyph: &Glyph| glyph.along() + glyph.advance / 2.0;
    let (em, step) = (greater(below.em, above.em), below.across() - above.across());
    (middle(below) - middle(above)).abs() < 0.5 * em && step > 0.5 * em && step < 2.0 * em
}

/// From a pen at the left of the baseline, moving right, to one at the middle of the top edge,
/// moving down.
fn turn(glyph: &mut Glyph) {
    let (ux, uy) = (glyph.ux, glyph.uy);
    let (half, rise) = (glyph.advance / 2.0, 0.88 * glyph.size);
    glyph.x += ux * half + uy * rise;
    glyph.y += uy * half - ux * rise;
    (glyph.ux, glyph.uy) = (-uy, ux);
    (glyph.em, glyph.size) = (glyph.size, glyph.em);
    glyph.advance = glyph.em;
    glyph.kind = glyph.kind | Kind::VERTICAL;
}
