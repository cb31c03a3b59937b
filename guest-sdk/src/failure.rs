//! Failures: a function's own answer that it has no result.
//!
//! A failure is a value and ends the task, not the sandbox: it has a code for programs, a message
//! for people, and tells whether a retry can help. It is never made from a panic, and nothing
//! converts into one silently except I/O errors, whose codes are fixed.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::{object, output};

/// The contract's limit for a code.
const CODE_BYTES_MAX: usize = 64;

/// The code when the one given has no letter or digit in it.
const CODE_DEFAULT: &str = "failed";

/// The code of a read that found another version of the object.
const OBJECT_CHANGED: &str = "object-changed";

/// The code of an object that is not there.
const OBJECT_MISSING: &str = "object-missing";

/// The code of a name that no object below a prefix can have.
const INVALID_NAME: &str = "invalid-name";

/// The code of an output that there is no place for.
const NO_STORE: &str = "no-store";

/// The code of an output that could not be written.
const UNWRITABLE_OUTPUT: &str = "unwritable-output";

/// The code of a read that did not work, or of any other I/O error.
const UNREADABLE_INPUT: &str = "unreadable-input";

/// How long to leave an object alone that cannot be read or written now. The host has retried by
/// itself before it said so.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);

/// Whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail again.
    Never,
    /// It may succeed after this long.
    After(Duration),
}

/// Why a function has no result.
///
/// ```
/// use sortie_guest::{Failure, Retry};
/// use std::time::Duration;
///
/// let failure = Failure::new("encrypted", "the document needs a password");
/// assert_eq!(failure.retry(), Retry::Never);
///
/// let busy = Failure::new("busy", "the licence server has no seat");
/// let busy = busy.retry_after(Duration::from_secs(30));
/// assert_eq!(busy.to_string(), "busy: the licence server has no seat");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: String,
    message: String,
    retry: Retry,
}

impl Failure {
    /// A failure that will happen again if the task is run again.
    ///
    /// `code` is for programs. It is converted to kebab-case (`Not found` becomes `not-found`) and
    /// cut to 64 bytes; without any ASCII letter or digit it becomes `failed`. `message` is a
    /// sentence for people; an error will do: `.map_err(|e| Failure::new("damaged", e))`.
    pub fn new(code: impl AsRef<str>, message: impl fmt::Display) -> Self {
        Self {
            code: kebab(code.as_ref()),
            message: message.to_string(),
            retry: Retry::Never,
        }
    }

    /// The same failure, with a retry after at least `delay`, in whole milliseconds.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self {
            retry: Retry::After(delay),
            ..self
        }
    }

    /// The code, for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether a retry can help.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Code and message.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_text(self) -> (String, String) {
        (self.code, self.message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error for Failure {}

/// A read of an object that is no longer the version this task was handed is `object-changed`,
/// final; one that is not below a prefix is `object-missing`, a name that cannot be `invalid-name`.
/// An output is `no-store` or `unwritable-output`. Everything else is `unreadable-input`. What is
/// not available now has a retry after a second, all else is final.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if let Some(unwritten) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<output::Error>())
        {
            return match unwritten {
                output::Error::NoStore { .. } => Self::new(NO_STORE, error),
                output::Error::Invalid { .. } => Self::new(UNWRITABLE_OUTPUT, error),
                output::Error::Unavailable { .. } => {
                    Self::new(UNWRITABLE_OUTPUT, error).retry_after(UNAVAILABLE_RETRY)
                }
            };
        }
        match object::Error::within(&error) {
            Some(object::Error::Missing { .. }) => Self::new(OBJECT_MISSING, error),
            Some(object::Error::Invalid { .. }) => Self::new(INVALID_NAME, error),
            Some(object::Error::Changed { .. }) => Self::new(OBJECT_CHANGED, error),
            Some(object::Error::Unavailable { .. }) => {
                Self::new(UNREADABLE_INPUT, error).retry_after(UNAVAILABLE_RETRY)
            }
            None => Self::new(UNREADABLE_INPUT, error),
        }
    }
}

/// ASCII letters and digits in lower case, everything between them one hyphen.
fn kebab(code: &str) -> String {
    let mut kebab = String::with_capacity(code.len().min(CODE_BYTES_MAX));
    for letter in code.chars() {
        if kebab.len() == CODE_BYTES_MAX {
            break;
        }
        if letter.is_ascii_alphanumeric() {
            kebab.push(letter.to_ascii_lowercase());
        } else if !kebab.is_empty() && !kebab.ends_with('-') {
            kebab.push('-');
        }
    }
    kebab.truncate(kebab.trim_end_matches('-').len());
    if kebab.is_empty() {
        CODE_DEFAULT.to_owned()
    } else {
        kebab
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(given: &str) -> String {
        Failure::new(given, "").code().to_owned()
    }

    #[test]
    fn codes_are_brought_into_kebab_case() {
        assert_eq!(code("encrypted"), "encrypted");
        assert_eq!(code("Not found!"), "not-found");
        assert_eq!(code("a__b--c"), "a-b-c");
        assert_eq!(code("-x-"), "x");
        assert_eq!(code("größe"), "gr-e");
        assert_eq!(code(""), "failed");
        assert_eq!(code("!?"), "failed");
    }

    #[test]
    fn codes_are_cut_to_the_contracts_limit() {
        assert_eq!(code(&"x".repeat(10_000)), "x".repeat(64));
        assert_eq!(code(&format!("{} y", "x".repeat(63))), "x".repeat(63));
    }

    #[test]
    fn a_changed_object_is_final_and_an_unavailable_one_is_not() {
        let changed = Failure::from(io::Error::from(object::Error::Changed { name: "a".into() }));
        assert_eq!(
            (changed.code(), changed.retry()),
            ("object-changed", Retry::Never)
        );
        let unavailable = Failure::from(io::Error::from(object::Error::Unavailable {
            name: "a".into(),
            reason: "503".into(),
        }));
        assert_eq!(
            (unavailable.code(), unavailable.retry()),
            ("unreadable-input", Retry::After(Duration::from_secs(1)))
        );
        let other = Failure::from(io::Error::new(io::ErrorKind::InvalidData, "no gzip"));
        assert_eq!(
            (other.code(), other.retry()),
            ("unreadable-input", Retry::Never)
        );
    }

    #[test]
    fn an_object_error_is_found_within_wrapped_errors() {
        let inner = io::Error::from(object::Error::Changed { name: "a".into() });
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, io::Error::other(inner));
        assert_eq!(Failure::from(wrapped).code(), "object-changed");
    }
}
