//! Looks into the queues of tenants and empties them, for operators.

use serde::Deserialize;
use serde_json::Value;
use sortie_protocol::TenantId;

use super::provision::Provisioner;
use crate::traits::{Error, Waiting};

/// The queues of all tenants.
pub(super) struct Queues<'p> {
    pub(super) provisioner: &'p Provisioner,
    pub(super) shards: u16,
}

#[derive(Deserialize)]
struct Info {
    config: Settings,
    state: State,
}

#[derive(Deserialize)]
struct Settings {
    max_bytes: i64,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Consumers {
    #[serde(default)]
    consumers: Option<Vec<Consumer>>,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct Consumer {
    num_ack_pending: u64,
}

impl Queues<'_> {
    /// What waits of each tenant. A user who is not told which tenants there are is told of its
    /// own.
    pub(super) async fn list(&self, own: &TenantId) -> Result<Vec<Waiting>, Error> {
        let tenants = match self.provisioner.served().await {
            Ok(served) => served.tenants.iter().map(|tenant| tenant.name).collect(),
            Err(Error::Denied { .. }) => vec![*own],
            Err(error) => return Err(error),
        };
        let mut all = Vec::with_capacity(tenants.len());
        for tenant in tenants {
            all.push(self.of(&tenant).await?);
        }
        all.sort_unstable_by_key(|waiting| waiting.tenant);
        Ok(all)
    }

    async fn of(&self, tenant: &TenantId) -> Result<Waiting, Error> {
        let mut waiting = Waiting {
            tenant: *tenant,
            bundles: 0,
            leased: Some(0),
            bytes: 0,
            bytes_max: 0,
        };
        for shard in 0..self.shards {
            let queue = self.provisioner.names.tasks_stream(tenant, shard);
            let Info { config, state } = self
                .ask(&format!("STREAM.INFO.{queue}"), &Value::Null)
                .await?;
            waiting.bundles += state.messages;
            waiting.bytes += state.bytes;
            waiting.bytes_max += u64::try_from(config.max_bytes).unwrap_or(0);
            waiting.leased = match (waiting.leased, self.leased(&queue).await) {
                (Some(sum), Ok(leased)) => Some(sum + leased),
                (None, _) | (_, Err(Error::Denied { .. })) => None,
                (_, Err(error)) => return Err(error),
            };
        }
        Ok(waiting)
    }

    async fn leased(&self, queue: &str) -> Result<u64, Error> {
        let subject = format!("CONSUMER.LIST.{queue}");
        let (mut leased, mut seen) = (0, 0);
        loop {
            let question = serde_json::json!({ "offset": seen });
            let Consumers { consumers, total } = self.ask(&subject, &question).await?;
            let consumers = consumers.unwrap_or_default();
            leased += consumers
                .iter()
                .map(|consumer| consumer.num_ack_pending)
                .sum::<u64>();
            seen += consumers.len();
            if consumers.is_empty() || seen >= total {
                return Ok(leased);
            }
        }
    }

    /// Remove all bundles of a tenant.
    pub(super) async fn empty(&self, tenant: &TenantId) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Purged {
            purged: u64,
        }
        let mut removed = 0;
        for shard in 0..self.shards {
            let queue = self.provisioner.names.tasks_stream(tenant, shard);
            let Purged { purged } = self
                .ask(&format!("STREAM.PURGE.{queue}"), &Value::Null)
                .await?;
            removed += purged;
        }
        Ok(removed)
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        subject: &str,
        question: &Value,
    ) -> Result<T, Error> {
        let Provisioner {
            connection,
            jetstream,
            ..
        } = self.provisioner;
        let ask = || jetstream.api::<T>(subject, question);
        match connection.patiently(ask).await? {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(jetstream.refused(&refusal)),
        }
    }
}
