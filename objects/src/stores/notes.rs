//! Markers that the HTTP client and the credentials add to requests and errors, and error texts are
//! made from.

/// Precedes the store's error code in error texts.
pub(crate) const CODE: &str = "the store's code: ";
/// Marks an error of a request that was sent without credentials.
pub(crate) const UNSIGNED: &str = "(sent without credentials)";
/// Marks an error of a request whose sender pays.
pub(crate) const PAID: &str = "(sent with the will to pay)";

/// Placeholder for absent credentials: requests with it are sent unsigned.
pub(crate) const NOBODY: &str = "nobody";

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    /// The service answered and refused.
    #[error("{0}")]
    Refused(String),
    /// The service did not answer, or not properly; a retry may help.
    #[error("{0}")]
    Silent(String),
}
