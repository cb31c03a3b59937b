//! Publishes bundles into the work-queue streams and counts those that are unfinished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use sortie_protocol::{Bundle, JobKey, Priority, TaskIndex, envelope};

use super::connection::Connection;
use super::headers::{AGAIN, DELAY, MESSAGE_ID};
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
}

/// How to publish a bundle again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Again<'a> {
    /// The source to publish to.
    pub(super) source: &'a Source,
    pub(super) key: &'a JobKey,
    /// The deduplication id: within the duplicate window, publishes with the same id count once.
    pub(super) id: &'a str,
    /// The delay before it may be run.
    pub(super) after: Duration,
}

impl Bundles {
    /// The home shard of this process, on which its idle pull requests wait.
    pub(super) fn home(&self) -> u16 {
        self.next_shard.load(Ordering::Relaxed) % self.shards.max(1)
    }

    /// All sources of these pools.
    pub(super) fn sources(&self, pools: &[String]) -> Vec<Source> {
        let all = (0..self.shards).flat_map(|shard| {
            pools.iter().flat_map(move |pool| {
                PRIORITIES.map(|priority| Source {
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
        let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.max(1);
        let Lane { labels, priority } = Lane::of(&known.job, bundle);
        let source = Source {
            shard,
            pool: labels.pool(),
            priority,
        };
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, format!("{}-{first}", key.job).as_str());
        task_ranges::insert(&mut headers, indices(bundle));
        self.put(&source, key, &headers, &payload).await?;
        self.connection.metrics().published.add(1);
        Ok(())
    }

    /// Publish tasks that a worker had before.
    pub(super) async fn publish_again(
        &self,
        again: Again<'_>,
        bundle: &Bundle,
    ) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(AGAIN, "1");
        headers.insert(MESSAGE_ID, again.id);
        task_ranges::insert(&mut headers, indices(bundle));
        if !again.after.is_zero() {
            let millis = again.after.as_millis().max(1);
            headers.insert(DELAY, millis.to_string().as_str());
        }
        self.put(again.source, again.key, &headers, &envelope::bundle(bundle))
            .await?;
        self.connection.metrics().returned.add(1);
        Ok(())
    }

    /// Publish a bundle, and notify workers whose pull requests may wait at other sources.
    async fn put(
        &self,
        source: &Source,
        key: &JobKey,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Result<(), Error> {
        match self
            .jetstream
            .store(&self.names.task(source, key), headers, payload)
            .await?
        {
            Ok(_) => {}
            Err(refusal) => return Err(self.jetstream.refused(&refusal)),
        }
        if self.shards > 1 || source.pool != "any" || source.priority != Priority::Normal {
            // A lost notification costs about a second.
            let _ = self
                .connection
                .tell(self.names.bell(source), HeaderMap::new(), Bytes::new())
                .await;
        }
        Ok(())
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
            let subject = format!("STREAM.INFO.{}", self.names.tasks_stream(shard));
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

    /// Remove the bundles of a job that is over from one shard.
    pub(super) async fn clear(&self, shard: u16, key: &JobKey) -> Result<(), Error> {
        let stream = self.names.tasks_stream(shard);
        let subject = self.names.tasks_of(shard, key);
        match self.jetstream.purge(&stream, &subject).await {
            // Without this permission they are taken out one by one.
            Ok(()) | Err(Error::Denied { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn indices(bundle: &Bundle) -> impl Iterator<Item = TaskIndex> {
    bundle.tasks.iter().map(|task| task.index)
}
