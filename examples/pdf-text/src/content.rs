//! The content interpreter: runs the operators that place text and collects glyphs.
//!
//! It follows the text state, transformations, forms, annotations' appearances, optional content
//! and `ActualText`. It must never build a path, convert a colour or decode an image: of everything
//! that is not text it only counts that images are there, so that a scanned page can be told from
//! an empty one.
//!
//! Errors in content are skipped, as every reader does. Bounded by [`crate::limits`]: the bytes of
//! content and the glyphs are counted, forms nest to a fixed depth, and nothing else recurses.

use hayro_syntax::content::{Instruction, UntypedIter};
use hayro_syntax::object::{
    Array, Dict, MaybeRef, Name, Null, Object, ObjectIdentifier, Rect, Stream, String as PdfString,
};
use hayro_syntax::page::{Page, Resources};
use rustc_hash::FxHashSet;

use crate::document::Error;
use crate::fonts::Fonts;
use crate::glyph::{Glyph, Text, Texts};
use crate::layers::Layers;
use crate::limits::{
    CONTENT_BYTES_MAX, FORM_BYTES, FORM_DEPTH_MAX, GLYPHS_PER_PAGE_MAX, MARKED_DEPTH_MAX,
    SAVED_STATES_MAX,
};
use crate::matrix::Matrix;
use crate::pen::{Pen, is_inside};
use crate::unicode;

/// What is shared by the pages of a document.
pub(crate) struct Shared<'a> {
    pub(crate) fonts: Fonts<'a>,
    pub(crate) texts: Texts,
    pub(crate) layers: Layers,
    /// Decoded content that was run so far, with what forms count for.
    pub(crate) content_bytes: u64,
    /// Forms that show nothing of interest, such as the markers of a plot, of which there can be
    /// very many.
    pub(crate) plain_forms: FxHashSet<ObjectIdentifier>,
}

/// What one page holds.
#[derive(Default)]
pub(crate) struct PageContent {
    pub(crate) glyphs: Vec<Glyph>,
    /// Whether an image is drawn anywhere on the page.
    pub(crate) has_images: bool,
    /// Whether a stream that should hold content could not be decoded.
    pub(crate) is_damaged: bool,
}

/// The part of the graphics state that text needs.
#[derive(Clone, Copy)]
struct State {
    ctm: Matrix,
    font: Option<usize>,
    font_size: f64,
    char_space: f64,
    word_space: f64,
    /// Horizontal scaling, 1 for 100 %.
    stretch: f64,
    leading: f64,
    rise: f64,
}

/// An open marked-content sequence.
struct Marked {
    is_hidden: bool,
    /// Replacement text, and the number of glyphs before the sequence.
    actual: Option<(Text, usize)>,
}

/// Interprets the content of one page.
pub(crate) struct Interpreter<'s, 'a> {
    shared: &'s mut Shared<'a>,
    page: PageContent,
    width: f32,
    height: f32,
    state: State,
    saved: Vec<State>,
    /// States saved beyond the limit.
    unsaved: usize,
    text_matrix: Matrix,
    line_matrix: Matrix,
    marked: Vec<Marked>,
    /// Sequences opened by the content around the form that is run.
    marked_floor: usize,
    unmarked: usize,
    depth: usize,
    /// Operators so far that show text or draw objects.
    shows: u64,
}

impl<'s, 'a> Interpreter<'s, 'a> {
    /// Run the page's content and its annotations.
    pub(crate) fn run_page(
        page: &Page<'a>,
        shared: &'s mut Shared<'a>,
    ) -> Result<PageContent, Error> {
        let (ctm, width, height) = page_matrix(page);
        let state = State {
            ctm,
            font: None,
            font_size: 1.0,
            char_space: 0.0,
            word_space: 0.0,
            stretch: 1.0,
            leading: 0.0,
            rise: 0.0,
        };
        let mut interpreter = Self {
            shared,
            page: PageContent::default(),
            width,
            height,
            state,
            saved: Vec::new(),
            unsaved: 0,
            text_matrix: Matrix::IDENTITY,
            line_matrix: Matrix::IDENTITY,
            marked: Vec::new(),
            marked_floor: 0,
            unmarked: 0,
            depth: 0,
            shows: 0,
        };
        let content = interpreter.page_content(page);
        interpreter.run(&content, page.resources())?;
        interpreter.run_annotations(page, ctm)?;
        Ok(interpreter.page)
    }

    /// The page's content streams, joined. They are decoded here and not by the page, which would
    /// keep every one of them until the document is dropped.
    fn page_content(&mut self, page: &Page<'a>) -> Vec<u8> {
        let dict = page.raw();
        let mut content = Vec::new();
        let mut add = |stream: Option<Stream<'_>>| match stream
            .and_then(|stream| stream.decoded_data().ok())
        {
            Some(data) => {
                content.extend_from_slice(&data);
                content.push(b' ');
            }
            None => self.page.is_damaged = true,
        };
        if let Some(streams) = dict.get::<Array<'_>>("Contents") {
            for item in streams.raw_iter() {
                add(item
                    .as_obj_ref()
                    .and_then(|id| page.xref().get::<Stream<'_>>(id.into())));
            }
        } else if dict.contains_key("Contents") && dict.get::<Null>("Contents").is_none() {
            add(dict.get::<Stream<'_>>("Contents"));
        }
        content
    }

    fn run(&mut self, content: &[u8], resources: &Resources<'a>) -> Result<(), Error> {
        self.shared.content_bytes += content.len() as u64;
        if self.shared.content_bytes > CONTENT_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of content",
                max: CONTENT_BYTES_MAX,
            });
        }
        let mut operators = UntypedIter::new(content);
        // What is open belongs to the content around this, which it must not close.
        let outer = (
            self.state,
            std::mem::take(&mut self.saved),
            std::mem::take(&mut self.unsaved),
            self.marked_floor,
        );
        self.marked_floor = self.marked.len();
        while let Some(instruction) = operators.next() {
            self.on(&instruction, resources)?;
        }
        while self.marked.len() > self.marked_floor {
            self.end_marked();
        }
        (self.state, self.saved, self.unsaved, self.marked_floor) = outer;
        Ok(())
    }

    fn on(
        &mut self,
        instruction: &Instruction<'_, '_>,
        resources: &Resources<'a>,
    ) -> Result<(), Error> {
        match &**instruction.operator {
            b"Tj" | b"TJ" | b"'" | b"\"" => return self.on_show(instruction),
            b"Do" => return self.on_object(instruction, resources),
            b"q" if self.saved.len() < SAVED_STATES_MAX => self.saved.push(self.state),
            b"q" => self.unsaved += 1,
            b"Q" if self.unsaved > 0 => self.unsaved -= 1,
            b"Q" => self.state = self.saved.pop().unwrap_or(self.state),
            b"cm" => {
                if let Some(matrix) = numbers(instruction) {
                    self.state.ctm = self.state.ctm.after(Matrix(matrix));
                }
            }
            b"BI" => {
                self.shows += 1;
                self.page.has_images = true;
            }
            b"gs" => self.on_graphics_state(instruction, resources),
            b"BDC" => self.begin_marked(instruction, resources),
            b"BMC" => self.push_marked(Marked {
                is_hidden: false,
                actual: None,
            }),
            b"EMC" if self.unmarked > 0 => self.unmarked -= 1,
            b"EMC" if self.marked.len() > self.marked_floor => self.end_marked(),
            operator => self.on_text_state(operator, instruction, resources),
        }
        Ok(())
    }

    fn on_text_state(
        &mut self,
        operator: &[u8],
        instruction: &Instruction<'_, '_>,
        resources: &Resources<'a>,
    ) {
        let number = || numbers::<1>(instruction).map(|[number]| number);
        let set = |place: &mut f64| *place = number().unwrap_or(*place);
        match operator {
            b"BT" => self.set_text_matrix(Matrix::IDENTITY),
            b"Tm" => {
                if let Some(matrix) = numbers(instruction) {
                    self.set_text_matrix(Matrix(matrix));
                }
            }
            b"Td" | b"TD" => {
                let Some([x, y]) = numbers(instruction) else {
                    return;
                };
                if operator == b"TD" {
                    self.state.leading = -y;
                }
                self.next_line(x, y);
            }
            b"T*" => self.next_line(0.0, -self.state.leading),
            b"Tf" => self.on_font(instruction, resources),
            b"Tc" => set(&mut self.state.char_space),
            b"Tw" => set(&mut self.state.word_space),
            b"TL" => set(&mut self.state.leading),
            b"Ts" => set(&mut self.state.rise),
            b"Tz" => {
                self.state.stretch = number().map_or(self.state.stretch, |percent| percent / 100.0)
            }
            _ => {}
        }
    }

    fn set_text_matrix(&mut self, matrix: Matrix) {
        self.text_matrix = matrix;
        self.line_matrix = matrix;
    }

    fn next_line(&mut self, x: f64, y: f64) {
        self.set_text_matrix(self.line_matrix.moved(x, y));
    }

    fn on_font(&mut self, instruction: &Instruction<'_, '_>, resources: &Resources<'a>) {
        let mut operands = instruction.operands();
        if let (Some(Object::Name(name)), Some(Object::Number(size))) =
            (operands.next(), operands.next())
        {
            self.state.font = self.shared.fonts.find(name, &resources.fonts);
            self.state.font_size = size.as_f64();
        }
    }

    fn on_graphics_state(&mut self, instruction: &Instruction<'_, '_>, resources: &Resources<'a>) {
        let Some(Object::Name(name)) = instruction.operands().next() else {
            return;
        };
        let Some(font) = resources
            .get_ext_g_state(name)
            .and_then(|state| state.get::<Array<'a>>("Font"))
        else {
            return;
        };
        let mut entries = font.iter::<Object<'a>>();
        if let (Some(Object::Dict(dict)), Some(Object::Number(size))) =
            (entries.next(), entries.next())
        {
            self.state.font = self.shared.fonts.of_dict(&dict);
            self.state.font_size = size.as_f64();
        }
    }

    fn on_show(&mut self, instruction: &Instruction<'_, '_>) -> Result<(), Error> {
        self.shows += 1;
        if &**instruction.operator == b"\"" {
            let mut spaces = instruction.operands();
            if let (Some(Object::Number(word)), Some(Object::Number(char))) =
                (spaces.next(), spaces.next())
            {
                (self.state.word_space, self.state.char_space) = (word.as_f64(), char.as_f64());
            }
        }
        if matches!(&**instruction.operator, b"\"" | b"'") {
            self.next_line(0.0, -self.state.leading);
        }
        match instruction.operands().last() {
            Some(Object::String(string)) => self.show(string.as_bytes()),
            Some(Object::Array(items)) => {
                items.iter::<Object<'_>>().try_for_each(|item| match item {
                    Object::String(string) => self.show(string.as_bytes()),
                    Object::Number(adjustment) => {
                        self.adjust(adjustment.as_f64());
                        Ok(())
                    }
                    _ => Ok(()),
                })
            }
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
        let is_hidden = self.marked.last().is_some_and(|marked| marked.is_hidden);
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
            if known.text != Text::NONE && !is_hidden {
                let origin = start.apply((right, down + state.rise));
                if let Some(glyph) = pen.glyph(origin, advance, known.text, known.kind)
                    && is_inside(&glyph, self.width, self.height)
                {
                    if self.page.glyphs.len() >= GLYPHS_PER_PAGE_MAX {
                        return Err(Error::TooLarge {
                            what: "glyphs on one page",
                            max: GLYPHS_PER_PAGE_MAX as u64,
                        });
                    }
                    self.page.glyphs.push(glyph);
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

    fn on_object(
        &mut self,
        instruction: &Instruction<'_, '_>,
        resources: &Resources<'a>,
    ) -> Result<(), Error> {
        self.shows += 1;
        let Some(Object::Name(name)) = instruction.operands().next() else {
            return Ok(());
        };
        let Some(stream) = resources.get_x_object(name) else {
            return Ok(());
        };
        match stream.dict().get::<Name<'_>>("Subtype").as_deref() {
            Some(b"Image") => {
                self.page.has_images = true;
                Ok(())
            }
            Some(b"Form") if !self.shared.layers.hides(stream.dict()) => {
                self.run_form(&stream, resources, Matrix::IDENTITY)
            }
            _ => Ok(()),
        }
    }

    /// Draw a form, in coordinates moved by `placed` and then by its own matrix.
    fn run_form(
        &mut self,
        form: &Stream<'a>,
        outer: &Resources<'a>,
        placed: Matrix,
    ) -> Result<(), Error> {
        if self.depth >= FORM_DEPTH_MAX || self.shared.plain_forms.contains(&form.obj_id()) {
            return Ok(());
        }
        self.shared.content_bytes += FORM_BYTES;
        let Ok(content) = form.decoded_data() else {
            self.page.is_damaged = true;
            return Ok(());
        };
        let matrix = form
            .dict()
            .get::<[f64; 6]>("Matrix")
            .map_or(Matrix::IDENTITY, Matrix);
        let resources = form.dict().get::<Dict<'a>>("Resources").map(Resources::new);
        let (outer_state, text_matrix, line_matrix) =
            (self.state, self.text_matrix, self.line_matrix);
        self.state.ctm = self.state.ctm.after(placed).after(matrix);
        let shows = self.shows;
        self.depth += 1;
        let result = self.run(&content, resources.as_ref().unwrap_or(outer));
        self.depth -= 1;
        if self.shows == shows {
            self.shared.plain_forms.insert(form.obj_id());
        }
        (self.state, self.text_matrix, self.line_matrix) = (outer_state, text_matrix, line_matrix);
        result
    }

    /// Form fields and other annotations show text by an appearance stream.
    fn run_annotations(&mut self, page: &Page<'a>, ctm: Matrix) -> Result<(), Error> {
        const HIDDEN_OR_NO_VIEW: u32 = 1 << 1 | 1 << 5;
        let Some(annotations) = page.raw().get::<Array<'a>>("Annots") else {
            return Ok(());
        };
        for item in annotations.raw_iter() {
            let annotation = match item {
                MaybeRef::Ref(id) => page.xref().get::<Dict<'a>>(id.into()),
                MaybeRef::NotRef(object) => object.into_dict(),
            };
            let Some(annotation) = annotation else {
                continue;
            };
            if annotation.get::<u32>("F").unwrap_or(0) & HIDDEN_OR_NO_VIEW != 0
                || self.shared.layers.hides(&annotation)
            {
                continue;
            }
            if let Some(appearance) = appearance(&annotation)
                && let Some(placed) = placed(&annotation, &appearance)
            {
                self.state = State {
                    ctm,
                    font: None,
                    ..self.state
                };
                self.run_form(&appearance, page.resources(), placed)?;
            }
        }
        Ok(())
    }

    fn begin_marked(&mut self, instruction: &Instruction<'_, '_>, resources: &Resources<'a>) {
        let outer_hides = self.marked.last().is_some_and(|marked| marked.is_hidden);
        let mut operands = instruction.operands();
        let tag = operands.next();
        let (mut is_hidden, mut actual) = (outer_hides, None);
        match operands.next() {
            Some(Object::Name(name)) => {
                if matches!(tag, Some(Object::Name(tag)) if &**tag == b"OC") {
                    is_hidden |= self.shared.layers.hides_entry(&resources.properties, name);
                }
                actual = resources
                    .properties
                    .get::<Dict<'_>>(name)
                    .and_then(|properties| properties.get::<PdfString<'_>>("ActualText"));
                let text = actual
                    .as_ref()
                    .map(|actual| self.actual_text(actual.as_bytes()));
                return self.push_marked(Marked {
                    is_hidden,
                    actual: text,
                });
            }
            Some(Object::Dict(properties)) => {
                actual = properties.get::<PdfString<'_>>("ActualText")
            }
            _ => {}
        }
        let actual = actual
            .as_ref()
            .map(|actual| self.actual_text(actual.as_bytes()));
        self.push_marked(Marked { is_hidden, actual });
    }

    fn actual_text(&mut self, bytes: &[u8]) -> (Text, usize) {
        (
            self.shared
                .texts
                .intern(&unicode::plain(&unicode::text_string(bytes))),
            self.page.glyphs.len(),
        )
    }

    fn push_marked(&mut self, mut marked: Marked) {
        if self.marked.len() >= MARKED_DEPTH_MAX {
            self.unmarked += 1;
            return;
        }
        marked.is_hidden |= self.marked.last().is_some_and(|outer| outer.is_hidden);
        self.marked.push(marked);
    }

    /// Close a sequence. Its replacement text goes to its first glyph, which is stretched over the
    /// others of its line.
    fn end_marked(&mut self) {
        let Some(Marked {
            actual: Some((text, from)),
            ..
        }) = self.marked.pop()
        else {
            return;
        };
        let Some(glyphs) = self.page.glyphs.get_mut(from..) else {
            return;
        };
        let Some(last) = glyphs.last().copied() else {
            return;
        };
        let Some(first) = glyphs.first_mut() else {
            return;
        };
        if last.is_parallel(first) && (last.across() - first.across()).abs() < first.size {
            first.advance = first
                .advance
                .max(last.along() + last.advance - first.along());
        }
        first.text = text;
        first.kind = self
            .shared
            .texts
            .first(text)
            .map(unicode::kind_of)
            .unwrap_or_default();
        let keep = if text == Text::NONE { from } else { from + 1 };
        self.page.glyphs.truncate(keep);
    }
}

/// The last `N` operands, if they are all numbers.
fn numbers<const N: usize>(instruction: &Instruction<'_, '_>) -> Option<[f64; N]> {
    let mut numbers = [0.0; N];
    let mut count = 0;
    for operand in instruction.operands() {
        let Object::Number(number) = operand else {
            return None;
        };
        numbers.rotate_left(1);
        *numbers.last_mut()? = number.as_f64();
        count += 1;
    }
    (count >= N).then_some(numbers)
}

/// From the page's coordinates to those of its visible box as a reader sees it, with the size of
/// that box.
fn page_matrix(page: &Page<'_>) -> (Matrix, f32, f32) {
    use hayro_syntax::page::Rotation;
    let Rect { x0, y0, .. } = page.intersected_crop_box();
    let (width, height) = page.base_dimensions();
    let (x1, y1) = (x0 + f64::from(width), y0 + f64::from(height));
    match page.rotation() {
        Rotation::None => (Matrix([1.0, 0.0, 0.0, -1.0, -x0, y1]), width, height),
        Rotation::Horizontal => (Matrix([0.0, 1.0, 1.0, 0.0, -y0, -x0]), height, width),
        Rotation::Flipped => (Matrix([-1.0, 0.0, 0.0, 1.0, x1, -y0]), width, height),
        Rotation::FlippedHorizontal => (Matrix([0.0, -1.0, -1.0, 0.0, y1, x1]), height, width),
    }
}

/// The normal appearance of an annotation, in its current state if it has several.
fn appearance<'a>(annotation: &Dict<'a>) -> Option<Stream<'a>> {
    match annotation.get::<Dict<'a>>("AP")?.get::<Object<'a>>("N")? {
        Object::Stream(stream) => Some(stream),
        Object::Dict(states) => states.get::<Stream<'a>>(annotation.get::<Name<'_>>("AS")?),
        _ => None,
    }
}

/// How an appearance is moved and scaled to fill the annotation's rectangle.
fn placed(annotation: &Dict<'_>, appearance: &Stream<'_>) -> Option<Matrix> {
    let rect = annotation.get::<Rect>("Rect")?;
    let bbox = appearance.dict().get::<Rect>("BBox")?;
    let matrix = appearance
        .dict()
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
