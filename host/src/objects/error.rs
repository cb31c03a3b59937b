//! What can go wrong with an object, in one line that says what to do.
//!
//! Stores say what is wrong in the body of an answer, which `object_store` hands on as text inside of its errors; its type of them cannot be
//! named. So the text is looked through for the two parts that all of these services have: the status and the code. Nothing else of a body is
//! ever shown, and of an address nothing from its query on.

use object_store::client::{HttpError, HttpErrorKind};
use sortie_protocol::outcome::{InputFault, cut};

use super::stores::Identity;

/// What an answer that is an error begins with, as `object_store` prints it.
const ANSWERED: &str = "Server returned non-2xx status code: ";
/// The longest reason that is shown.
const REASON_BYTES_MAX: usize = 300;
/// The longest code or region that is believed.
const WORD_BYTES_MAX: usize = 64;

/// An object could not be found, opened or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What kind of trouble it is.
    pub fault: InputFault,
    /// Which object, and what is wrong, in one line without credentials.
    pub message: String,
}

impl Error {
    pub(super) fn new(fault: InputFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }

    /// What a store's error means for the object that is shown as `shown`.
    pub(super) fn from_store(shown: &str, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        let answer = Answer::of(error);
        if let Some(known) = answer.as_ref().and_then(|answer| by_code(shown, answer)) {
            return known;
        }
        match error {
            E::NotFound { .. } => Self::new(InputFault::Missing, format!("there is nothing at `{shown}`")),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Self::new(InputFault::Denied, format!("`{shown}` may not be read; check the credentials and the file's permissions"))
            }
            E::Precondition { .. } | E::NotModified { .. } => Self::new(
                InputFault::Changed,
                format!("`{shown}` was replaced after it was first seen; submit it again to read what is there now"),
            ),
            E::InvalidPath { .. } => Self::new(InputFault::Malformed, format!("`{shown}` is not a name that the store accepts")),
            other if denied_by_system(other) => {
                Self::new(InputFault::Denied, format!("`{shown}` may not be read; check the file's permissions"))
            }
            other => match answer {
                Some(answer) => by_status(shown, &answer),
                None => Self::new(InputFault::Unavailable, format!("failed to read `{shown}`: {}", unanswered(other))),
            },
        }
    }

    /// With what there is to say of who asked.
    pub(super) fn asked_by(self, identity: Identity) -> Self {
        match (self.fault, identity) {
            (InputFault::Denied, Identity::None) => {
                Self { message: format!("{} (no credentials were found, so requests are not signed)", self.message), ..self }
            }
            _ => self,
        }
    }
}

/// An answer that is an error.
struct Answer {
    /// As in `403 Forbidden`.
    status: String,
    /// The service's word for it, as in `AccessDenied`.
    code: Option<String>,
    /// Where the bucket is, if the service says so.
    region: Option<String>,
    has_body: bool,
}

impl Answer {
    fn of(error: &object_store::Error) -> Option<Self> {
        let text = sources(error).map(ToString::to_string).find(|text| text.starts_with(ANSWERED))?;
        let (status, body) = text.strip_prefix(ANSWERED)?.split_once(": ").unwrap_or_default();
        Some(Self {
            status: cut(status.to_owned(), WORD_BYTES_MAX),
            code: element(body, "Code"),
            region: element(body, "Region"),
            has_body: !body.trim().is_empty(),
        })
    }
}

/// The text of an XML element, if it is a word.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    let is_word =
        !text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    is_word.then(|| text.to_owned())
}

/// Whether an answer to a question about an object says less than one to a read would: answers to `HEAD` have no body.
pub(super) fn is_silent(error: &object_store::Error) -> bool {
    Answer::of(error).is_some_and(|answer| !answer.has_body && answer.status.starts_with(['3', '4']) && !answer.status.starts_with("412"))
        || is_bare_redirect(error)
}

/// Whether the answer to a read says more than the one before.
pub(super) fn says_more(error: &object_store::Error) -> bool {
    Answer::of(error).is_some_and(|answer| answer.has_body && !answer.status.starts_with("416"))
}

/// Whether an answer began well and broke off.
pub(super) fn is_broken_off(error: &object_store::Error) -> bool {
    Answer::of(error).is_none() && sources(error).any(|source| source.is::<HttpError>())
}

/// What the codes mean that S3 and those who speak like it, Google's and Azure's stores use.
fn by_code(shown: &str, answer: &Answer) -> Option<Error> {
    use InputFault as F;
    let (fault, message) = match answer.code.as_deref()? {
        "NoSuchBucket" | "ContainerNotFound" => {
            (F::Missing, format!("the bucket of `{shown}` does not exist; check its name, and that the endpoint is the right one"))
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            (F::Denied, format!("`{shown}` may not be read: the credentials have expired; get new ones and start again"))
        }
        "InvalidAccessKeyId" | "InvalidToken" | "UnrecognizedClientException" => (
            F::Denied,
            format!("`{shown}` may not be read: the store does not know these credentials; check the access key id and the endpoint"),
        ),
        "SignatureDoesNotMatch" | "AuthenticationFailed" | "InvalidAuthenticationInfo" => {
            (F::Denied, format!("`{shown}` may not be read: the signature does not fit; check the secret key"))
        }
        "RequestTimeTooSkewed" => (F::Denied, format!("`{shown}` may not be read: this machine's clock is wrong; set it")),
        "AccessDenied" | "AllAccessDisabled" | "AuthorizationPermissionMismatch" | "PublicAccessNotPermitted" => (
            F::Denied,
            format!(
                "`{shown}` may not be read: the store denies it to these credentials; they need the right to read and, for patterns, to list"
            ),
        ),
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            (F::Malformed, elsewhere(shown, answer.region.as_deref()))
        }
        _ => return None,
    };
    Some(Error::new(fault, message))
}

fn elsewhere(shown: &str, region: Option<&str>) -> String {
    let region = region.map_or_else(|| "its region".to_owned(), |region| format!("the region `{region}`"));
    format!("the bucket of `{shown}` is in another region or at another endpoint; set {region}, and the endpoint if it has one")
}

/// What is left to say of an answer without a code that is known.
fn by_status(shown: &str, answer: &Answer) -> Error {
    if answer.status.starts_with('3') {
        return Error::new(InputFault::Malformed, elsewhere(shown, answer.region.as_deref()));
    }
    let code = answer.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    Error::new(InputFault::Unavailable, format!("failed to read `{shown}`: the store answered {}{code}", answer.status))
}

/// Why there is no answer.
fn unanswered(error: &object_store::Error) -> String {
    if is_bare_redirect(error) {
        return "the store sends elsewhere without saying where; check the region and the endpoint".into();
    }
    let kind = sources(error).find_map(|source| source.downcast_ref::<HttpError>()).map(HttpError::kind);
    match kind {
        Some(HttpErrorKind::Connect) => format!("its server cannot be reached ({}); check the endpoint and the network", root_cause(error)),
        Some(HttpErrorKind::Timeout) => "its server did not answer in time".into(),
        _ => root_cause(error),
    }
}

fn is_bare_redirect(error: &object_store::Error) -> bool {
    sources(error).any(|source| source.to_string().starts_with("Received redirect without LOCATION"))
}

fn denied_by_system(error: &object_store::Error) -> bool {
    sources(error).any(|source| source.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied))
}

fn sources<'a>(error: &'a object_store::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: &str, body: &str) -> object_store::Error {
        let source = std::io::Error::other(format!("{ANSWERED}{status}: {body}"));
        object_store::Error::Generic { store: "S3", source: Box::new(source) }
    }

    fn code(code: &str, more: &str) -> String {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>secret</Message>{more}</Error>")
    }

    #[test]
    fn codes_say_what_to_do() {
        for (word, more, fault, part) in [
            ("NoSuchBucket", "", InputFault::Missing, "bucket of `s3://b/k` does not exist"),
            ("ExpiredToken", "", InputFault::Denied, "have expired"),
            ("InvalidAccessKeyId", "", InputFault::Denied, "access key id"),
            ("SignatureDoesNotMatch", "", InputFault::Denied, "secret key"),
            ("RequestTimeTooSkewed", "", InputFault::Denied, "clock"),
            ("AccessDenied", "", InputFault::Denied, "to list"),
            ("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", InputFault::Malformed, "the region `eu-west-1`"),
            ("PermanentRedirect", "", InputFault::Malformed, "its region"),
            ("Strange", "", InputFault::Unavailable, "the store answered 400 Bad Request (Strange)"),
            ("<b>Strange</b>", "", InputFault::Unavailable, "the store answered 400 Bad Request"),
        ] {
            let error = Error::from_store("s3://b/k", &answer("400 Bad Request", &code(word, more)));
            assert_eq!(error.fault, fault, "{word}");
            assert!(error.message.contains(part) && !error.message.contains("secret"), "{word}: {error}");
            assert!(!error.message.contains('\n'), "{error}");
        }
    }

    #[test]
    fn answers_without_a_body_are_silent() {
        assert!(is_silent(&answer("403 Forbidden", "")) && is_silent(&answer("301 Moved Permanently", "")));
        assert!(!is_silent(&answer("403 Forbidden", "<Error/>")) && !is_silent(&answer("500 Internal Server Error", "")));
        assert!(!is_silent(&answer("412 Precondition Failed", "")));
        assert!(says_more(&answer("403 Forbidden", "<Error/>")) && !says_more(&answer("416 Range Not Satisfiable", "<Error/>")));
    }

    #[test]
    fn queries_are_not_shown() {
        let source = std::io::Error::other("failed to ask http://host/path?signature=secret for it\nsecond line");
        let error = object_store::Error::Generic { store: "HTTP", source: Box::new(source) };
        let message = Error::from_store("x", &error).message;
        assert_eq!(message, "failed to read `x`: failed to ask http://host/path for it");
    }
}
