//! Documents of which only the attachments are encrypted: they open without a password.
//!
//! Their encryption dictionary names `Identity` for streams and strings (ISO 32000-1, 7.6.5), but
//! the parser asks for the password all the same. So the entry is made unreadable in a copy of the
//! file, in place, and the copy is opened as a document without encryption.

use std::sync::Arc;

use hayro_syntax::object::{Dict, FromBytes, MaybeRef, Name};
use hayro_syntax::{Pdf, PdfData};

use crate::streams::find;

/// The key of the encryption dictionary in the trailer.
const KEY: &[u8] = b"/Encrypt";
/// A key of the same length that nobody looks for.
const NO_KEY: &[u8] = b"/Xncrypt";

/// Open a document whose streams and strings are not encrypted, though something in it is.
pub(crate) fn open_without(bytes: &[u8]) -> Option<Pdf> {
    let mut copy = bytes.to_vec();
    let mut last = None;
    let mut at = 0;
    while let Some(found) = copy.get(at..).and_then(|rest| find(rest, KEY)) {
        let start = at + found;
        let end = start + KEY.len();
        at = end;
        // `/EncryptMetadata` is another key.
        if copy.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        copy.get_mut(start..end)?.copy_from_slice(NO_KEY);
        last = Some(end);
    }
    let value = bytes.get(last?..)?.trim_ascii_start();
    let pdf = Pdf::new(PdfData::from(Arc::new(copy))).ok()?;
    let is_plain = if value.starts_with(b"<<") {
        is_plain(&Dict::from_bytes(value)?)
    } else {
        // As a dictionary of one entry, the reference is read by the parser.
        let entry = [b"<< /E ", value.get(..value.len().min(32))?].concat();
        let end = find(&entry, b"R")? + 1;
        let entry = [entry.get(..end)?, b" >>"].concat();
        let MaybeRef::Ref(reference) = Dict::from_bytes(&entry)?.get_raw::<Dict<'_>>("E")? else {
            return None;
        };
        is_plain(&pdf.xref().get::<Dict<'_>>(reference.into())?)
    };
    is_plain.then_some(pdf)
}

/// Whether an encryption dictionary leaves streams and strings alone.
fn is_plain(encryption: &Dict<'_>) -> bool {
    let is_identity = |key: &str| {
        encryption.get::<Name<'_>>(key).is_none_or(|name| {
            let filters = encryption.get::<Dict<'_>>("CF");
            let filter = filters.and_then(|filters| filters.get::<Dict<'_>>(&*name));
            let method = filter
                .as_ref()
                .and_then(|filter| filter.get::<Name<'_>>("CFM"));
            &*name == b"Identity" || method.as_deref() == Some(b"None")
        })
    };
    let has_filters = encryption
        .get::<u8>("V")
        .is_some_and(|version| version >= 4);
    has_filters && is_identity("StmF") && is_identity("StrF")
}
