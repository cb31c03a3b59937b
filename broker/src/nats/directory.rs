//! The names of tasks: one message each, on a subject with the digest of the name.

use async_nats::HeaderMap;
use async_trait::async_trait;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::{Published, TaskName};

use super::NatsBroker;
use super::batch_read;
use super::headers::ROLLUP;
use crate::traits::{Directory, Error};

fn parse(payload: &[u8]) -> Option<Published> {
    match envelope::decode(payload) {
        Ok(Message::Published(published)) => Some(published),
        Ok(_) | Err(_) => None,
    }
}

#[async_trait]
impl Directory for NatsBroker {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        let jetstream = &self.services.provisioner.jetstream;
        let (names, tenant) = (&self.services.names, &self.services.tenant);
        let subject = names.published(tenant, &published.name);
        let mut headers = HeaderMap::new();
        headers.insert(ROLLUP, "sub");
        let payload = envelope::published(&published);
        match jetstream.store(&subject, &headers, &payload).await? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(jetstream.refused(&refusal)),
        }
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        let jetstream = &self.services.provisioner.jetstream;
        let (names, tenant) = (&self.services.names, &self.services.tenant);
        let (stream, subject) = (names.graphs_stream(tenant), names.published(tenant, name));
        let reading = || jetstream.last(&stream, &subject);
        let last = self.services.connection.patiently(reading).await?;
        let published = last.and_then(|kept| parse(&kept.payload));
        Ok(published.filter(|published| published.name == *name))
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        let (names, tenant) = (&self.services.names, &self.services.tenant);
        let (stream, filter) = (names.graphs_stream(tenant), names.all_published(tenant));
        let connection = &self.services.connection;
        let reading = || batch_read::read_all(connection, &stream, &filter);
        let read = connection.patiently(reading).await?;
        let mut all: Vec<_> = read
            .iter()
            .filter_map(|read| parse(&read.payload))
            .collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        let (names, tenant) = (&self.services.names, &self.services.tenant);
        let (stream, subject) = (names.graphs_stream(tenant), names.published(tenant, name));
        let jetstream = &self.services.provisioner.jetstream;
        let purging = || jetstream.purge(&stream, &subject);
        self.services.connection.patiently(purging).await
    }
}
