//! What is wrong with an object, from what its store said.
//!
//! One line that names the object, says what is the matter and what to do, and nothing of what was sent: no credentials, no signatures, no
//! query of a URL. Whether trying again can help follows from the kind.

use sortie_protocol::outcome::{InputFault, cut};

use super::connector::CODE;

/// An object could not be found, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of trouble it is.
    pub fault: InputFault,
    /// Which object, and what is wrong, in one line without credentials.
    pub message: String,
}

/// The longest reason that is passed on.
const REASON_BYTES_MAX: usize = 300;

impl Error {
    pub(super) fn new(fault: InputFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    /// Whether the same question, asked in another way, would say more: an answer without a body has no code.
    pub(super) fn is_vague(error: &object_store::Error) -> bool {
        use object_store::Error as E;
        let refused = matches!(error, E::NotFound { .. } | E::PermissionDenied { .. } | E::Unauthenticated { .. } | E::Generic { .. });
        refused && code_of(error).is_none() && root_cause(error).starts_with("Server returned")
    }

    pub(super) fn from_store(shown: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        if let Some(told) = code_of(error).and_then(|code| by_code(shown, &code)) {
            return told;
        }
        match error {
            E::NotFound { .. } => Self::new(InputFault::Missing, format!("there is nothing at `{shown}`")),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => denied(shown),
            E::Precondition { .. } | E::NotModified { .. } => {
                Self::new(InputFault::Changed, format!("`{shown}` was replaced after it was listed or first read"))
            }
            E::InvalidPath { .. } => Self::new(InputFault::Malformed, format!("`{shown}` is not a name that the store accepts")),
            other if denied_by_system(other) => {
                Self::new(InputFault::Denied, format!("`{shown}` may not be read; check the file's permissions"))
            }
            other => {
                let cause = root_cause(other);
                if cause.starts_with("Received redirect") { elsewhere(shown) } else { unavailable(shown, &cause) }
            }
        }
    }
}

fn denied(shown: &str) -> Error {
    Error::new(InputFault::Denied, format!("`{shown}` may not be read; check the credentials and the file's permissions"))
}

fn elsewhere(shown: &str) -> Error {
    let message = format!(
        "`{shown}` is in another region or at another endpoint, and the store's redirect is not followed; set the region (AWS_REGION) or the endpoint"
    );
    Error::new(InputFault::Denied, message)
}

fn unavailable(shown: &str, cause: &str) -> Error {
    Error::new(InputFault::Unavailable, format!("failed to read `{shown}`: {cause}"))
}

/// What a store's own code means, if it says more than the status does.
fn by_code(shown: &str, code: &str) -> Option<Error> {
    let error = |fault, message: String| Some(Error::new(fault, message));
    match code {
        "NoSuchBucket" | "ContainerNotFound" => error(InputFault::Missing, format!("there is no such bucket: `{shown}`")),
        "ExpiredToken" | "RequestExpired" | "TokenRefreshRequired" => {
            error(InputFault::Denied, format!("`{shown}` may not be read: the credentials have expired; renew them"))
        }
        "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId" => {
            error(InputFault::Denied, format!("`{shown}` may not be read: the store does not know these credentials"))
        }
        "SignatureDoesNotMatch" => {
            error(InputFault::Denied, format!("`{shown}` may not be read: the secret key of the credentials is wrong, or the region is"))
        }
        "RequestTimeTooSkewed" => {
            error(InputFault::Denied, format!("`{shown}` may not be read: this machine's clock is wrong, so the credentials do not count"))
        }
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            Some(elsewhere(shown))
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Some(denied(shown)),
        "InvalidObjectState" => error(InputFault::Denied, format!("`{shown}` is archived and cannot be read now; restore it first")),
        "SlowDown" | "InternalError" | "ServiceUnavailable" => Some(unavailable(shown, &format!("the store answers `{code}`"))),
        _ => None,
    }
}

fn code_of(error: &object_store::Error) -> Option<String> {
    let said = sources(error).map(ToString::to_string).find(|text| text.contains(CODE))?;
    let (_, code) = said.rsplit_once(CODE)?;
    Some(code.chars().take_while(char::is_ascii_alphanumeric).collect())
}

fn denied_by_system(error: &object_store::Error) -> bool {
    sources(error).any(|source| source.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied))
}

pub(super) fn sources<'a>(error: &'a object_store::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: Option<&'a (dyn std::error::Error + 'static)> = std::error::Error::source(error);
    std::iter::successors(first, |source| source.source())
}

/// The innermost reason, in one line, without what may hold credentials: outer errors repeat URLs with their queries.
pub(super) fn root_cause(error: &object_store::Error) -> String {
    let text = sources(error).last().map_or_else(|| error.to_string(), ToString::to_string);
    let line = text.lines().next().unwrap_or_default();
    let safe: Vec<&str> = line.split(' ').map(|word| word.split_once('?').map_or(word, |(before, _)| before)).collect();
    cut(safe.join(" "), REASON_BYTES_MAX)
}
