//! The fonts of a document: from the names that content uses to loaded faces.
//!
//! A font dictionary is an indirect object in nearly every file, so its object number is the key;
//! one written in place is known by its bytes. Every dictionary is loaded once, in the order in
//! which text first uses it.

use hayro_syntax::object::{Dict, ObjectIdentifier};
use rustc_hash::FxHashMap;

use crate::font::{Face, Loader};
use crate::streams::Source;

/// All fonts met so far.
pub(crate) struct Fonts<'a> {
    source: Source<'a>,
    loader: Loader<'a>,
    faces: Vec<Face<'a>>,
    by_id: FxHashMap<ObjectIdentifier, Option<usize>>,
    by_bytes: FxHashMap<&'a [u8], Option<usize>>,
    stand_in: Option<Option<usize>>,
}

impl<'a> Fonts<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            loader: Loader::new(),
            faces: Vec::new(),
            by_id: FxHashMap::default(),
            by_bytes: FxHashMap::default(),
            stand_in: None,
        }
    }

    /// The font that `name` has in a resource dictionary, or the stand-in.
    pub(crate) fn find(&mut self, name: &[u8], fonts: Option<&Dict<'a>>) -> Option<usize> {
        let Some(fonts) = fonts else {
            return self.stand_in();
        };
        if let Some(id) = fonts.get_ref(name).map(ObjectIdentifier::from) {
            if let Some(known) = self.by_id.get(&id) {
                return *known;
            }
            let loaded = match fonts.get::<Dict<'a>>(name) {
                Some(dict) => self.load(&dict).or_else(|| self.stand_in()),
                None => self.missing(id),
            };
            self.by_id.insert(id, loaded);
            return loaded;
        }
        match fonts.get::<Dict<'a>>(name) {
            Some(dict) => self.of_dict(&dict),
            None => self.stand_in(),
        }
    }

    /// The font of a dictionary.
    pub(crate) fn of_dict(&mut self, dict: &Dict<'a>) -> Option<usize> {
        if let Some(known) = self.by_bytes.get(dict.data()) {
            return *known;
        }
        let loaded = self.load(dict).or_else(|| self.stand_in());
        self.by_bytes.insert(dict.data(), loaded);
        loaded
    }

    /// The font for text that names none.
    pub(crate) fn stand_in(&mut self) -> Option<usize> {
        if let Some(known) = self.stand_in {
            return known;
        }
        let face = self.loader.stand_in();
        let index = face.map(|face| self.add(face));
        self.stand_in = Some(index);
        index
    }

    /// The stand-in for a font that the file has lost.
    fn missing(&mut self, id: ObjectIdentifier) -> Option<usize> {
        let mut face = self.loader.stand_in()?;
        face.damage = Some(format!("object {} is missing", id.obj_number));
        Some(self.add(face))
    }

    /// Why text in this font may be wrong.
    pub(crate) fn damage(&self, index: usize) -> Option<&str> {
        self.faces.get(index)?.damage.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Face<'a>> {
        self.faces.get_mut(index)
    }

    pub(crate) fn is_vertical(&self, index: usize) -> bool {
        self.faces.get(index).is_some_and(|face| face.is_vertical)
    }

    fn load(&mut self, dict: &Dict<'a>) -> Option<usize> {
        let face = self.loader.load(dict, self.source)?;
        Some(self.add(face))
    }

    fn add(&mut self, face: Face<'a>) -> usize {
        self.faces.push(face);
        self.faces.len() - 1
    }
}
