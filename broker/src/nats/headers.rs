//! Headers of the messages that this broker stores and sends.

use async_nats::HeaderMap;

/// JetStream's deduplication header.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header of the notice that a job was forgotten.
pub(super) const FORGOTTEN: &str = "Sortie-Forgotten";
/// Marks the heartbeat of an open job's submitter.
pub(super) const SUBMITTING: &str = "Sortie-Submitting";
/// Makes a message take the place of those before it, and what of: its subject.
const ROLLUP: (&str, &str) = ("Nats-Rollup", "sub");
/// The expected last sequence of the subject.
const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// The header that makes a publish conditional on the last sequence of its subject; 0 for a subject
/// that holds nothing.
pub(super) fn expecting(sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(EXPECTED_SEQUENCE, sequence.to_string().as_str());
    headers
}

/// As [`expecting`], for a message that takes the place of the others on its subject.
pub(super) fn replacing(sequence: u64) -> HeaderMap {
    let mut headers = expecting(sequence);
    let (name, what) = ROLLUP;
    headers.insert(name, what);
    headers
}

/// The header of a message that takes the place of the others on its subject, whatever they are.
pub(super) fn replacing_any() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let (name, what) = ROLLUP;
    headers.insert(name, what);
    headers
}

/// A header that is a number.
pub(super) fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
