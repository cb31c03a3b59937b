//! Fuzzes the messages that clients, brokers and workers exchange.

use bytes::Bytes;
use sortie_protocol::envelope::{self, Message};

use crate::memory::{at_most, measured};
use crate::seeds::golden_messages;

/// What reading a message may allocate for each of its bytes, as `sortie_protocol::envelope` says.
const MEMORY_FACTOR: usize = 100;

/// Reads a message. What is read is written and read to the same.
pub fn run(data: &[u8]) {
    let (read, bytes) = measured(|| envelope::decode(data));
    at_most(bytes, data, MEMORY_FACTOR);
    if let Ok(message) = read {
        let written = write(&message);
        assert_eq!(envelope::decode(&written).as_ref(), Ok(&message));
        assert_eq!(write(&message), written);
    }
}

/// The messages of the golden files.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    golden_messages()
}

fn write(message: &Message) -> Bytes {
    match message {
        Message::Bundle(bundle) => envelope::bundle(bundle),
        Message::Outcomes(outcomes) => envelope::outcomes(outcomes),
        Message::Cancelled => envelope::cancelled(),
        Message::Sealed(tasks) => envelope::sealed(*tasks),
        Message::Job(record) => envelope::job(record),
        Message::DeadLetter(letter) => envelope::dead_letter(letter),
        Message::Presence(presence) => envelope::presence(presence),
        Message::Manifest(manifest) => envelope::manifest(manifest),
        Message::TasksCancelled(tasks) => envelope::tasks_cancelled(tasks),
        Message::Graph(entries) => envelope::graph(entries),
        Message::Term(term) => envelope::term(term),
        Message::Published(published) => envelope::published(published),
    }
}
