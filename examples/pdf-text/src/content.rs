//! The content interpreter: runs the operators that place text and collects glyphs.
//!
//! It follows the text state, transformations, forms, optional content and `ActualText`; the glyphs
//! of a string are in [`crate::show`], annotations in [`crate::annotations`]. It must never build a
//! path, convert a colour or decode an image: of everything that is not text it only counts that
//! images are there, so that a scanned page can be told from an empty one.
//!
//! Errors in content are skipped, as every reader does. What a stream, a font or a resource has
//! lost is noted as damage of the page, and the rest is read. Bounded by [`crate::limits`]: the
//! bytes of content and the glyphs are counted, forms nest to a fixed depth, and nothing else
//! recurses.

use hayro_syntax::object::{
    Array, Dict, FromBytes, MaybeRef, Name, Object, ObjectIdentifier, String as PdfString,
};
use hayro_syntax::page::Resources;
use rustc_hash::FxHashSet;

use crate::error::Error;
use crate::fields::Fields;
use crate::fonts::Fonts;
use crate::glyph::{Glyph, Kind, Text, Texts};
use crate::layers::Layers;
use crate::limits::{
    CONTENT_BYTES_MAX, CONTENTS_DEPTH_MAX, DAMAGES_PER_PAGE_MAX, ENTRY_BYTES, FORM_BYTES,
    FORM_DEPTH_MAX, MARKED_DEPTH_MAX, SAVED_STATES_MAX, STREAM_BYTES_MAX,
};
use crate::matrix::Matrix;
use crate::scan::{Operand, Scanner};
use crate::streams::{Body, Decoded, Lookup, Source};
use crate::tree::Page;
use crate::unicode;

/// What is shared by the pages of a document.
pub(crate) struct Shared<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) fonts: Fonts<'a>,
    pub(crate) texts: Texts,
    pub(crate) layers: Layers,
    pub(crate) fields: Fields<'a>,
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
    /// What could not be read, each reason once.
    pub(crate) damage: Vec<String>,
}

impl PageContent {
    pub(crate) fn add_damage(&mut self, reason: String) {
        match self.damage.len() {
            len if len >= DAMAGES_PER_PAGE_MAX => {}
            _ if self.damage.contains(&reason) => {}
            len if len + 1 == DAMAGES_PER_PAGE_MAX => self.damage.push("and more".into()),
            _ => self.damage.push(reason),
        }
    }
}

/// The resources of the content that is run, and of the content around it: a form that names what
/// only the page has finds it there, as in other readers.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'r, 'a> {
    own: &'r Resources<'a>,
    outer: Option<&'r Scope<'r, 'a>>,
}

impl<'r, 'a> Scope<'r, 'a> {
    pub(crate) fn new(own: &'r Resources<'a>) -> Self {
        Self { own, outer: None }
    }

    /// The nearest dictionary of a kind that has an entry for `name`.
    fn holder(
        &self,
        kind: fn(&'r Resources<'a>) -> &'r Dict<'a>,
        name: &[u8],
    ) -> Option<&'r Dict<'a>> {
        let mut scope = Some(self);
        while let Some(Scope { own, outer }) = scope {
            let dict = kind(own);
            if dict.contains_key(name) {
                return Some(dict);
            }
            scope = *outer;
        }
        None
    }
}

/// The part of the graphics state that text needs.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pub(crate) ctm: Matrix,
    pub(crate) font: Option<usize>,
    pub(crate) font_size: f64,
    pub(crate) char_space: f64,
    pub(crate) word_space: f64,
    /// Horizontal scaling, 1 for 100 %.
    pub(crate) stretch: f64,
    pub(crate) leading: f64,
    pub(crate) rise: f64,
}

/// An open marked-content sequence.
pub(crate) struct Marked {
    pub(crate) is_hidden: bool,
    /// Replacement text, and the number of glyphs before the sequence.
    pub(crate) actual: Option<(Text, usize)>,
    /// Whether this or a sequence around it has replacement text.
    pub(crate) is_replaced: bool,
}

/// Interprets the content of one page.
pub(crate) struct Interpreter<'s, 'a> {
    pub(crate) shared: &'s mut Shared<'a>,
    pub(crate) page: PageContent,
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) state: State,
    saved: Vec<State>,
    /// States saved beyond the limit.
    unsaved: usize,
    pub(crate) text_matrix: Matrix,
    line_matrix: Matrix,
    /// Whether the pen was set down anew since it last drew.
    pub(crate) is_placed: bool,
    pub(crate) marked: Vec<Marked>,
    /// Sequences opened by the content around the form that is run.
    marked_floor: usize,
    unmarked: usize,
    depth: usize,
    /// Operators so far that show text or draw objects.
    pub(crate) shows: u64,
}

impl<'s, 'a> Interpreter<'s, 'a> {
    /// Run the page's content and its annotations.
    pub(crate) fn run_page(
        page: &Page<'a>,
        shared: &'s mut Shared<'a>,
    ) -> Result<PageContent, Error> {
        let (ctm, width, height) = page.matrix();
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
            is_placed: true,
            marked: Vec::new(),
            marked_floor: 0,
            unmarked: 0,
            depth: 0,
            shows: 0,
        };
        if page.lacks_resources() {
            interpreter
                .page
                .add_damage("its resources are missing".into());
        }
        let resources = Resources::new(page.resources());
        let scope = Scope::new(&resources);
        let content = interpreter.page_content(page)?;
        interpreter.run(&content, scope)?;
        interpreter.run_annotations(page, ctm, scope)?;
        Ok(interpreter.page)
    }

    /// The page's content streams, joined.
    fn page_content(&mut self, page: &Page<'a>) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        match page.dict.get_raw::<Object<'a>>("Contents") {
            Some(entry) => self.add_content(entry, &mut content, 0)?,
            None if page.dict.contains_key("Contents") => {
                self.page.add_damage("its content cannot be found".into());
            }
            None => {}
        }
        Ok(content)
    }

    /// Append what an entry for contents leads to: a stream, or an array of such entries. Null is
    /// none.
    fn add_content(
        &mut self,
        entry: MaybeRef<Object<'a>>,
        content: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), Error> {
        let array = match entry {
            MaybeRef::Ref(reference) => match self.shared.source.object(reference) {
                Some(Object::Array(array)) => array,
                _ => match self.shared.source.stream(reference) {
                    Lookup::Found(body) => {
                        let data = self.decoded(&body, "content")?.data;
                        if content.len().saturating_add(data.len()) > STREAM_BYTES_MAX {
                            return Err(stream_too_large());
                        }
                        content.extend_from_slice(&data);
                        content.push(b'\n');
                        return Ok(());
                    }
                    Lookup::Nothing => return Ok(()),
                    Lookup::Missing(why) => {
                        self.page.add_damage(format!("its content: {why}"));
                        return Ok(());
                    }
                },
            },
            MaybeRef::NotRef(Object::Array(array)) => array,
            MaybeRef::NotRef(Object::Null(_)) => return Ok(()),
            MaybeRef::NotRef(_) => {
                self.page.add_damage("its content is no stream".into());
                return Ok(());
            }
        };
        if depth >= CONTENTS_DEPTH_MAX {
            self.page
                .add_damage("its content is nested too deep".into());
            return Ok(());
        }
        for item in array.raw_iter() {
            self.charge(ENTRY_BYTES)?;
            self.add_content(item, content, depth + 1)?;
        }
        Ok(())
    }

    /// The data of a stream, with its damage noted as that of `what`.
    fn decoded(&mut self, body: &Body<'a>, what: &str) -> Result<Decoded<'a>, Error> {
        let decoded = body.decoded();
        if decoded.is_too_large() {
            return Err(stream_too_large());
        }
        if let Some(damage) = &decoded.damage {
            // What decodes to little may take long all the same.
            self.charge(body.len())?;
            self.page.add_damage(match body.dict.obj_id() {
                Some(id) => format!("its {what} (object {}): {damage}", id.obj_number),
                None => format!("its {what}: {damage}"),
            });
        }
        Ok(decoded)
    }

    /// Count work against what a document may cost.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        self.shared.content_bytes = self.shared.content_bytes.saturating_add(bytes);
        if self.shared.content_bytes > CONTENT_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of content",
                max: CONTENT_BYTES_MAX,
            });
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, content: &[u8], scope: Scope<'_, 'a>) -> Result<(), Error> {
        self.charge(content.len() as u64)?;
        let mut scanner = Scanner::new(content);
        // What is open belongs to the content around this, which it must not close.
        let outer = (
            self.state,
            std::mem::take(&mut self.saved),
            std::mem::take(&mut self.unsaved),
            self.marked_floor,
        );
        self.marked_floor = self.marked.len();
        while let Some(operator) = scanner.next() {
            self.on(operator, &scanner, scope)?;
        }
        while self.marked.len() > self.marked_floor {
            self.end_marked();
        }
        (self.state, self.saved, self.unsaved, self.marked_floor) = outer;
        Ok(())
    }

    fn on(
        &mut self,
        operator: &[u8],
        scanner: &Scanner<'_>,
        scope: Scope<'_, 'a>,
    ) -> Result<(), Error> {
        match operator {
            b"Tj" | b"TJ" | b"'" | b"\"" => return self.on_show(operator, scanner),
            b"Do" => return self.on_object(scanner, scope),
            b"q" if self.saved.len() < SAVED_STATES_MAX => self.saved.push(self.state),
            b"q" => self.unsaved += 1,
            b"Q" if self.unsaved > 0 => self.unsaved -= 1,
            b"Q" => self.state = self.saved.pop().unwrap_or(self.state),
            b"cm" => {
                if let Some(matrix) = scanner.numbers() {
                    self.state.ctm = self.state.ctm.after(Matrix(matrix));
                }
            }
            b"BI" => {
                self.shows += 1;
                self.page.has_images = true;
            }
            b"gs" => self.on_graphics_state(scanner, scope),
            b"BDC" => self.begin_marked(scanner, scope),
            b"BMC" => self.push_marked(false, None),
            b"EMC" if self.unmarked > 0 => self.unmarked -= 1,
            b"EMC" if self.marked.len() > self.marked_floor => self.end_marked(),
            operator => self.on_text_state(operator, scanner, scope),
        }
        Ok(())
    }

    fn on_text_state(&mut self, operator: &[u8], scanner: &Scanner<'_>, scope: Scope<'_, 'a>) {
        let number = || scanner.numbers::<1>().map(|[number]| number);
        let set = |place: &mut f64| *place = number().unwrap_or(*place);
        match operator {
            b"BT" => self.set_text_matrix(Matrix::IDENTITY),
            b"Tm" => {
                if let Some(matrix) = scanner.numbers() {
                    self.set_text_matrix(Matrix(matrix));
                }
            }
            b"Td" | b"TD" => {
                let Some([x, y]) = scanner.numbers() else {
                    return;
                };
                if operator == b"TD" {
                    self.state.leading = -y;
                }
                self.next_line(x, y);
            }
            b"T*" => self.next_line(0.0, -self.state.leading),
            b"Tf" => self.on_font(scanner, scope),
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
        self.is_placed = true;
    }

    pub(crate) fn next_line(&mut self, x: f64, y: f64) {
        self.set_text_matrix(self.line_matrix.moved(x, y));
    }

    fn on_font(&mut self, scanner: &Scanner<'_>, scope: Scope<'_, 'a>) {
        let [.., Operand::Name(name), Operand::Number(size)] = scanner.operands() else {
            return;
        };
        let holder = scope.holder(|resources| &resources.fonts, name);
        let font = self.shared.fonts.find(name, holder);
        self.set_font(font, *size, name);
    }

    fn set_font(&mut self, font: Option<usize>, size: f64, name: &[u8]) {
        if let Some(damage) = font.and_then(|font| self.shared.fonts.damage(font)) {
            let reason = format!("its font `{}`: {damage}", name.escape_ascii());
            self.page.add_damage(reason);
        }
        self.state.font = font;
        // Viewers differ in how they draw letters of no size; all of them have the text.
        self.state.font_size = if size == 0.0 { 1.0 } else { size };
    }

    fn on_graphics_state(&mut self, scanner: &Scanner<'_>, scope: Scope<'_, 'a>) {
        let [.., Operand::Name(name)] = scanner.operands() else {
            return;
        };
        let Some(font) = scope
            .holder(|resources| &resources.ext_g_states, name)
            .and_then(|states| states.get::<Dict<'a>>(name))
            .and_then(|state| state.get::<Array<'a>>("Font"))
        else {
            return;
        };
        let mut entries = font.iter::<Object<'a>>();
        if let (Some(Object::Dict(dict)), Some(Object::Number(size))) =
            (entries.next(), entries.next())
        {
            let font = self.shared.fonts.of_dict(&dict);
            self.set_font(font, size.as_f64(), name);
        }
    }

    fn on_object(&mut self, scanner: &Scanner<'_>, scope: Scope<'_, 'a>) -> Result<(), Error> {
        self.shows += 1;
        let [.., Operand::Name(name)] = scanner.operands() else {
            return Ok(());
        };
        let Some(holder) = scope.holder(|resources| &resources.x_objects, name) else {
            return Ok(());
        };
        let Some(reference) = holder.get_ref(name) else {
            return Ok(());
        };
        // Markers of plots are drawn very often, and need not be read each time.
        if self.shared.plain_forms.contains(&reference.into()) {
            return Ok(());
        }
        let body = match self.shared.source.stream(reference) {
            Lookup::Found(body) => body,
            Lookup::Nothing => return Ok(()),
            Lookup::Missing(why) => {
                let reason = format!("its form or image `{}`: {why}", name.escape_ascii());
                self.page.add_damage(reason);
                return Ok(());
            }
        };
        match body.dict.get::<Name<'_>>("Subtype").as_deref() {
            Some(b"Image") => {
                self.page.has_images = true;
                Ok(())
            }
            Some(b"Form") if !self.shared.layers.hides(&body.dict) => {
                self.run_form(&body, scope, Matrix::IDENTITY)
            }
            _ => Ok(()),
        }
    }

    /// Draw a form, in coordinates moved by `placed` and then by its own matrix.
    pub(crate) fn run_form(
        &mut self,
        form: &Body<'a>,
        outer: Scope<'_, 'a>,
        placed: Matrix,
    ) -> Result<(), Error> {
        let id = form.dict.obj_id();
        if self.depth >= FORM_DEPTH_MAX
            || id.is_some_and(|id| self.shared.plain_forms.contains(&id))
        {
            return Ok(());
        }
        self.charge(FORM_BYTES)?;
        let content = self.decoded(form, "form")?.data;
        let matrix = form
            .dict
            .get::<[f64; 6]>("Matrix")
            .map_or(Matrix::IDENTITY, Matrix);
        let own = form.dict.get::<Dict<'a>>("Resources").map(Resources::new);
        let scope = own.as_ref().map_or(outer, |own| Scope {
            own,
            outer: Some(&outer),
        });
        let (outer_state, text_matrix, line_matrix) =
            (self.state, self.text_matrix, self.line_matrix);
        self.state.ctm = self.state.ctm.after(placed).after(matrix);
        let shows = self.shows;
        self.depth += 1;
        let result = self.run(&content, scope);
        self.depth -= 1;
        if self.shows == shows {
            self.shared.plain_forms.extend(id);
        }
        (self.state, self.text_matrix, self.line_matrix) = (outer_state, text_matrix, line_matrix);
        result
    }

    fn begin_marked(&mut self, scanner: &Scanner<'_>, scope: Scope<'_, 'a>) {
        let (mut is_hidden, mut actual) = (false, None);
        match scanner.operands() {
            [.., Operand::Name(tag), Operand::Name(name)] => {
                if let Some(holder) = scope.holder(|resources| &resources.properties, name) {
                    if &**tag == b"OC" {
                        is_hidden = self.shared.layers.hides_entry(holder, name);
                    }
                    actual = holder.get::<Dict<'_>>(name).and_then(actual_text);
                }
            }
            [.., Operand::Dict(properties)] => {
                actual = Dict::from_bytes(properties).and_then(actual_text);
            }
            _ => {}
        }
        let actual =
            actual.map(|actual| (self.shared.texts.intern(&actual), self.page.glyphs.len()));
        self.push_marked(is_hidden, actual);
    }

    fn push_marked(&mut self, is_hidden: bool, actual: Option<(Text, usize)>) {
        if self.marked.len() >= MARKED_DEPTH_MAX {
            self.unmarked += 1;
            return;
        }
        let outer = self.marked.last();
        self.marked.push(Marked {
            is_hidden: is_hidden || outer.is_some_and(|outer| outer.is_hidden),
            is_replaced: actual.is_some() || outer.is_some_and(|outer| outer.is_replaced),
            actual,
        });
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
        let placement = first.kind.of(Kind::PLACED | Kind::VERTICAL);
        first.kind = placement
            | self
                .shared
                .texts
                .first(text)
                .map(unicode::kind_of)
                .unwrap_or_default();
        let keep = if text == Text::NONE { from } else { from + 1 };
        self.page.glyphs.truncate(keep);
    }
}

fn stream_too_large() -> Error {
    Error::TooLarge {
        what: "bytes in one stream",
        max: STREAM_BYTES_MAX as u64,
    }
}

/// The replacement text that a property list has.
fn actual_text(properties: Dict<'_>) -> Option<String> {
    let actual = properties.get::<PdfString<'_>>("ActualText")?;
    Some(unicode::plain(&unicode::text_string(actual.as_bytes())))
}
