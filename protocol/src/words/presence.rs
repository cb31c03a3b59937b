//! Presence: the announcement that a worker sends every few seconds.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::WorkerId;
use crate::labels::Labels;
use crate::time::Timestamp;

/// A worker's announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Presence {
    /// The worker.
    #[n(0)]
    pub worker: WorkerId,
    /// The host name of its machine.
    #[n(1)]
    pub machine: String,
    /// Its process id.
    #[n(2)]
    pub process: u32,
    /// The version of the program.
    #[n(3)]
    pub version: String,
    /// What it has.
    #[cbor(n(4), skip_if = "Labels::is_empty")]
    pub labels: Labels,
    /// How many bundles it can process concurrently.
    #[n(5)]
    pub slots: u32,
    /// How many bundles it is processing.
    #[cbor(n(6), skip_if = "codec::is_default")]
    pub busy: u32,
    /// Whether it is draining: it takes no more bundles because it is about to end.
    #[cbor(n(7), skip_if = "codec::is_default")]
    pub draining: bool,
    /// When it started, by its own clock.
    #[n(8)]
    pub started: Timestamp,
    /// When it was announced, by the worker's own clock.
    #[n(9)]
    pub said: Timestamp,
    /// Whether it has a store for the objects that tasks make, and for large results. Workers of
    /// earlier programs do not say.
    #[n(10)]
    pub store: Option<bool>,
}
