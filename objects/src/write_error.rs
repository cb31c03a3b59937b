//! Errors of writing objects, derived from the stores' errors and the file system's.
//!
//! A message is one line that names the object, the problem and what to do, and contains nothing
//! that was sent. The kind tells whether the place is wrong, the requester may not write there,
//! there is no room, or a retry can help.

#![warn(clippy::wildcard_enum_match_arm)]

use std::io;

use sortie_protocol::Advice;

use crate::Error;
use crate::error::{ELSEWHERE, NO_CREDENTIALS, is_redirect, root_cause, system_error};
use crate::refusals::{Refusal, Sent, code_of, sources};
use crate::shortage::has_shortage;
use crate::stores::notes::Trouble;

/// The kind of a [`WriteError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteFault {
    /// The bucket does not exist, or the location cannot be written to.
    NoPlace,
    /// Permission denied.
    Denied,
    /// No space left.
    Full,
    /// The object is larger than the store allows.
    TooLarge,
    /// The tenant has as much in the store as it may have.
    Quota,
    /// The store does not answer, or a transient error occurred; a retry may help.
    Unavailable,
}

/// An object could not be written or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// The kind of error.
    pub fault: WriteFault,
    /// The location, the problem and what to do, in one line without credentials.
    pub message: String,
    /// What could be done, if known. Not part of outcomes.
    pub advice: Option<Advice>,
    /// See [`WriteError::is_shortage`].
    shortage: bool,
}

impl WriteError {
    /// An error of this kind.
    #[must_use]
    pub fn new(fault: WriteFault, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            advice: None,
            shortage: false,
        }
    }

    /// The same, with advice.
    #[must_use]
    pub(crate) fn advised(self, advice: impl Into<Option<Advice>>) -> Self {
        Self {
            advice: advice.into(),
            ..self
        }
    }

    /// Whether this machine had too little of something (disk, descriptors, memory). What a store
    /// refuses is none.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        self.shortage
    }

    /// What is wrong, for the function that writes: it does not learn where the store is.
    #[must_use]
    pub fn for_guest(&self) -> &'static str {
        match self.fault {
            WriteFault::NoPlace => {
                "there is no store that takes the objects that functions write; the host's \
                 operator can configure one"
            }
            WriteFault::Denied => "the store for objects that functions make may not be written to",
            WriteFault::Full => "the store has no room left",
            WriteFault::TooLarge => "the store takes no object as large as this; make several",
            WriteFault::Quota => "the store has no room left for this tenant",
            WriteFault::Unavailable => "the store does not take the object now",
        }
    }

    /// A location that no store is at.
    pub(crate) fn no_place(error: Error) -> Self {
        Self::new(WriteFault::NoPlace, error.message).advised(error.advice)
    }

    pub(crate) fn from_store(shown: &str, error: &object_store::Error) -> Self {
        if let Some(trouble) = sources(error).find_map(|source| source.downcast_ref::<Trouble>()) {
            let fault = match trouble {
                Trouble::Refused(_) => WriteFault::Denied,
                Trouble::Silent(_) => WriteFault::Unavailable,
            };
            return Self::new(fault, format!("`{shown}` may not be written to: {trouble}"));
        }
        let told = code_of(error).and_then(|code| by_code(shown, &code, Sent::of(error)));
        Self {
            shortage: has_shortage(sources(error)),
            ..told.unwrap_or_else(|| by_kind(shown, error))
        }
    }
}

/// The error for a store's own error code, if the code says more than the status of the answer.
fn by_code(shown: &str, code: &str, sent: Sent) -> Option<WriteError> {
    use WriteFault as F;
    Some(match Refusal::of(code) {
        Some(Refusal::Requester(why, advice)) => {
            WriteError::new(F::Denied, format!("`{shown}` may not be written to: {why}"))
                .advised(advice)
        }
        Some(Refusal::Permission) => denied(shown, sent),
        Some(Refusal::Elsewhere) => elsewhere(shown),
        Some(Refusal::NoBucket) => no_bucket(shown),
        Some(Refusal::Busy) => unavailable(shown, &format!("the store answers `{code}`")),
        None => match code {
            // Of Ceph and MinIO; Amazon has no quotas.
            "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded" | "XMinioStorageFull" => {
                WriteError::new(
                    F::Full,
                    format!(
                        "the store has no room for `{shown}` (`{code}`); have what is not needed \
                         removed, or choose another place"
                    ),
                )
            }
            "EntityTooLarge" | "RequestBodyTooLarge" => WriteError::new(
                F::TooLarge,
                format!("`{shown}` is larger than the store allows; write several smaller ones"),
            ),
            "KeyTooLongError" | "InvalidBucketName" => no_name(shown),
            "MethodNotAllowed" | "NotImplemented" => not_offered(shown),
            "NoSuchUpload" => unavailable(
                shown,
                "the store has dropped the parts that it had; unfinished uploads may be removed \
                 there too early",
            ),
            "NoSuchKey" | "BlobNotFound" => {
                unavailable(shown, "what was to become it is not in the store any more")
            }
            _ => return None,
        },
    })
}

/// The error for what the library or the file system says.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's errors are open, and what is left has its text"
)]
fn by_kind(shown: &str, error: &object_store::Error) -> WriteError {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => no_bucket(shown),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => denied(shown, Sent::of(error)),
        E::InvalidPath { .. } => no_name(shown),
        E::NotSupported { .. } | E::NotImplemented { .. } => not_offered(shown),
        // A request that failed in the network has one, too; only what a file system says is for
        // the reader to mend.
        other => match system_error(other).filter(|error| error.raw_os_error().is_some()) {
            Some(error) => from_system(shown, error),
            None => match root_cause(other) {
                cause if is_redirect(&cause) => elsewhere(shown),
                cause => unavailable(shown, &cause),
            },
        },
    }
}

fn denied(shown: &str, sent: Sent) -> WriteError {
    let why = match sent {
        Sent::Unsigned => NO_CREDENTIALS,
        Sent::Signed | Sent::Paid => "check the credentials and what they may do",
    };
    WriteError::new(
        WriteFault::Denied,
        format!("`{shown}` may not be written to; {why}"),
    )
}

fn elsewhere(shown: &str) -> WriteError {
    WriteError::new(WriteFault::Denied, format!("`{shown}` {ELSEWHERE}")).advised(Advice::SetRegion)
}

fn no_bucket(shown: &str) -> WriteError {
    WriteError::new(
        WriteFault::NoPlace,
        format!("`{shown}` cannot be written to: there is no such bucket; create it first"),
    )
}

fn no_name(shown: &str) -> WriteError {
    WriteError::new(
        WriteFault::NoPlace,
        format!("`{shown}` is not a name that the store accepts; choose another"),
    )
}

fn not_offered(shown: &str) -> WriteError {
    WriteError::new(
        WriteFault::NoPlace,
        format!(
            "`{shown}` cannot be written to: the store does not offer it; choose another place"
        ),
    )
}

fn unavailable(shown: &str, cause: &str) -> WriteError {
    WriteError::new(
        WriteFault::Unavailable,
        format!("failed to write `{shown}`: {cause}"),
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the system's errors are open, and what is left has its text"
)]
fn from_system(shown: &str, error: &io::Error) -> WriteError {
    use io::ErrorKind as K;
    let (fault, message) = match error.kind() {
        K::PermissionDenied => (
            WriteFault::Denied,
            format!("`{shown}` may not be written to; check the permissions of its folder"),
        ),
        K::ReadOnlyFilesystem => (
            WriteFault::Denied,
            format!("`{shown}` is on a read-only file system; choose another place"),
        ),
        K::StorageFull | K::QuotaExceeded => (
            WriteFault::Full,
            format!("there is no room left for `{shown}`; free some, or choose another place"),
        ),
        K::FileTooLarge => (
            WriteFault::TooLarge,
            format!("`{shown}` is larger than its file system allows; choose another place"),
        ),
        K::IsADirectory => (
            WriteFault::NoPlace,
            format!("`{shown}` is a folder; name a file in it"),
        ),
        K::NotADirectory | K::AlreadyExists => (
            WriteFault::NoPlace,
            format!(
                "`{shown}` cannot be written to: a part of its path is a file; choose another place"
            ),
        ),
        K::InvalidFilename => (
            WriteFault::NoPlace,
            format!("`{shown}` is not a name that the file system accepts; choose another"),
        ),
        _ => return unavailable(shown, &error.to_string()),
    };
    WriteError::new(fault, message)
}

#[cfg(test)]
mod tests {
    use crate::stores::notes::{CODE, UNSIGNED};

    use super::*;

    fn said(error: impl std::error::Error + Send + Sync + 'static) -> (WriteFault, String) {
        let error = WriteError::from_store(
            "s3://bucket/key",
            &object_store::Error::Generic {
                store: "test",
                source: Box::new(error),
            },
        );
        (error.fault, error.message)
    }

    #[test]
    fn what_is_wrong_with_a_place_is_named_with_what_to_do() {
        let system =
            |code: rustix::io::Errno| said(io::Error::from_raw_os_error(code.raw_os_error()));
        for (code, fault, text) in [
            (rustix::io::Errno::NOSPC, WriteFault::Full, "no room left"),
            (rustix::io::Errno::DQUOT, WriteFault::Full, "no room left"),
            (
                rustix::io::Errno::ACCESS,
                WriteFault::Denied,
                "check the permissions",
            ),
            (rustix::io::Errno::ROFS, WriteFault::Denied, "read-only"),
            (
                rustix::io::Errno::NOTDIR,
                WriteFault::NoPlace,
                "a part of its path is a file",
            ),
            (rustix::io::Errno::ISDIR, WriteFault::NoPlace, "is a folder"),
            (
                rustix::io::Errno::NAMETOOLONG,
                WriteFault::NoPlace,
                "not a name",
            ),
            (
                rustix::io::Errno::FBIG,
                WriteFault::TooLarge,
                "larger than its file system allows",
            ),
            (
                rustix::io::Errno::IO,
                WriteFault::Unavailable,
                "failed to write",
            ),
        ] {
            let (found, message) = system(code);
            assert_eq!(found, fault, "{message}");
            assert!(
                message.contains(text) && message.contains("`s3://bucket/key`"),
                "{message}"
            );
        }
        let not_found = object_store::Error::NotFound {
            path: "key".into(),
            source: "NoSuchBucket".into(),
        };
        let error = WriteError::from_store("s3://bucket/key", &not_found);
        assert_eq!(
            (error.fault, error.message.contains("no such bucket")),
            (WriteFault::NoPlace, true),
            "{error}"
        );
    }

    #[test]
    fn queries_are_not_repeated() {
        let (_, message) = said(io::Error::other(
            "error for https://host/key?X-Amz-Signature=secret",
        ));
        assert!(!message.contains("secret"), "{message}");
    }

    /// What a store's answer with this status and code comes to.
    fn answered(status: u16, said: &str) -> WriteError {
        let source = || said.to_owned().into();
        let (path, store) = (String::new(), "S3");
        let error = match status {
            403 => object_store::Error::PermissionDenied {
                path,
                source: source(),
            },
            404 => object_store::Error::NotFound {
                path,
                source: source(),
            },
            _ => object_store::Error::Generic {
                store,
                source: source(),
            },
        };
        WriteError::from_store("s3://bucket/key", &error)
    }

    #[test]
    fn what_a_store_refuses_is_told_by_its_code_and_is_no_shortage() {
        use WriteFault::{Denied, Full, NoPlace, TooLarge, Unavailable};
        for (status, code, fault, text) in [
            (403, "AccessDenied", Denied, "may do"),
            (403, "RequestTimeTooSkewed", Denied, "clock is wrong"),
            (400, "ExpiredToken", Denied, "have expired"),
            (403, "SignatureDoesNotMatch", Denied, "secret key"),
            (301, "PermanentRedirect", Denied, "another region"),
            (
                400,
                "AuthorizationHeaderMalformed",
                Denied,
                "another region",
            ),
            (404, "NoSuchBucket", NoPlace, "no such bucket"),
            (404, "NoSuchUpload", Unavailable, "dropped the parts"),
            (403, "QuotaExceeded", Full, "no room"),
            (400, "EntityTooLarge", TooLarge, "larger than"),
            (405, "MethodNotAllowed", NoPlace, "does not offer"),
            (503, "SlowDown", Unavailable, "answers `SlowDown`"),
        ] {
            let error = answered(status, &format!("{CODE}{code}"));
            assert_eq!(error.fault, fault, "{code}: {error}");
            assert!(error.message.contains(text), "{code}: {error}");
            assert!(!error.is_shortage(), "{code}");
            let advice = (text == "another region").then_some(Advice::SetRegion);
            assert_eq!(error.advice, advice, "{code}");
        }
        let unsigned = answered(403, &format!("{CODE}AccessDenied {UNSIGNED}"));
        assert!(unsigned.message.contains("no credentials"), "{unsigned}");
        let elsewhere = answered(301, "Received redirect without LOCATION");
        assert_eq!(elsewhere.advice, Some(Advice::SetRegion), "{elsewhere}");
    }

    #[test]
    fn a_full_disk_is_a_shortage_of_this_machine() {
        for (code, is) in [
            (rustix::io::Errno::NOSPC, true),
            (rustix::io::Errno::MFILE, true),
            (rustix::io::Errno::ACCESS, false),
        ] {
            let error = WriteError::from_store(
                "file:///a",
                &object_store::Error::Generic {
                    store: "file",
                    source: Box::new(io::Error::from(code)),
                },
            );
            assert_eq!(error.is_shortage(), is, "{error}");
        }
    }
}
