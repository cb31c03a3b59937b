//! Text that is drawn again over itself, to look bold or to throw a shadow, is read once.
//!
//! A segment that begins where another one has the same glyph is compared with it from there on.
//! Glyphs that lie close to those of the other are dropped; where the shift is larger, only a run
//! of them at one and the same shift is, since two letters may come close by chance. A glyph that
//! follows its own copy at once is dropped when segments are built.
//!
//! Segments are found by their baseline. Texts overlap in few files, so that nearly always nothing
//! but the extents of neighbours is compared; `NEIGHBOURS_MAX` bounds it.

use rustc_hash::FxHashMap;

use crate::glyph::{Glyph, Kind, Text};
use crate::layout::segment::Segment;

/// Shift, in ems, of a copy of any length.
const NEAR: f32 = 0.15;
/// Shift, in ems, of a copy of at least `RUN_MIN` glyphs.
const FAR: f32 = 0.3;
const RUN_MIN: usize = 3;
/// How far, in ems, the shift of the glyphs of a run may vary.
const VARIATION: f32 = 0.03;
/// Height, in points, of the stripes that segments are sorted into by their baselines.
const STRIPE: f32 = 6.0;
/// Segments of a stripe that are looked at, the last ones first.
const NEIGHBOURS_MAX: usize = 64;
/// Glyphs that are compared for each glyph of the page, on average. Past it copies stay.
const COMPARED_MAX: usize = 32;

/// Empty the glyphs of copies in place, and split their segments where other text goes on.
pub(crate) fn drop(glyphs: &mut [Glyph], segments: &mut Vec<Segment>) {
    let mut stripes: FxHashMap<i32, Vec<usize>> = FxHashMap::default();
    let mut originals: Vec<Segment> = Vec::with_capacity(segments.len());
    let mut are_copies = false;
    let mut budget = COMPARED_MAX * glyphs.len();
    for segment in segments.iter() {
        let stripe = stripe(segment.across);
        let neighbours = (stripe - 1..=stripe + 1)
            .filter_map(|stripe| stripes.get(&stripe))
            .flat_map(|indices| indices.iter().rev().take(NEIGHBOURS_MAX))
            .filter_map(|&index| originals.get(index))
            .filter(|other| overlaps(segment, other));
        let mut copied = 0;
        for other in neighbours {
            let compared = other.end - other.start;
            if compared > budget {
                break;
            }
            budget -= compared;
            copied = copied.max(copy_len(glyphs, segment, other));
        }
        let end = segment.start + copied;
        for glyph in glyphs.get_mut(segment.start..end).unwrap_or_default() {
            glyph.text = Text::NONE;
        }
        are_copies |= copied > 0;
        if end < segment.end {
            stripes.entry(stripe).or_default().push(originals.len());
            originals.push(segment.without_first(copied));
        }
    }
    if are_copies {
        for segment in &mut originals {
            segment.measure(glyphs);
        }
        *segments = originals;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "saturates, and one stripe is as good as another"
)]
fn stripe(across: f32) -> i32 {
    ((across / STRIPE).floor() as i32).clamp(i32::MIN + 1, i32::MAX - 1)
}

/// Whether a segment may begin within another.
fn overlaps(segment: &Segment, other: &Segment) -> bool {
    let slack = FAR * other.em;
    segment.is_parallel(other)
        && (segment.across - other.across).abs() < FAR * other.size
        && segment.from > other.from - slack
        && segment.from < other.to + slack
}

/// How many glyphs at the beginning of a segment are copies of glyphs of another.
fn copy_len(glyphs: &[Glyph], segment: &Segment, other: &Segment) -> usize {
    let of = |segment: &Segment| glyphs.get(segment.start..segment.end).unwrap_or_default();
    let (copies, originals) = (of(segment), of(other));
    let Some(first) = copies.first() else {
        return 0;
    };
    let from = originals
        .iter()
        .position(|original| original.text == first.text && shift(original, first).is_some());
    let Some((originals, (along, across))) = from.and_then(|from| {
        let originals = originals.get(from..)?;
        Some((originals, shift(originals.first()?, first)?))
    }) else {
        return 0;
    };
    let is_copy = |(original, copy): &(&Glyph, &Glyph)| {
        let is_alike = |(other_along, other_across): (f32, f32)| {
            (along - other_along).abs() < VARIATION && (across - other_across).abs() < VARIATION
        };
        original.text == copy.text && shift(original, copy).is_some_and(is_alike)
    };
    let pairs = || originals.iter().zip(copies).take_while(is_copy);
    let len = pairs().count();
    let letters = pairs()
        .filter(|(_, copy)| !copy.kind.has(Kind::SPACE))
        .count();
    let is_near = along.abs() < NEAR && across.abs() < NEAR;
    if is_near || letters >= RUN_MIN {
        len
    } else {
        0
    }
}

/// From a glyph to one that may be its copy, in ems along and across.
fn shift(original: &Glyph, copy: &Glyph) -> Option<(f32, f32)> {
    let along = (copy.along() - original.along()) / original.em;
    let across = (copy.across() - original.across()) / original.size;
    let is_alike = original.is_parallel(copy) && (original.size / copy.size - 1.0).abs() < 0.2;
    (is_alike && along.abs() < FAR && across.abs() < FAR).then_some((along, across))
}
