//! The pen: from text space to glyphs on the page.
//!
//! All glyphs of one string share a direction and a size, which are computed once; a glyph adds its
//! place and its width.

use crate::font::narrow;
use crate::glyph::{Glyph, Kind, Text};
use crate::matrix::Matrix;

/// What is the same for all glyphs of one string.
pub(crate) struct Pen {
    ux: f32,
    uy: f32,
    /// Page units per text unit along the direction of writing.
    along: f64,
    em: f32,
    size: f32,
    /// Whether direction and size are numbers, and letters large enough to be read.
    is_real: bool,
}

impl Pen {
    /// A pen on a page that text comes to by `matrix`, for letters of this size.
    pub(crate) fn new(matrix: Matrix, font_size: f64, stretch: f64, is_vertical: bool) -> Self {
        let [a, b, c, d, ..] = matrix.0;
        let (right, down) = ((a * stretch, b * stretch), (-c, -d));
        let (writing, crossing) = if is_vertical {
            (down, right)
        } else {
            (right, down)
        };
        let (along, across) = (writing.0.hypot(writing.1), crossing.0.hypot(crossing.1));
        // A negative font size turns letters round, and the pen with them.
        let sign = if font_size < 0.0 { -1.0 } else { 1.0 };
        let (ux, uy) = (
            narrow(sign * writing.0 / along),
            narrow(sign * writing.1 / along),
        );
        let (em, size) = (
            narrow(along * font_size.abs()),
            narrow(across * font_size.abs()),
        );
        let is_real =
            [ux, uy, em, size].into_iter().all(f32::is_finite) && em > 1e-3 && size > 1e-3;
        Self {
            ux,
            uy,
            along,
            em,
            size,
            is_real,
        }
    }

    /// The glyph, unless its place or size is not a number or too small to be read.
    pub(crate) fn glyph(
        &self,
        (x, y): (f64, f64),
        advance: f64,
        text: Text,
        kind: Kind,
    ) -> Option<Glyph> {
        let (x, y, advance) = (narrow(x), narrow(y), narrow(advance.abs() * self.along));
        let glyph = Glyph {
            x,
            y,
            ux: self.ux,
            uy: self.uy,
            advance,
            em: self.em,
            size: self.size,
            text,
            kind,
        };
        (self.is_real && x.is_finite() && y.is_finite() && advance.is_finite()).then_some(glyph)
    }
}

/// Whether any of a glyph lies on the page, taking it as a box from the baseline to most of its
/// size.
pub(crate) fn is_inside(glyph: &Glyph, width: f32, height: f32) -> bool {
    // Nearly all glyphs start on the page, and are then not measured.
    if glyph.x > 0.0 && glyph.x < width && glyph.y > 0.0 && glyph.y < height {
        return true;
    }
    let rise = glyph.size * 0.7;
    let (x1, y1) = (
        glyph.x + glyph.ux * glyph.advance,
        glyph.y + glyph.uy * glyph.advance,
    );
    let (x2, y2) = (x1 + glyph.uy * rise, y1 - glyph.ux * rise);
    let (x3, y3) = (glyph.x + glyph.uy * rise, glyph.y - glyph.ux * rise);
    let (left, right) = (
        glyph.x.min(x1).min(x2).min(x3),
        glyph.x.max(x1).max(x2).max(x3),
    );
    let (top, bottom) = (
        glyph.y.min(y1).min(y2).min(y3),
        glyph.y.max(y1).max(y2).max(y3),
    );
    right > 0.0 && left < width && bottom > 0.0 && top < height
}
