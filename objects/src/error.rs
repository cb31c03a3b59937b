//! Errors of reading objects, derived from the stores' errors.
//!
//! A message is one line that names the object, the problem and what to do. It contains nothing
//! that was sent: no credentials, no signatures, no query of a URL. The kind tells whether a retry
//! can help.

use std::io;

use rustix::io::Errno;
use sortie_protocol::outcome::{InputFault, cut};
use sortie_protocol::{Advice, Cloud};

use crate::refusals::{Refusal, Sent, code_of, sources};
use crate::shortage::{has_shortage, is_shortage};
use crate::stores::notes::Trouble;

/// An object could not be found, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind of error.
    pub fault: InputFault,
    /// The object and the problem, in one line without credentials.
    pub message: String,
    /// What could be done, if known. Not part of outcomes.
    pub advice: Option<Advice>,
    /// What a function is told, if more than the kind of trouble.
    guest: Option<String>,
    /// See [`Error::is_shortage`].
    shortage: bool,
}

/// Maximum length of a reason; longer ones are cut.
const REASON_BYTES_MAX: usize = 300;

impl Error {
    pub(crate) fn new(fault: InputFault, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            advice: None,
            guest: None,
            shortage: false,
        }
    }

    /// The object could not be read because this machine has too little of something.
    fn short(shown: &str, cause: &str) -> Self {
        Self {
            shortage: true,
            ..Self::new(
                InputFault::Unavailable,
                format!("failed to read `{shown}`: {cause}"),
            )
        }
    }

    /// Whether this machine had too little of something (descriptors, memory), so that the error
    /// says nothing about the object.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        self.shortage
    }

    /// The same, with a text for functions, which names nothing but what a function named.
    #[must_use]
    pub(crate) fn telling_guests(self, text: impl Into<String>) -> Self {
        Self {
            guest: Some(text.into()),
            ..self
        }
    }

    /// What is wrong, for the function that asked: it learns neither where the object is nor what
    /// its store said, which is for the submitter and the operator.
    #[must_use]
    pub fn for_guest(&self) -> &str {
        match (&self.guest, self.fault) {
            (Some(text), _) => text,
            (None, InputFault::Missing) => "there is no such object",
            (None, InputFault::Denied) => "the object may not be read",
            (None, InputFault::Changed) => "the object was replaced",
            (None, InputFault::Malformed) => "the object cannot be read as it was named",
            (None, InputFault::Unavailable) => "the object cannot be read now",
        }
    }

    /// The same, with advice.
    #[must_use]
    pub(crate) fn advised(self, advice: Advice) -> Self {
        Self {
            advice: Some(advice),
            ..self
        }
    }

    /// Whether a different request would get a better error: an answer without a body has no error
    /// code.
    pub(crate) fn is_vague(error: &object_store::Error) -> bool {
        use object_store::Error as E;
        let refused = matches!(
            error,
            E::NotFound { .. }
                | E::PermissionDenied { .. }
                | E::Unauthenticated { .. }
                // What the library makes of a conflict, whatever was asked.
                | E::AlreadyExists { .. }
                | E::Generic { .. }
        );
        refused && code_of(error).is_none() && root_cause(error).starts_with("Server returned")
    }

    pub(crate) fn from_store(shown: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        if let Some(trouble) = sources(error).find_map(|source| source.downcast_ref::<Trouble>()) {
            let fault = match trouble {
                Trouble::Refused(_) => InputFault::Denied,
                Trouble::Silent(_) => InputFault::Unavailable,
            };
            return Self::new(fault, format!("`{shown}` may not be read: {trouble}"));
        }
        if has_shortage(sources(error)) {
            return Self::short(shown, &root_cause(error));
        }
        let of_file = matches!(error, E::Generic { store: FILE, .. });
        if let Some(error) = system_error(error).filter(|_| of_file) {
            return told(shown, error);
        }
        let sent = Sent::of(error);
        if let Some(told) = code_of(error).and_then(|code| by_code(shown, &code, sent)) {
            return told;
        }
        match error {
            E::NotFound { .. } => Self::new(
                InputFault::Missing,
                format!("there is nothing at `{shown}`"),
            ),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => denied(shown, sent),
            E::Precondition { .. } | E::NotModified { .. } => Self::new(
                InputFault::Changed,
                format!("`{shown}` was replaced after it was listed or first read"),
            ),
            E::InvalidPath { .. } => Self::new(
                InputFault::Malformed,
                format!("`{shown}` is not a name that the store accepts"),
            ),
            other => {
                let cause = root_cause(other);
                if is_redirect(&cause) {
                    elsewhere(shown)
                } else {
                    unavailable(shown, &cause)
                }
            }
        }
    }
}

/// Whether a cause is a redirect, which is not followed.
pub(crate) fn is_redirect(cause: &str) -> bool {
    cause.starts_with("Received redirect")
}

fn denied(shown: &str, sent: Sent) -> Error {
    let is_s3 = shown.starts_with("s3://");
    let reason = match sent {
        Sent::Unsigned => NO_CREDENTIALS,
        Sent::Signed if is_s3 => {
            "check the credentials, the object's permissions, and whether the reader has to pay"
        }
        Sent::Signed | Sent::Paid => "check the credentials and the file's permissions",
    };
    let error = Error::new(
        InputFault::Denied,
        format!("`{shown}` may not be read; {reason}"),
    );
    match sent {
        Sent::Signed if is_s3 => error.advised(Advice::SetPayer { cloud: Cloud::S3 }),
        Sent::Unsigned | Sent::Signed | Sent::Paid => error,
    }
}

/// Where a bucket is that is asked for in the wrong place.
pub(crate) const ELSEWHERE: &str = "is in another region or at another endpoint, and the store's \
                                    redirect is not followed; set the region or the endpoint";
/// Why a request without credentials is refused.
pub(crate) const NO_CREDENTIALS: &str =
    "no credentials were found, or none were to be used, and the store wants some";

fn elsewhere(shown: &str) -> Error {
    let message = format!("`{shown}` {ELSEWHERE}");
    Error::new(InputFault::Denied, message).advised(Advice::SetRegion)
}

fn unavailable(shown: &str, cause: &str) -> Error {
    Error::new(
        InputFault::Unavailable,
        format!("failed to read `{shown}`: {cause}"),
    )
}

/// The error for a store's own error code, if the code says more than the HTTP status.
fn by_code(shown: &str, code: &str, sent: Sent) -> Option<Error> {
    let refused = |why: &str| {
        let text = format!("`{shown}` may not be read: {why}");
        Error::new(InputFault::Denied, text)
    };
    match Refusal::of(code) {
        Some(Refusal::Requester(why, advice)) => Some(Error {
            advice,
            ..refused(why)
        }),
        Some(Refusal::Permission) => Some(denied(shown, sent)),
        Some(Refusal::Elsewhere) => Some(elsewhere(shown)),
        Some(Refusal::NoBucket) => Some(Error::new(
            InputFault::Missing,
            format!("there is no such bucket: `{shown}`"),
        )),
        Some(Refusal::Busy) => Some(unavailable(shown, &format!("the store answers `{code}`"))),
        None => match code {
            "InvalidObjectState" | "BlobArchived" => Some(Error::new(
                InputFault::Denied,
                format!("`{shown}` is archived and cannot be read now; restore it first"),
            )),
            // Azure's answer to requests without credentials, whether or not the container exists.
            "ResourceNotFound" if sent == Sent::Unsigned => Some(Error::new(
                InputFault::Missing,
                format!("there is nothing at `{shown}` that may be read without credentials"),
            )),
            _ => None,
        },
    }
}

/// What the system said, where it said something.
pub(crate) fn system_error(error: &object_store::Error) -> Option<&io::Error> {
    sources(error)
        .find_map(|source| source.downcast_ref::<io::Error>())
        .filter(|error| error.raw_os_error().is_some() || error.kind() != io::ErrorKind::Other)
}

/// The innermost cause in one line. Outer errors are left out because they repeat URLs with their
/// queries, which may contain credentials.
pub(crate) fn root_cause(error: &object_store::Error) -> String {
    let text = sources(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string);
    let line = text.lines().next().unwrap_or_default();
    let safe: Vec<&str> = line
        .split(' ')
        .map(|word| word.split_once('?').map_or(word, |(before, _)| before))
        .collect();
    cut(safe.join(" "), REASON_BYTES_MAX)
}
/// What errors of the file system are told apart by.
pub(crate) const FILE: &str = "file";

/// What the system said of a file that was to be read.
pub(crate) fn told(shown: &str, error: &io::Error) -> Error {
    let errno = Errno::from_io_error(error);
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::new(
            InputFault::Missing,
            format!("there is nothing at `{shown}`"),
        ),
        io::ErrorKind::PermissionDenied => Error::new(
            InputFault::Denied,
            format!("`{shown}` may not be read; check the file's permissions"),
        ),
        io::ErrorKind::IsADirectory => not_regular(shown),
        io::ErrorKind::InvalidFilename => Error::new(
            InputFault::Malformed,
            format!("`{shown}` is not a name that the file system accepts"),
        ),
        // A socket, or a device that is not there.
        _ if matches!(errno, Some(Errno::NXIO | Errno::NODEV)) => not_regular(shown),
        _ if errno == Some(Errno::LOOP) => Error::new(
            InputFault::Malformed,
            format!("`{shown}` is a link that leads in a circle, or through too many others"),
        ),
        _ if is_shortage(error) => Error::short(shown, &error.to_string()),
        _ => Error::new(
            InputFault::Unavailable,
            format!("failed to read `{shown}`: {error}"),
        ),
    }
}

/// A link whose target is not there.
pub(crate) fn dangling(shown: &str) -> Error {
    Error::new(
        InputFault::Missing,
        format!("`{shown}` is a link that leads to nothing"),
    )
}

pub(crate) fn not_regular(shown: &str) -> Error {
    Error::new(
        InputFault::Malformed,
        format!(
            "`{shown}` is not a regular file; its content must be there to be read more than once"
        ),
    )
}
