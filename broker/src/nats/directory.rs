//! The names of tasks: one message each, on a subject with the digest of the name.

use sortie_protocol::envelope::{self, Message};
use sortie_protocol::{Published, TaskName, TenantId};

use super::batch_read;
use super::headers::replacing_any;
use super::jetstream::JetStream;
use super::names::Names;
use super::provision::Provisioner;
use crate::traits::Error;

/// The names of a tenant's tasks.
#[derive(Debug)]
pub(super) struct TaskNames {
    jetstream: JetStream,
    names: Names,
    tenant: TenantId,
}

impl TaskNames {
    pub(super) fn new(provisioner: &Provisioner, tenant: TenantId) -> Self {
        Self {
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
            tenant,
        }
    }

    pub(super) async fn publish(&self, published: &Published) -> Result<(), Error> {
        let subject = self.names.published(&self.tenant, &published.name);
        let payload = envelope::published(published);
        match self
            .jetstream
            .store(&subject, &replacing_any(), &payload)
            .await?
        {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    pub(super) async fn find(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        let stream = self.names.graphs_stream(&self.tenant);
        let subject = self.names.published(&self.tenant, name);
        let reading = || self.jetstream.last(&stream, &subject);
        let last = self.jetstream.connection.patiently(reading).await?;
        let published = last.and_then(|kept| parse(&kept.payload));
        Ok(published.filter(|published| published.name == *name))
    }

    pub(super) async fn all(&self) -> Result<Vec<Published>, Error> {
        let stream = self.names.graphs_stream(&self.tenant);
        let filter = self.names.all_published(&self.tenant);
        let connection = &self.jetstream.connection;
        let reading = || batch_read::read_all(connection, &stream, &filter);
        let read = connection.patiently(reading).await?;
        let mut all: Vec<_> = read
            .iter()
            .filter_map(|read| parse(&read.payload))
            .collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    pub(super) async fn remove(&self, name: &TaskName) -> Result<(), Error> {
        let stream = self.names.graphs_stream(&self.tenant);
        let subject = self.names.published(&self.tenant, name);
        let purging = || self.jetstream.purge(&stream, &subject);
        self.jetstream.connection.patiently(purging).await
    }
}

fn parse(payload: &[u8]) -> Option<Published> {
    match envelope::decode(payload) {
        Ok(Message::Published(published)) => Some(published),
        Ok(_) | Err(_) => None,
    }
}
