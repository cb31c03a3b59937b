//! Following a job's outcomes: what is stored already, then what is stored from now on.
//!
//! The server says again, on a subject of its own, what it stores; that is the live part, and like
//! everything said once it can be missed. Each message names the one before it on the same subject,
//! so a gap is seen at once and read from the stream. Where no message follows that could
//! show a gap, the connection's own trouble does ([`Connection::gaps`](super::connection::Connection::gaps)), and a
//! look every [`LOOK_INTERVAL`].
//!
//! A follower that is slow slows nobody: what it does not take in time is dropped here and read
//! again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use sortie_protocol::JobId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::batch_read::End;
use super::connection::Connection;
use super::headers::{FORGOTTEN, number};
use super::jobs::Jobs;
use super::names::{JobKey, Names};
use super::outcome_log::{OutcomeLog, Taken};
use super::outcomes::{BEHIND_PAUSE, Outcomes};
use crate::broker::{Error, Event, Position};

/// Events that wait for the follower to take them.
const EVENTS_WAITING: usize = 16;
/// How often a follower looks for what it may have missed while nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Wait before it is believed that a job's record is gone.
const DOUBT_PAUSE: Duration = Duration::from_secs(2);

/// What every feed needs.
#[derive(Debug)]
pub(super) struct Feeds {
    pub(super) connection: Connection,
    pub(super) names: Names,
    pub(super) jobs: Arc<Jobs>,
    pub(super) outcomes: Outcomes,
    pub(super) catch_ups: CatchUps,
}

/// One follower's task.
struct Feed {
    feeds: Arc<Feeds>,
    key: JobKey,
    from: Position,
    log: OutcomeLog,
    events: mpsc::Sender<Event>,
    _followed: Followed,
}

/// How often the feeds of each job that is followed here have caught up. With several feeds of one
/// job it is not told which of them did.
#[derive(Debug, Default)]
pub(super) struct CatchUps(Mutex<HashMap<JobId, CatchUp>>);

#[derive(Debug, Default)]
struct CatchUp {
    feeds: usize,
    count: u64,
}

/// A job is followed for as long as this is held.
struct Followed {
    feeds: Arc<Feeds>,
    job: JobId,
}

impl CatchUps {
    pub(super) fn count(&self, job: JobId) -> u64 {
        self.0.lock().get(&job).map_or(0, |entry| entry.count)
    }

    fn add(&self, job: JobId) {
        if let Some(entry) = self.0.lock().get_mut(&job) {
            entry.count = entry.count.wrapping_add(1);
        }
    }
}

impl Followed {
    fn begin(feeds: Arc<Feeds>, job: JobId) -> Self {
        feeds.catch_ups.0.lock().entry(job).or_default().feeds += 1;
        Self { feeds, job }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut jobs = self.feeds.catch_ups.0.lock();
        if let Some(entry) = jobs.get_mut(&self.job) {
            entry.feeds = entry.feeds.saturating_sub(1);
            if entry.feeds == 0 {
                jobs.remove(&self.job);
            }
        }
    }
}

/// The feed has nothing more to say, or nobody listens.
struct Over;

/// Why a feed ends, if it is not over as it should be.
enum Ended {
    Over,
    Broken(Error),
}

impl From<Over> for Ended {
    fn from(_: Over) -> Self {
        Self::Over
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// Follow a job, which has to be there.
pub(super) async fn follow(
    feeds: Arc<Feeds>,
    key: JobKey,
    from: Position,
) -> Result<BoxStream<'static, Event>, Error> {
    feeds
        .jobs
        .known_by_now(&key)
        .await?
        .ok_or(Error::NoSuchJob(key.job))?;
    // Listening before reading: what is stored in between comes twice and not never. Who may read
    // but not listen lives on what is looked up.
    let live = feeds.connection.hear(feeds.names.live(&key)).await?;
    let (events, receiver) = mpsc::channel(EVENTS_WAITING);
    let _followed = Followed::begin(feeds.clone(), key.job);
    let feed = Feed {
        feeds,
        key,
        from,
        log: OutcomeLog::default(),
        events,
        _followed,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(feed.run(live));
    // The task ends with the stream.
    Ok(
        stream::unfold((receiver, tasks), |(mut receiver, tasks)| async {
            receiver
                .recv()
                .await
                .map(|event| (event, (receiver, tasks)))
        })
        .boxed(),
    )
}

impl Feed {
    async fn run(mut self, live: async_nats::Subscriber) {
        if let Err(Ended::Broken(error)) = self.feed(live).await {
            tracing::debug!(job = %self.key.job, %error, "lost a job's outcomes");
            // Whoever opened the feed again would hear the same, or wait once more for as long as
            // an outage may last. Who has gone hears nothing.
            let _ = self.send(Event::Refused(error)).await;
        }
    }

    async fn feed(&mut self, mut live: async_nats::Subscriber) -> Result<(), Ended> {
        let mut gaps = self.feeds.connection.gaps();
        gaps.mark_unchanged();
        self.catch_up().await?;
        loop {
            tokio::select! {
                biased;
                message = live.next() => match message {
                    Some(message) => self.on_live(&message).await?,
                    None => return Err(self.feeds.connection.unreachable("the connection was closed").into()),
                },
                changed = gaps.changed() => match changed {
                    Ok(()) => self.catch_up().await?,
                    Err(_) => return Err(self.feeds.connection.unreachable("the connection was closed").into()),
                },
                () = sleep(LOOK_INTERVAL) => self.catch_up().await?,
            }
        }
    }

    async fn on_live(&mut self, message: &Message) -> Result<(), Ended> {
        let Some(headers) = &message.headers else {
            return Ok(());
        };
        if headers.get(FORGOTTEN).is_some() {
            return if self.feeds.jobs.record(&self.key).await?.is_none() {
                Err(Ended::Over)
            } else {
                Ok(())
            };
        }
        let (Some(sequence), Some(before)) = (
            number(headers, "Nats-Sequence"),
            number(headers, "Nats-Last-Sequence"),
        ) else {
            return Ok(());
        };
        if before > self.log.last() {
            return self.catch_up().await;
        }
        let taken = self.log.take(sequence, &message.payload);
        Ok(self.pass_on(taken).await?)
    }

    /// Read what is stored and was not read, up to what the leader has by now.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        let newest = self.feeds.outcomes.newest(&self.key).await?;
        if newest < self.log.last() || newest == 0 {
            // What was there is gone, or there never was anything.
            self.look_for_record().await?;
        }
        while self.log.last() < newest {
            let (reports, end) = self
                .feeds
                .outcomes
                .after(&self.key, self.log.last())
                .await?;
            for report in &reports {
                let taken = self.log.take(report.sequence, &report.payload);
                self.pass_on(taken).await?;
            }
            if reports.is_empty() && end == End::Reached {
                // A copy that is behind, or the job was forgotten meanwhile.
                self.look_for_record().await?;
                sleep(BEHIND_PAUSE).await;
            }
        }
        self.complete_cancellation().await?;
        self.feeds.catch_ups.add(self.key.job);
        Ok(())
    }

    /// End if the job is forgotten: if its record is not there, and still is not after a while. A
    /// leader that was elected a moment ago may not know of it yet.
    async fn look_for_record(&self) -> Result<(), Ended> {
        if self.feeds.jobs.record(&self.key).await?.is_some() {
            return Ok(());
        }
        sleep(DOUBT_PAUSE).await;
        if self.feeds.jobs.record(&self.key).await?.is_some() {
            Ok(())
        } else {
            Err(Ended::Over)
        }
    }

    /// Whoever cancelled the job may have died between the record and the marker; then the marker
    /// is written here.
    async fn complete_cancellation(&self) -> Result<(), Ended> {
        if !self.log.is_over()
            && self
                .feeds
                .jobs
                .known_by_now(&self.key)
                .await?
                .is_some_and(|known| known.cancelled)
        {
            self.feeds.outcomes.mark_cancelled(&self.key).await?;
        }
        Ok(())
    }

    async fn pass_on(&self, taken: Taken) -> Result<(), Over> {
        match taken {
            Taken::Outcomes(first, mut outcomes) => {
                let skip = usize::try_from(self.from.saturating_sub(first))
                    .unwrap_or(usize::MAX)
                    .min(outcomes.len());
                outcomes.drain(..skip);
                if outcomes.is_empty() {
                    return Ok(());
                }
                self.send(Event::Outcomes(first + skip as Position, outcomes.into()))
                    .await
            }
            Taken::Cancelled => {
                self.feeds.jobs.cancelled(self.key.job);
                self.send(Event::Cancelled).await?;
                Err(Over)
            }
            Taken::Nothing => Ok(()),
        }
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over)
    }
}
