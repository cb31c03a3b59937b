//! Errors of reading objects and prefixes, and their [`io::ErrorKind`]s.
//!
//! Reads return [`io::Error`]s, so that parsers can use an object like any other reader. The
//! [`Error`] is their inner error.

use std::fmt;
use std::io;

/// Why an object cannot be read; the inner error of the [`io::Error`]s that reads return.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The stored object is no longer the version that this task was handed. The kind is
    /// [`io::ErrorKind::StaleNetworkFileHandle`].
    Changed {
        /// The object's name.
        name: String,
    },
    /// The object cannot be read now, although the host has tried again. The kind is
    /// [`io::ErrorKind::Other`].
    Unavailable {
        /// The object's name.
        name: String,
        /// What the host says.
        reason: String,
    },
    /// There is no object of that name below the prefix. The kind is [`io::ErrorKind::NotFound`].
    Missing {
        /// The name that was asked for.
        name: String,
    },
    /// The name cannot be that of an object below a prefix. The kind is
    /// [`io::ErrorKind::InvalidInput`].
    Invalid {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// The object error that `error` is or wraps; parsers like to wrap the errors of their reader
    /// in their own. `None` means that the bytes were read and are not what the parser expects.
    pub fn within(error: &io::Error) -> Option<&Self> {
        let mut next: Option<&(dyn std::error::Error + 'static)> =
            error.get_ref().map(|inner| inner as _);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // An I/O error within: its `source` skips the error it holds.
            next = match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                Some(inner) => Some(inner as _),
                None => error.source(),
            };
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { name } => write!(
                f,
                "object `{name}` has changed since the task was submitted"
            ),
            Self::Unavailable { name, reason } => {
                write!(f, "object `{name}` cannot be read: {reason}")
            }
            Self::Missing { name } => write!(f, "there is no object `{name}`"),
            // It is the prefix itself that something is wrong with.
            Self::Invalid { name, reason } if name.is_empty() => f.write_str(reason),
            Self::Invalid { name, reason } => {
                write!(f, "`{name}` is no name below a prefix: {reason}")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Changed { .. } => io::ErrorKind::StaleNetworkFileHandle,
            Error::Unavailable { .. } => io::ErrorKind::Other,
            Error::Missing { .. } => io::ErrorKind::NotFound,
            Error::Invalid { .. } => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}
