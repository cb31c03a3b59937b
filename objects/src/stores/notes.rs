//! What the HTTP client and the credentials note on requests and answers, for the texts of errors.

/// Stands in front of the code, in error texts.
pub(crate) const CODE: &str = "the store's code: ";
/// Stands in error texts where a request was sent without credentials.
pub(crate) const UNSIGNED: &str = "(sent without credentials)";
/// Stands in error texts where the request said that its sender pays.
pub(crate) const PAID: &str = "(sent with the will to pay)";

/// Stands for credentials where there are none: requests that would be signed with it are not.
pub(crate) const NOBODY: &str = "nobody";

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// Somebody answered and gives none.
    #[error("{0}")]
    Refused(String),
    /// Nobody answered, or not sensibly; later it may be otherwise.
    #[error("{0}")]
    Silent(String),
}
