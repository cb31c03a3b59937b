//! Headers of the messages that this broker stores and sends.

use async_nats::HeaderMap;

/// The header that makes a publish that comes twice count once.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header of the notice that a job was forgotten.
pub(super) const FORGOTTEN: &str = "Sortie-Forgotten";
/// The header of the notice that the submitter of an open job is there.
pub(super) const SUBMITTING: &str = "Sortie-Submitting";
/// The header for what a subject's last sequence must be.
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// The header that makes a publish conditional on the last sequence of its subject; 0 for a subject
/// that holds nothing.
pub(super) fn expecting(sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_SEQUENCE, sequence.to_string().as_str());
    headers
}

/// A header that is a number.
pub(super) fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
