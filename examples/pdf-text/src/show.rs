//! Showing strings: from their bytes to glyphs on the page.

use crate::content::Interpreter;
use crate::content::Shared;
use crate::error::Error;
use crate::glyph::{Glyph, Kind, Text};
use crate::limits::GLYPHS_PER_PAGE_MAX;
use crate::pen::{Pen, is_inside};
use crate::scan::{Operand, Scanner};

impl Interpreter<'_, '_> {
    /// An operator that shows text.
    pub(crate) fn on_show(&mut self, operator: &[u8], scanner: &Scanner<'_>) -> Result<(), Error> {
        self.shows += 1;
        if let (b"\"", [.., Operand::Number(word), Operand::Number(char), _]) =
            (operator, scanner.operands())
        {
            (self.state.word_space, self.state.char_space) = (*word, *char);
        }
        if matches!(operator, b"\"" | b"'") {
            self.next_line(0.0, -self.state.leading);
        }
        match scanner.operands().last() {
            Some(Operand::String(string)) => self.show(string),
            Some(Operand::Array) => scanner.items().iter().try_for_each(|item| match item {
                Operand::String(string) => self.show(string),
                Operand::Number(adjustment) => {
                    self.adjust(*adjustment);
                    Ok(())
                }
                _ => Ok(()),
            }),
            _ => Ok(()),
        }
    }

    fn adjust(&mut self, thousandths: f64) {
        let distance = -thousandths / 1000.0 * self.state.font_size;
        let is_vertical = self
            .state
            .font
            .is_some_and(|font| self.shared.fonts.is_vertical(font));
        self.text_matrix = match is_vertical {
            true => self.text_matrix.moved(0.0, distance),
            false => self.text_matrix.moved(distance * self.state.stretch, 0.0),
        };
    }

    fn show(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(index) = self.state.font.or_else(|| self.shared.fonts.stand_in()) else {
            return Ok(());
        };
        let Shared { fonts, texts, .. } = &mut *self.shared;
        let Some(face) = fonts.get_mut(index) else {
            return Ok(());
        };
        let state = &self.state;
        let start = state.ctm.after(self.text_matrix);
        let pen = Pen::new(
            start,
            state.font_size * f64::from(face.em),
            state.stretch,
            face.is_vertical,
        );
        // How far the pen has moved: the matrix follows once, at the end of the string.
        let (mut right, mut down) = (0.0, 0.0);
        let marked = self.marked.last();
        let is_hidden = marked.is_some_and(|marked| marked.is_hidden);
        // A glyph that says nothing still holds the place of a replacement text.
        let is_replaced = marked.is_some_and(|marked| marked.is_replaced);
        let mut placement = match self.is_placed {
            true => Kind::PLACED,
            false => Kind::default(),
        };
        let mut at = 0;
        while let Some((code, len)) = face.read(bytes, at) {
            at += len;
            let known = face.code(code, texts);
            let word_space = if code == 32 && len == 1 {
                state.word_space
            } else {
                0.0
            };
            let advance = f64::from(known.advance) * state.font_size;
            if (known.text != Text::NONE || is_replaced) && !is_hidden {
                let origin = start.apply((right, down + state.rise));
                if let Some(glyph) = pen.glyph(origin, advance, known.text, known.kind | placement)
                    && is_inside(&glyph, self.width, self.height)
                {
                    push(&mut self.page.glyphs, glyph)?;
                    self.is_placed = false;
                    placement = Kind::default();
                }
            }
            let step = advance + state.char_space + word_space;
            match face.is_vertical {
                true => down += step,
                false => right += step * state.stretch,
            }
        }
        self.text_matrix = self.text_matrix.moved(right, down);
        Ok(())
    }
}

/// Add a glyph to a page, which has room for only so many.
pub(crate) fn push(glyphs: &mut Vec<Glyph>, glyph: Glyph) -> Result<(), Error> {
    if glyphs.len() >= GLYPHS_PER_PAGE_MAX {
        return Err(Error::TooLarge {
            what: "glyphs on one page",
            max: GLYPHS_PER_PAGE_MAX as u64,
        });
    }
    glyphs.push(glyph);
    Ok(())
}
