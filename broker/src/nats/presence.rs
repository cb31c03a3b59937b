//! Stores workers' announcements, each for [`PRESENCE`](crate::traits::PRESENCE), and lists them.

use async_nats::HeaderMap;
use bytes::Bytes;
use sortie_protocol::Presence;
use sortie_protocol::envelope::{self, Message};

use super::batch_read;
use super::connection::Connection;
use super::jetstream::JetStream;
use super::names::Names;
use crate::traits::Error;

/// The stream of announcements.
#[derive(Debug)]
pub(super) struct Presences {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
}

impl Presences {
    /// Store a worker's announcement. Not retried: the next announcement comes soon.
    pub(super) async fn announce(&self, presence: &Presence) -> Result<(), Error> {
        let subject = self.names.worker(presence.worker);
        match self
            .jetstream
            .store_once(&subject, HeaderMap::new(), envelope::presence(presence))
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// The connected workers, ordered by id.
    pub(super) async fn list(&self) -> Result<Vec<Presence>, Error> {
        let stream = self.names.workers_stream();
        let filter = self.names.all_workers();
        let read = self
            .connection
            .patiently(|| batch_read::read_all(&self.connection, &stream, &filter))
            .await?;
        let presence = |payload: &Bytes| match envelope::decode(payload) {
            Ok(Message::Presence(presence)) => Some(presence),
            Ok(_) | Err(_) => None,
        };
        let mut workers: Vec<_> = read
            .iter()
            .filter_map(|read| presence(&read.payload))
            .collect();
        workers.sort_by_key(|presence| presence.worker);
        Ok(workers)
    }
}
