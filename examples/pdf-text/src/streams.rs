//! Streams: where one begins and ends in a file that says so wrongly, and its decoded data with
//! what is wrong with it.
//!
//! The parser needs an `endstream` to see a stream, and takes the next one it finds when the length
//! is wrong, be it that of another object. Here a stream ends with its object at the latest. What
//! is null, or refers to an object that is null, is nothing; what refers to an object that is not
//! there is missing, and the caller reports it.

use std::borrow::Cow;

use hayro_syntax::Pdf;
use hayro_syntax::object::{Array, Dict, Name, Null, ObjRef, Object, ObjectIdentifier, Stream};

use crate::filters::{self, Fault};
use crate::limits::{FILTERS_MAX, STREAM_BYTES_MAX};

/// Where streams come from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pdf: &'a Pdf,
}

/// A stream that was found: its dictionary and its data as the file has it.
#[derive(Clone)]
pub(crate) struct Body<'a> {
    pub(crate) dict: Dict<'a>,
    raw: Cow<'a, [u8]>,
}

/// The outcome of looking for a stream.
pub(crate) enum Lookup<'a> {
    Found(Body<'a>),
    /// There is none, and none is needed.
    Nothing,
    /// There should be one, and why there is not.
    Missing(String),
}

/// Decoded data, which is not whole if something was wrong.
pub(crate) struct Decoded<'a> {
    pub(crate) data: Cow<'a, [u8]>,
    pub(crate) damage: Option<String>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(pdf: &'a Pdf) -> Self {
        Self { pdf }
    }

    /// The object that a reference leads to.
    pub(crate) fn object(self, reference: ObjRef) -> Option<Object<'a>> {
        self.pdf.xref().get(reference.into())
    }

    /// Whether a reference leads nowhere. A null object is somewhere.
    pub(crate) fn is_missing(self, reference: ObjRef) -> bool {
        let (xref, id) = (self.pdf.xref(), ObjectIdentifier::from(reference));
        xref.get::<Object<'a>>(id).is_none() && xref.get::<Null>(id).is_none()
    }

    /// The stream under a key, which must be a reference.
    pub(crate) fn entry(self, dict: &Dict<'a>, key: &[u8]) -> Lookup<'a> {
        match dict.get_ref(key) {
            Some(reference) => self.stream(reference),
            None => Lookup::Nothing,
        }
    }

    /// The stream that a reference leads to.
    pub(crate) fn stream(self, reference: ObjRef) -> Lookup<'a> {
        let number = reference.obj_number;
        let id = ObjectIdentifier::from(reference);
        let xref = self.pdf.xref();
        if let Some(stream) = xref.get::<Stream<'a>>(id) {
            return Lookup::Found(self.body(&stream));
        }
        if let Some(dict) = xref.get::<Dict<'a>>(id) {
            return match self.after(&dict) {
                Some(raw) if !self.is_encrypted() => Lookup::Found(Body {
                    dict,
                    raw: Cow::Borrowed(raw),
                }),
                Some(_) => Lookup::Missing(format!("object {number} has no end")),
                None => Lookup::Missing(format!("object {number} is no stream")),
            };
        }
        if xref.get::<Null>(id).is_some() {
            Lookup::Nothing
        } else if xref.get::<Object<'a>>(id).is_some() {
            Lookup::Missing(format!("object {number} is no stream"))
        } else {
            Lookup::Missing(format!("object {number} is missing"))
        }
    }

    /// A stream that the parser found, up to the end of its object.
    pub(crate) fn body(self, stream: &Stream<'a>) -> Body<'a> {
        let dict = stream.dict().clone();
        let mut raw = stream.raw_data();
        let is_as_long_as_said = dict.get::<usize>("Length") == Some(raw.len());
        if let Cow::Borrowed(data) = &mut raw
            && !is_as_long_as_said
            && let Some(end) = find(data, b"endobj")
        {
            *data = data.get(..end).unwrap_or_default();
        }
        Body { dict, raw }
    }

    /// What stands between the dictionary of a stream and the end of its object.
    fn after(self, dict: &Dict<'a>) -> Option<&'a [u8]> {
        let file = self.pdf.data().as_ref();
        let data = dict.data();
        // The dictionary is a piece of the file unless it was in an object stream, where no
        // stream can be.
        let start = (data.as_ptr() as usize).checked_sub(file.as_ptr() as usize)?;
        let rest = file.get(start.checked_add(data.len())?..)?;
        let rest = rest.trim_ascii_start().strip_prefix(b"stream")?;
        let rest = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.strip_prefix(b"\n"))
            .or_else(|| rest.strip_prefix(b"\r"))
            .unwrap_or(rest);
        let end = find(rest, b"endobj").unwrap_or(rest.len());
        rest.get(..end)
    }

    fn is_encrypted(self) -> bool {
        find(self.pdf.data().as_ref(), b"/Encrypt").is_some()
    }
}

/// Where a needle begins.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

impl<'a> Body<'a> {
    /// Bytes in the file.
    pub(crate) fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// The data, decoded by all filters. Borrowed when there are none.
    pub(crate) fn decoded(&self) -> Decoded<'a> {
        let mut decoded = Decoded {
            data: self.raw.clone(),
            damage: None,
        };
        if matches!(
            self.dict.get::<Object<'a>>("F"),
            Some(Object::String(_) | Object::Dict(_))
        ) {
            decoded.data = Cow::Borrowed(&[]);
            decoded.damage = Some("its data is in another file".into());
            return decoded;
        }
        for (index, (name, parameters)) in self.filters().into_iter().enumerate() {
            if index >= FILTERS_MAX {
                decoded.damage = Some(format!("it has more than {FILTERS_MAX} filters"));
                break;
            }
            // Decryption has been done.
            if index == 0 && &*name == b"Crypt" {
                continue;
            }
            let Some(filtered) = filters::apply(&name, &decoded.data, &parameters) else {
                decoded.data = Cow::Borrowed(&[]);
                decoded.damage = Some(format!(
                    "its filter `{}` is not supported",
                    name.escape_ascii()
                ));
                break;
            };
            decoded.data = Cow::Owned(filtered.data);
            if let Some(fault) = filtered.fault {
                decoded.damage.get_or_insert_with(|| fault.reason().into());
                if fault == Fault::TooLarge {
                    break;
                }
            }
        }
        decoded
    }

    /// The filters by name, with their parameters.
    fn filters(&self) -> Vec<(Name<'a>, Dict<'a>)> {
        let key = |long: &'static str, short: &'static str| {
            if self.dict.contains_key(long) {
                long
            } else {
                short
            }
        };
        let (filter, parameters) = (key("Filter", "F"), key("DecodeParms", "DP"));
        if let Some(name) = self.dict.get::<Name<'a>>(filter) {
            let of_array = || {
                self.dict
                    .get::<Array<'a>>(parameters)?
                    .iter::<Dict<'a>>()
                    .next()
            };
            let parameters = self.dict.get::<Dict<'a>>(parameters).or_else(of_array);
            return vec![(name, parameters.unwrap_or_default())];
        }
        let Some(names) = self.dict.get::<Array<'a>>(filter) else {
            return Vec::new();
        };
        let mut all = self
            .dict
            .get::<Array<'a>>(parameters)
            .map(|array| array.iter::<Object<'a>>());
        let single = self.dict.get::<Dict<'a>>(parameters);
        names
            .iter::<Name<'a>>()
            .map(|name| {
                let own = all
                    .as_mut()
                    .and_then(Iterator::next)
                    .and_then(Object::into_dict);
                (name, own.or_else(|| single.clone()).unwrap_or_default())
            })
            .collect()
    }
}

impl Decoded<'_> {
    /// Whether there is more than a stream may have.
    pub(crate) fn is_too_large(&self) -> bool {
        self.data.len() > STREAM_BYTES_MAX
    }
}
