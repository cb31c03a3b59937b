//! What the form of a document says about its fields.

use hayro_syntax::object::Dict;

/// What the form of a document says about all of its fields.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) form: Dict<'a>,
    /// Whether the appearances of all fields have to be made anew.
    pub(crate) needs_appearances: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn read(catalog: &Dict<'a>) -> Self {
        let form = catalog.get::<Dict<'a>>("AcroForm").unwrap_or_default();
        Self {
            needs_appearances: form.get::<bool>("NeedAppearances").unwrap_or(false),
            form,
        }
    }
}
