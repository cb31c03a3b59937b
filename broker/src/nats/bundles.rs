//! Publishes bundles into the work-queue streams and counts those that are unfinished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_nats::HeaderMap;
use sortie_protocol::{Bundle, Job, JobKey, TaskIndex, TenantId, envelope};

use super::connection::Connection;
use super::headers::MESSAGE_ID;
use super::jetstream::JetStream;
use super::jobs::Jobs;
use super::names::{Names, PRIORITIES, Source};
use super::task_ranges;
use crate::lane::Lane;
use crate::traits::Error;

/// The streams in which bundles wait.
#[derive(Debug)]
pub(super) struct Bundles {
    pub(super) connection: Connection,
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
    pub(super) jobs: Arc<Jobs>,
    pub(super) shards: u16,
    /// Publish counter: bundles are distributed over the shards round-robin.
    pub(super) next_shard: AtomicU16,
    /// A name that no other publisher has. Whoever else publishes a job's tasks packs them
    /// otherwise, so its bundles are others, even where they begin with the same task.
    pub(super) publisher: String,
}

impl Bundles {
    /// The home shard of this process, on which its idle pull requests wait.
    pub(super) fn home(&self) -> u16 {
        self.next_shard.load(Ordering::Relaxed) % self.shards.max(1)
    }

    /// All sources of these pools of a tenant.
    pub(super) fn sources(&self, tenant: TenantId, pools: &[String]) -> Vec<Source> {
        let all = (0..self.shards).flat_map(|shard| {
            pools.iter().flat_map(move |pool| {
                PRIORITIES.map(|priority| Source {
                    tenant,
                    shard,
                    pool: pool.clone(),
                    priority,
                })
            })
        });
        all.collect()
    }

    /// Publish a submitter's bundle.
    pub(super) async fn publish(&self, bundle: &Bundle) -> Result<(), Error> {
        self.publish_as(bundle, &self.publisher).await
    }

    /// Publish what is left of the bundle that has this sequence in its stream.
    pub(super) async fn publish_again(&self, bundle: &Bundle, sequence: u64) -> Result<(), Error> {
        // Another message than the one that it is of, which this process may have published.
        let publisher = format!("{}-{sequence}", self.publisher);
        self.publish_as(bundle, &publisher).await
    }

    async fn publish_as(&self, bundle: &Bundle, publisher: &str) -> Result<(), Error> {
        let key = &bundle.job;
        let Some(first) = bundle.tasks.first().map(|task| task.index) else {
            return Err(Error::Empty);
        };
        // The notice of a cancellation may have been missed here.
        let known = self
            .jobs
            .known_by_now(key)
            .await?
            .ok_or(Error::NoSuchJob(key.job))?;
        if known.is_cancelled() {
            return Err(Error::JobCancelled(key.job));
        }
        let payload = envelope::bundle(bundle);
        let limit = self.connection.payload_max();
        if payload.len() > limit {
            return Err(Error::TooLarge {
                weight: bundle.weight().max(payload.len()),
                limit,
            });
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            MESSAGE_ID,
            format!("{}-{publisher}-{first}", key.job).as_str(),
        );
        task_ranges::insert(&mut headers, indices(bundle));
        match self
            .jetstream
            .store_at(&self.subjects(&known.job, bundle), &headers, &payload)
            .await?
        {
            Ok(_) => {
                self.connection.metrics().published.add(1);
                Ok(())
            }
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }

    /// Where a bundle may be published: in each shard, the next one in turn first.
    fn subjects(&self, job: &Job, bundle: &Bundle) -> Vec<String> {
        let Lane {
            labels, priority, ..
        } = Lane::of(job, bundle);
        let (pool, shards) = (labels.pool(), self.shards.max(1));
        let first = self.next_shard.fetch_add(1, Ordering::Relaxed);
        let subject = |further: u16| {
            let source = Source {
                tenant: bundle.job.tenant,
                shard: first.wrapping_add(further) % shards,
                pool: pool.clone(),
                priority,
            };
            self.names.task(&source, bundle.job.job)
        };
        (0..shards).map(subject).collect()
    }

    /// How many bundles of a job wait or are leased.
    pub(super) async fn unfinished(&self, key: &JobKey) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(serde::Deserialize)]
        struct State {
            #[serde(default)]
            subjects: Option<std::collections::HashMap<String, u64>>,
        }
        let mut count = 0;
        for shard in 0..self.shards {
            let subject = format!(
                "STREAM.INFO.{}",
                self.names.tasks_stream(&key.tenant, shard)
            );
            let question =
                serde_json::json!({ "subjects_filter": self.names.tasks_of(shard, key) });
            match self
                .connection
                .patiently(|| self.jetstream.api::<Info>(&subject, &question))
                .await?
            {
                Ok(Info { state }) => {
                    count += state.subjects.map_or(0, |subjects| subjects.values().sum())
                }
                Err(refusal) => return Err(self.jetstream.refused(&refusal)),
            }
        }
        Ok(count)
    }

    /// Remove the bundles of a job that is over, wherever they wait.
    pub(super) async fn remove(&self, key: &JobKey) -> Result<(), Error> {
        for shard in 0..self.shards {
            self.remove_from(shard, key).await?;
        }
        Ok(())
    }

    /// Remove the bundles of a job that is over from one shard.
    pub(super) async fn remove_from(&self, shard: u16, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.tasks_stream(&key.tenant, shard);
        let subject = self.names.tasks_of(shard, key);
        let purging = || self.jetstream.purge(&stream, &subject);
        match self.connection.patiently(purging).await {
            // Without this permission workers take them out one by one.
            Ok(()) | Err(Error::Denied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn indices(bundle: &Bundle) -> impl Iterator<Item = TaskIndex> {
    bundle.tasks.iter().map(|task| task.index)
}
