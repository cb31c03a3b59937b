//! Takes bundles out of the queues that were acknowledged and are there all the same.
//!
//! A server writes down that a message was acknowledged, and then removes it. One that is killed in
//! between has the message again when it starts, below its consumer's floor of acknowledgements: it
//! is never delivered, takes room, and counts as unfinished. Servers of a cluster look for such
//! messages themselves; a single one does not, where a stream is a work queue (seen with
//! nats-server 2.15.1). So each process that pulls looks for them after it has connected, until
//! the floors have passed what was delivered by then.
//!
//! A disk that lost its last writes may also leave a floor above messages that nobody had yet. So
//! the tasks of what is found are looked up: those without an outcome are published again before
//! the message is removed. Two processes that find the same may both do that: such a task runs
//! twice, and its first outcome counts.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sortie_protocol::JobKey;

use super::admission;
use super::batch_read::{self, Read};
use super::bundles::Bundles;
use super::ended_tasks::EndedTasks;
use super::jetstream::JetStream;
use super::jobs::Jobs;
use super::names::{Names, Source};
use crate::traits::Error;

/// The time before the first look. It doubles before each further one.
const PAUSE: Duration = Duration::from_secs(2);
/// The most time between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Looks for what was left in the queues.
#[derive(Debug)]
pub(super) struct Leftovers {
    pub(super) jetstream: JetStream,
    pub(super) names: Names,
    pub(super) jobs: Arc<Jobs>,
    pub(super) bundles: Arc<Bundles>,
    pub(super) ended: Arc<EndedTasks>,
}

/// A queue that is looked at, and up to where it had been delivered when that was asked first.
struct Watched {
    source: Source,
    through: Option<u64>,
}

/// What the server says of a consumer.
#[derive(Deserialize)]
struct Consumer {
    delivered: Place,
    ack_floor: Place,
}

#[derive(Deserialize)]
struct Place {
    stream_seq: u64,
}

impl Leftovers {
    /// Look at these queues until nothing can be left in them of what was there before.
    pub(super) async fn clear(self, sources: Vec<Source>) {
        let watched = |source| Watched {
            source,
            through: None,
        };
        let mut left: Vec<Watched> = sources.into_iter().map(watched).collect();
        let mut pause = PAUSE;
        while !left.is_empty() {
            tokio::time::sleep(pause).await;
            pause = PAUSE_MAX.min(2 * pause);
            let mut further = Vec::new();
            for mut watched in left {
                match self.look(&mut watched).await {
                    Ok(true) | Err(Error::Denied { .. }) => {}
                    Ok(false) => further.push(watched),
                    Err(error) => {
                        tracing::debug!(%error, "failed to look for what was left in a queue");
                        further.push(watched);
                    }
                }
            }
            left = further;
        }
    }

    /// Look at a queue once. Whether that was the last time.
    async fn look(&self, watched: &mut Watched) -> Result<bool, Error> {
        let source = &watched.source;
        let stream = self.names.tasks_stream(&source.tenant, source.shard);
        let consumer = self.names.consumer(source);
        let Consumer {
            delivered,
            ack_floor,
        } = self
            .ask(&format!("CONSUMER.INFO.{stream}.{consumer}"))
            .await?;
        let floor = ack_floor.stream_seq;
        let through = *watched.through.get_or_insert(delivered.stream_seq);
        let removed = self.clear_below(floor, &stream, source).await?;
        if removed > 0 {
            tracing::warn!(
                tenant = %source.tenant,
                queue = stream,
                bundles = removed,
                "took bundles out of the queue that were acknowledged before a server was killed"
            );
        }
        Ok(floor >= through && self.last(&stream).await? >= floor)
    }

    /// Take out what is not above a floor. How many that were.
    async fn clear_below(&self, floor: u64, stream: &str, source: &Source) -> Result<u64, Error> {
        let connection = &self.jetstream.connection;
        let mut removed = 0;
        let mut from = 1;
        while from <= floor {
            let subjects = self.names.source_subjects(source);
            let first = batch_read::read_first(connection, stream, &subjects, from).await?;
            let Some(first) = first.filter(|first| first.sequence <= floor) else {
                break;
            };
            from = first.sequence + 1;
            let Some(subject) = first.subject() else {
                continue;
            };
            if let Some((_, key)) = self.names.parse_task(subject) {
                self.publish_unended(&key, &first).await?;
            }
            self.jetstream.purge_before(stream, subject, from).await?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Publish those tasks of a bundle again that have no outcome. One that cannot be read went to
    /// the dead letters before it was acknowledged.
    async fn publish_unended(&self, key: &JobKey, left: &Read) -> Result<(), Error> {
        let Ok(mut bundle) = admission::read(key, &left.payload) else {
            return Ok(());
        };
        let known = self.jobs.known_by_now(key).await?;
        if known.is_none_or(|known| known.is_cancelled()) {
            return Ok(());
        }
        let log = self.ended.of(key).await?;
        if log.is_over() {
            return Ok(());
        }
        bundle.tasks.retain(|task| !log.seen().contains(task.index));
        drop(log);
        if bundle.tasks.is_empty() {
            return Ok(());
        }
        self.bundles.publish_again(&bundle, left.sequence).await
    }

    /// The sequence of the last message that a stream ever had.
    async fn last(&self, stream: &str) -> Result<u64, Error> {
        #[derive(Deserialize)]
        struct Info {
            state: State,
        }
        #[derive(Deserialize)]
        struct State {
            last_seq: u64,
        }
        let Info { state } = self.ask(&format!("STREAM.INFO.{stream}")).await?;
        Ok(state.last_seq)
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, subject: &str) -> Result<T, Error> {
        match self
            .jetstream
            .api(subject, &serde_json::Value::Null)
            .await?
        {
            Ok(answer) => Ok(answer),
            Err(refusal) => Err(self.jetstream.refused(&refusal)),
        }
    }
}
