//! Annotations: their appearance streams, and for form fields and typed remarks without one the
//! text that a viewer would draw.
//!
//! A viewer makes the appearance of a text or choice field from its value when there is none, or
//! when the form says that all have to be made anew. That text is laid out here with estimated
//! widths: where its letters stand exactly does not matter, only that they are words and lines in
//! the rectangle of the field. Passwords are not shown, and neither are notes that open on a click.

use hayro_syntax::object::{
    Array, Dict, MaybeRef, Name, ObjRef, Object, Rect, String as PdfString,
};

use crate::content::{Interpreter, Scope, State};
use crate::error::Error;
use crate::glyph::Text;
use crate::limits::{ENTRY_BYTES, FIELD_DEPTH_MAX};
use crate::matrix::Matrix;
use crate::pen::{Pen, is_inside};
use crate::scan::{Operand, Scanner};
use crate::show::push;
use crate::streams::{Body, Lookup, Source};
use crate::tree::Page;
use crate::unicode;

/// Font size of a field that leaves it to the viewer, in points.
const SIZE: f64 = 12.0;
/// Space between the text of a field and its border, in points.
const PADDING: f64 = 2.0;
/// From line to line, in font sizes.
const LEADING: f64 = 1.15;
/// Flags of annotations: hidden, or not to be viewed.
const HIDDEN_OR_NO_VIEW: u32 = 1 << 1 | 1 << 5;
/// Flags of fields.
const MULTILINE: u32 = 1 << 12;
const PASSWORD: u32 = 1 << 13;
const PUSH_BUTTON: u32 = 1 << 16;
const COMBO: u32 = 1 << 17;

impl<'a> Interpreter<'_, 'a> {
    /// Show what the annotations of a page show.
    pub(crate) fn run_annotations(
        &mut self,
        page: &Page<'a>,
        ctm: Matrix,
        scope: Scope<'_, 'a>,
    ) -> Result<(), Error> {
        let Some(annotations) = page.dict.get::<Array<'a>>("Annots") else {
            if let Some(reference) = page.dict.get_ref("Annots")
                && self.shared.source.is_missing(reference)
            {
                self.page.add_damage("its annotations are missing".into());
            }
            return Ok(());
        };
        for item in annotations.raw_iter() {
            self.charge(ENTRY_BYTES)?;
            let annotation = match item {
                MaybeRef::Ref(reference) => match self.shared.source.object(reference) {
                    Some(object) => object.into_dict(),
                    None => {
                        self.note_missing(reference);
                        None
                    }
                },
                MaybeRef::NotRef(object) => object.into_dict(),
            };
            if let Some(annotation) = annotation {
                self.run_annotation(&annotation, ctm, scope)?;
            }
        }
        Ok(())
    }

    fn note_missing(&mut self, reference: ObjRef) {
        if self.shared.source.is_missing(reference) {
            let number = reference.obj_number;
            self.page
                .add_damage(format!("its annotation (object {number}) is missing"));
        }
    }

    fn run_annotation(
        &mut self,
        annotation: &Dict<'a>,
        ctm: Matrix,
        scope: Scope<'_, 'a>,
    ) -> Result<(), Error> {
        if annotation.get::<u32>("F").unwrap_or(0) & HIDDEN_OR_NO_VIEW != 0
            || self.shared.layers.hides(annotation)
        {
            return Ok(());
        }
        self.state = State {
            ctm,
            font: None,
            ..self.state
        };
        let is_field = annotation.get::<Name<'_>>("Subtype").as_deref() == Some(b"Widget");
        let is_stale = is_field && self.shared.fields.needs_appearances;
        if is_stale && let Some(typed) = self.typed(annotation)? {
            return self.type_text(annotation, &typed, ctm);
        }
        match appearance(annotation, self.shared.source) {
            Lookup::Found(body) => {
                return match placed(annotation, &body) {
                    Some(placed) => self.run_form(&body, scope, placed),
                    None => Ok(()),
                };
            }
            Lookup::Missing(why) => self
                .page
                .add_damage(format!("the appearance of its annotation: {why}")),
            Lookup::Nothing => {}
        }
        match self.typed(annotation)? {
            Some(typed) if !is_stale => self.type_text(annotation, &typed, ctm),
            _ => Ok(()),
        }
    }

    /// The text of an annotation that shows what was typed into it.
    fn typed(&mut self, annotation: &Dict<'a>) -> Result<Option<Typed>, Error> {
        let typed = match annotation.get::<Name<'_>>("Subtype").as_deref() {
            Some(b"FreeText") => self.remark(annotation),
            Some(b"Widget") => self.field(annotation),
            _ => None,
        };
        let Some(typed) = typed else {
            return Ok(None);
        };
        self.charge(typed.text.len() as u64)?;
        Ok((!typed.text.trim().is_empty()).then_some(typed))
    }

    /// The text of a remark typed on the page.
    fn remark(&self, annotation: &Dict<'a>) -> Option<Typed> {
        Some(Typed {
            text: text_of(annotation, "Contents", self.shared.source)?,
            size: self.font_size(annotation),
            has_lines: true,
        })
    }

    /// The text of a form field.
    fn field(&self, widget: &Dict<'a>) -> Option<Typed> {
        let chain = chain(widget);
        let source = self.shared.source;
        let flags = chain
            .iter()
            .find_map(|dict| dict.get::<u32>("Ff"))
            .unwrap_or(0);
        let kind = chain.iter().find_map(|dict| dict.get::<Name<'_>>("FT"))?;
        let value = || chain.iter().find(|dict| dict.contains_key("V"));
        let (text, has_lines) = match &*kind {
            b"Tx" if flags & PASSWORD == 0 => {
                (text_of(value()?, "V", source)?, flags & MULTILINE != 0)
            }
            b"Ch" => {
                let options = chain.iter().find_map(|dict| dict.get::<Array<'a>>("Opt"));
                let options = options
                    .map(|options| read_options(&options))
                    .unwrap_or_default();
                match flags & COMBO {
                    // A list shows all that can be chosen.
                    0 if !options.is_empty() => {
                        let shown: Vec<_> = options.into_iter().map(|(_, shown)| shown).collect();
                        (shown.join("\n"), true)
                    }
                    _ => {
                        let value = text_of(value()?, "V", source)?;
                        let shown = options.into_iter().find(|(export, _)| *export == value);
                        (shown.map_or(value, |(_, shown)| shown), false)
                    }
                }
            }
            b"Btn" if flags & PUSH_BUTTON != 0 => {
                let caption = widget.get::<Dict<'a>>("MK")?;
                (text_of(&caption, "CA", source)?, false)
            }
            _ => return None,
        };
        let size = chain
            .iter()
            .find(|dict| dict.contains_key("DA"))
            .map_or_else(
                || self.font_size(&self.shared.fields.form),
                |dict| self.font_size(dict),
            );
        Some(Typed {
            text,
            size,
            has_lines,
        })
    }

    /// The font size of a default appearance; zero leaves it to the viewer.
    fn font_size(&self, dict: &Dict<'a>) -> f64 {
        let Some(appearance) = dict.get::<PdfString<'_>>("DA") else {
            return 0.0;
        };
        let mut scanner = Scanner::new(appearance.as_bytes());
        let mut size = 0.0;
        while let Some(operator) = scanner.next() {
            if let (b"Tf", [.., Operand::Number(number)]) = (operator, scanner.operands()) {
                size = number.abs();
            }
        }
        size
    }

    /// Set text into the rectangle of an annotation.
    fn type_text(
        &mut self,
        annotation: &Dict<'a>,
        typed: &Typed,
        ctm: Matrix,
    ) -> Result<(), Error> {
        let Some(rect) = annotation.get::<Rect>("Rect") else {
            return Ok(());
        };
        let (width, height) = (rect.width() - 2.0 * PADDING, rect.height());
        let mut size = if typed.size > 0.0 {
            typed.size
        } else {
            SIZE.min(0.75 * height).max(1.0)
        };
        let lines = typed.lines(width / size);
        // Too much for its place, it is set smaller rather than lost.
        let widest = lines.iter().map(|line| ems(line)).fold(0.0, f64::max);
        let count = lines.len();
        if widest * size > width {
            size = width / widest;
        }
        let needed = LEADING * number(count);
        if needed * size > height && count > 1 {
            size = height / needed;
        }
        let size = size.max(0.1);
        let mut baseline = if count > 1 {
            rect.y1 - size
        } else {
            rect.y0 + (height - size).max(0.0) / 2.0 + 0.2 * size
        };
        self.shows += 1;
        for line in lines {
            let start = ctm.moved(rect.x0 + PADDING, baseline);
            let pen = Pen::new(start, size, 1.0, false);
            let mut along = 0.0;
            for c in line.chars() {
                let advance = em(c) * size;
                let glyph = pen.glyph(
                    start.apply((along, 0.0)),
                    advance,
                    Text::of(c),
                    unicode::kind_of(c),
                );
                if let Some(glyph) = glyph
                    && is_inside(&glyph, self.width, self.height)
                {
                    push(&mut self.page.glyphs, glyph)?;
                }
                along += advance;
            }
            baseline -= LEADING * size;
        }
        Ok(())
    }
}

/// Text to be set into a rectangle.
struct Typed {
    text: String,
    /// Zero when it is left to the viewer.
    size: f64,
    has_lines: bool,
}

impl Typed {
    /// The lines of the text, none wider than this if it may have more than one.
    fn lines(&self, ems_max: f64) -> Vec<String> {
        let plain = |line: &str| unicode::plain(line).trim().to_owned();
        if !self.has_lines {
            return vec![plain(&self.text.replace(['\r', '\n'], " "))];
        }
        let mut lines = Vec::new();
        for paragraph in self.text.replace("\r\n", "\n").split(['\r', '\n']) {
            let (mut line, mut width) = (String::new(), 0.0);
            for word in plain(paragraph).split(' ').filter(|word| !word.is_empty()) {
                let further = ems(word);
                if !line.is_empty() && width + em(' ') + further > ems_max {
                    lines.push(std::mem::take(&mut line));
                    width = 0.0;
                }
                if !line.is_empty() {
                    line.push(' ');
                    width += em(' ');
                }
                line.push_str(word);
                width += further;
            }
            lines.push(line);
        }
        lines
    }
}

fn ems(text: &str) -> f64 {
    text.chars().map(em).sum()
}

/// About how wide a character is, in ems.
fn em(c: char) -> f64 {
    use crate::glyph::Kind;
    match c {
        ' ' => 0.28,
        c if unicode::kind_of(c).has(Kind::WIDE) => 1.0,
        _ => 0.5,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of lines")]
fn number(count: usize) -> f64 {
    count as f64
}

/// A field and those around it, which hand down what it lacks.
fn chain<'a>(widget: &Dict<'a>) -> Vec<Dict<'a>> {
    let mut chain = vec![widget.clone()];
    while chain.len() < FIELD_DEPTH_MAX
        && let Some(parent) = chain.last().and_then(|dict| dict.get::<Dict<'a>>("Parent"))
    {
        chain.push(parent);
    }
    chain
}

/// A text string, or the data of a stream that holds one.
fn text_of<'a>(dict: &Dict<'a>, key: &str, source: Source<'a>) -> Option<String> {
    match dict.get::<Object<'a>>(key)? {
        Object::String(string) => Some(unicode::text_string(string.as_bytes())),
        Object::Name(name) => Some(unicode::text_string(&name)),
        Object::Stream(stream) => {
            let decoded = source.body(&stream).decoded();
            Some(unicode::text_string(&decoded.data))
        }
        Object::Array(values) => {
            let values = values.iter::<PdfString<'_>>();
            let texts: Vec<_> = values
                .map(|value| unicode::text_string(value.as_bytes()))
                .collect();
            Some(texts.join("\n"))
        }
        _ => None,
    }
}

/// The options of a choice: what each is called in the file, and what it is shown as.
fn read_options(options: &Array<'_>) -> Vec<(String, String)> {
    let text = |string: &PdfString<'_>| unicode::text_string(string.as_bytes());
    options
        .iter::<Object<'_>>()
        .filter_map(|option| match option {
            Object::String(both) => Some((text(&both), text(&both))),
            Object::Array(pair) => {
                let mut pair = pair.iter::<PdfString<'_>>();
                let export = text(&pair.next()?);
                let shown = pair
                    .next()
                    .map_or_else(|| export.clone(), |shown| text(&shown));
                Some((export, shown))
            }
            _ => None,
        })
        .collect()
}

/// The normal appearance of an annotation, in its current state if it has several.
fn appearance<'a>(annotation: &Dict<'a>, source: Source<'a>) -> Lookup<'a> {
    let Some(appearances) = annotation.get::<Dict<'a>>("AP") else {
        return Lookup::Nothing;
    };
    match appearances.get::<Object<'a>>("N") {
        Some(Object::Stream(stream)) => Lookup::Found(source.body(&stream)),
        Some(Object::Dict(states)) if !states.contains_key("BBox") => {
            match annotation.get::<Name<'_>>("AS") {
                Some(state) => source.entry(&states, &state),
                None => Lookup::Nothing,
            }
        }
        _ => source.entry(&appearances, b"N"),
    }
}

/// How an appearance is moved and scaled to fill the annotation's rectangle.
fn placed(annotation: &Dict<'_>, appearance: &Body<'_>) -> Option<Matrix> {
    let rect = annotation.get::<Rect>("Rect")?;
    let bbox = appearance.dict.get::<Rect>("BBox")?;
    let matrix = appearance
        .dict
        .get::<[f64; 6]>("Matrix")
        .map_or(Matrix::IDENTITY, Matrix);
    let corners = [
        (bbox.x0, bbox.y0),
        (bbox.x1, bbox.y0),
        (bbox.x0, bbox.y1),
        (bbox.x1, bbox.y1),
    ]
    .map(|(x, y)| matrix.apply((x, y)));
    let least = |of: fn(&(f64, f64)) -> f64| corners.iter().map(of).fold(f64::INFINITY, f64::min);
    let most =
        |of: fn(&(f64, f64)) -> f64| corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
    let (x0, x1, y0, y1) = (least(|c| c.0), most(|c| c.0), least(|c| c.1), most(|c| c.1));
    let scale = |to: f64, from: f64| if from > 0.0 { to / from } else { 1.0 };
    let (sx, sy) = (
        scale(rect.x1 - rect.x0, x1 - x0),
        scale(rect.y1 - rect.y0, y1 - y0),
    );
    Some(Matrix([
        sx,
        0.0,
        0.0,
        sy,
        rect.x0 - sx * x0,
        rect.y0 - sy * y0,
    ]))
}
