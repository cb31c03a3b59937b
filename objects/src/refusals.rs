//! What a store's own error codes mean, whatever was asked: who is refused, and why.
//!
//! Only codes that say more than the status of the answer are here. What they come to for a reader
//! is for [`crate::error`] to say, and for a writer for [`crate::write_error`].

use sortie_protocol::{Advice, Cloud};

use crate::stores::notes::{CODE, PAID, UNSIGNED};

/// What a store says with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not accept who asks: the reason, and what could be done.
    Requester(&'static str, Option<Advice>),
    /// It knows who asks, who may not do that.
    Permission,
    /// The bucket is in another region, or behind another address.
    Elsewhere,
    /// There is no such bucket.
    NoBucket,
    /// It cannot do it now.
    Busy,
}

/// Codes about the requester, each with the reason, which stands behind a colon.
const REQUESTER: [(&[&str], &str); 9] = [
    (
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "TokenRefreshRequired",
        ],
        "the credentials have expired; renew them",
    ),
    (
        &["InvalidAccessKeyId", "InvalidToken", "InvalidClientTokenId"],
        "the store does not know these credentials",
    ),
    (
        &["SignatureDoesNotMatch"],
        "the secret key of the credentials is wrong, or the region is",
    ),
    (
        &["RequestTimeTooSkewed"],
        "this machine's clock is wrong, so the credentials do not count",
    ),
    (
        &["AuthenticationFailed", "InvalidAuthenticationInfo"],
        "the store does not accept the credentials; the key or the signature is wrong or has \
         expired",
    ),
    (&["AccountIsDisabled"], "the storage account is disabled"),
    (
        &["UserProjectMissing"],
        "the requester has to pay; name the project that does, and have credentials",
    ),
    (
        &[
            "UserProjectAccessDenied",
            "UserProjectAccountProblem",
            "UserProjectInvalid",
        ],
        "the project that is named cannot pay for it; check its name, its billing and what the \
         credentials may do there",
    ),
    (
        &["InvalidIdentityToken", "IDPRejectedClaim"],
        "the web identity's token is not accepted; check it and the role",
    ),
];

impl Refusal {
    /// What this code says, if it is one that says something.
    pub(crate) fn of(code: &str) -> Option<Self> {
        let known = REQUESTER.iter().find(|(codes, _)| codes.contains(&code));
        if let Some((_, why)) = known {
            let is_payers = code.starts_with("UserProject");
            let advice = is_payers.then_some(Advice::SetPayer { cloud: Cloud::Gs });
            return Some(Self::Requester(why, advice));
        }
        Some(match code {
            "NoSuchBucket" | "ContainerNotFound" => Self::NoBucket,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => Self::Elsewhere,
            "AccessDenied"
            | "AllAccessDisabled"
            | "AccountProblem"
            | "AuthorizationPermissionMismatch"
            | "AuthorizationFailure"
            | "InsufficientAccountPermissions"
            | "NoAuthenticationInformation"
            | "PublicAccessNotPermitted" => Self::Permission,
            "SlowDown" | "InternalError" | "ServiceUnavailable" | "ServerBusy"
            | "OperationTimedOut" => Self::Busy,
            _ => return None,
        })
    }
}

/// The causes of an error of a store, from the outermost.
pub(crate) fn sources<'a>(
    error: &'a object_store::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let first: Option<&'a (dyn std::error::Error + 'static)> = std::error::Error::source(error);
    std::iter::successors(first, |source| source.source())
}

/// The store's own code in an error, if it has one.
pub(crate) fn code_of(error: &object_store::Error) -> Option<String> {
    let said = sources(error)
        .map(ToString::to_string)
        .find(|text| text.contains(CODE))?;
    let (_, code) = said.rsplit_once(CODE)?;
    Some(
        code.chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect(),
    )
}

/// How a refused request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Without credentials.
    Unsigned,
    /// Signed, by a requester that pays.
    Paid,
    /// Signed.
    Signed,
}

impl Sent {
    pub(crate) fn of(error: &object_store::Error) -> Self {
        let said = |mark: &str| sources(error).any(|source| source.to_string().contains(mark));
        match (said(UNSIGNED), said(PAID)) {
            (true, _) => Self::Unsigned,
            (false, true) => Self::Paid,
            (false, false) => Self::Signed,
        }
    }
}
