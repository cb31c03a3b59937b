//! Follows a job: yields the outcomes stored so far, then new ones as they are stored.
//!
//! The server republishes what it stores on a live subject. Live messages are sent once and can be
//! missed. Each contains the sequence of its predecessor on the same subject, so a gap is detected
//! at once and read from the stream. If no further message reveals a gap, a connection problem does
//! ([`Connection::gaps`]), or the check every [`LOOK_INTERVAL`].
//!
//! A follower gets [`Event::CaughtUp`] when it has received everything up to a mark: after each
//! check, with the stream leader's last sequence at that time, and whenever all pending live
//! messages were passed on without a gap.
//!
//! A slow follower does not delay others: messages that it does not take in time are dropped here
//! and read again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use sortie_protocol::{JobKey, JobState, TaskIndex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::batch_read::End;
use super::connection::Connection;
use super::headers::{FORGOTTEN, SUBMITTING, number};
use super::jobs::Jobs;
use super::names::Names;
use super::outcome_log::{OutcomeLog, Taken};
use super::outcomes::{BEHIND_PAUSE, Outcomes};
use super::trims::Trims;
use crate::traits::{Error, Event, Mark, Position};

/// Buffered events per follower.
const EVENTS_WAITING: usize = 16;
/// How often a follower checks the stream for missed messages. Heartbeats do not put it off: they
/// say nothing of what was missed.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Delay before a missing job record is checked again and believed.
const DOUBT_PAUSE: Duration = Duration::from_secs(2);

/// Shared state of all feeds.
#[derive(Debug)]
pub(super) struct Feeds {
    pub(super) connection: Connection,
    pub(super) names: Names,
    pub(super) jobs: Arc<Jobs>,
    /// Which store nothing that would have to wait for room: reading needs none.
    pub(super) outcomes: Outcomes,
    pub(super) trims: Mutex<Trims>,
}

impl Feeds {
    /// Drop the outcomes that were received, where that is worth it.
    pub(super) async fn trim(&self, key: &JobKey, before: Position) -> Result<(), Error> {
        let dropped = self.trims.lock().received(key, before);
        match dropped {
            Some(sequence) => self.outcomes.drop_before(key, sequence).await,
            None => Ok(()),
        }
    }
}

/// One follower's task.
struct Feed {
    feeds: Arc<Feeds>,
    key: JobKey,
    from: Position,
    log: OutcomeLog,
    /// The last mark of [`Event::CaughtUp`].
    caught_up: Option<u64>,
    is_seal_told: bool,
    events: mpsc::Sender<Event>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.feeds.trims.lock().ended(&self.key);
    }
}

/// The feed has nothing more to say, or nobody listens.
struct Over;

/// Why a feed ends.
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

/// Follow an existing job.
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
    // Subscribe before reading, so that messages stored in between arrive twice rather than never.
    // A client without permission to subscribe gets what each check finds.
    let live = feeds.connection.hear(feeds.names.live(&key)).await?;
    let log = OutcomeLog::from(feeds.trims.lock().dropped(&key));
    let (events, receiver) = mpsc::channel(EVENTS_WAITING);
    let feed = Feed {
        feeds,
        key,
        from,
        log,
        caught_up: None,
        is_seal_told: false,
        events,
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
            tracing::debug!(job = %self.key, %error, "failed to follow a job's outcomes");
            // Reopening the feed would give the same error, or wait for the whole outage time
            // again. Sending fails if the follower is gone.
            let _ = self.send(Event::Refused(error)).await;
        }
    }

    async fn feed(&mut self, mut live: async_nats::Subscriber) -> Result<(), Ended> {
        let closed = self
            .feeds
            .connection
            .unreachable("the connection was closed");
        let mut gaps = self.feeds.connection.gaps();
        gaps.mark_unchanged();
        self.catch_up().await?;
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        loop {
            let is_behind = self.caught_up < Some(self.log.last());
            tokio::select! {
                biased;
                message = live.next() => match message {
                    Some(message) => self.on_live(&message).await?,
                    None => return Err(closed.into()),
                },
                changed = gaps.changed() => match changed {
                    Ok(()) => self.catch_up().await?,
                    Err(_) => return Err(closed.into()),
                },
                // No other message is pending: on a busy job, one event covers many messages.
                () = std::future::ready(()), if is_behind => {
                    self.tell_caught_up(self.log.last()).await?;
                }
                () = sleep_until(look_at) => {
                    self.catch_up().await?;
                    look_at = Instant::now() + LOOK_INTERVAL;
                }
            }
        }
    }

    async fn on_live(&mut self, message: &Message) -> Result<(), Ended> {
        let Some(headers) = &message.headers else {
            return Ok(());
        };
        if headers.get(SUBMITTING).is_some() {
            return Ok(self.send(Event::Submitting).await?);
        }
        if headers.get(FORGOTTEN).is_some() {
            return if self.feeds.jobs.record(&self.key).await?.is_none() {
                Err(self.forgotten())
            } else {
                Ok(())
            };
        }
        let sequence = number(headers, "Nats-Sequence");
        let before = number(headers, "Nats-Last-Sequence");
        let (Some(sequence), Some(before)) = (sequence, before) else {
            return Ok(());
        };
        if before > self.log.last() {
            return self.catch_up().await;
        }
        let taken = self.log.take(sequence, Some(headers), &message.payload);
        self.pass_on(taken).await?;
        self.passed(message.payload.len());
        Ok(())
    }

    /// Read unread messages up to the leader's last sequence, and report the mark.
    async fn catch_up(&mut self) -> Result<(), Ended> {
        let mut newest = self.feeds.outcomes.newest(&self.key).await?;
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
                let headers = report.headers.as_ref();
                let taken = self.log.take(report.sequence, headers, &report.payload);
                self.pass_on(taken).await?;
                self.passed(report.payload.len());
            }
            if reports.is_empty() && end == End::Reached {
                // The replica is behind, or the job was forgotten, or its outcomes dropped.
                self.look_for_record().await?;
                sleep(BEHIND_PAUSE).await;
                newest = self.feeds.outcomes.newest(&self.key).await?;
            }
        }
        self.complete_markers().await?;
        Ok(self.tell_caught_up(self.log.last()).await?)
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
            Err(self.forgotten())
        }
    }

    /// The job is gone: whoever follows it anew here is told so at once, and not what is cached.
    fn forgotten(&self) -> Ended {
        self.feeds.jobs.forget_known(&self.key);
        Ended::Over
    }

    /// Store a marker that is missing. A client changes the job's record first, which decides, and
    /// stores the marker in the stream second; it may have died in between, or the marker may have
    /// been dropped for its age. It then comes like any other message.
    async fn complete_markers(&mut self) -> Result<(), Ended> {
        if self.log.is_over() {
            return Ok(());
        }
        let known = self.feeds.jobs.known_by_now(&self.key).await?;
        match known.map(|known| known.state) {
            Some(JobState::Cancelled) => {
                match self.feeds.outcomes.mark_cancelled(&self.key).await {
                    Ok(()) => {}
                    // Without room for it, rely on the record alone, and on everything being read.
                    Err(Error::Full { .. }) => self.pass_on(Taken::Cancelled).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            Some(JobState::Sealed { tasks }) if !self.log.is_sealed() => {
                match self.feeds.outcomes.mark_sealed(&self.key, tasks).await {
                    Ok(()) => {}
                    // Without permission to write or room for it, rely on the record alone.
                    Err(Error::Denied { .. } | Error::Full { .. }) => {
                        self.tell_sealed(tasks).await?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Some(JobState::Sealed { .. } | JobState::Open) => {}
            // It may be forgotten, and the word of that lost.
            None => self.look_for_record().await?,
        }
        Ok(())
    }

    async fn pass_on(&mut self, taken: Taken) -> Result<(), Over> {
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
            Taken::Unreadable(tasks, reason) => {
                let tasks = tasks.into();
                self.send(Event::Unreadable { tasks, reason }).await
            }
            Taken::Sealed(tasks) => self.tell_sealed(tasks).await,
            Taken::Cancelled => {
                self.feeds.jobs.cancelled(&self.key);
                self.send(Event::Cancelled).await?;
                Err(Over)
            }
            Taken::Nothing => Ok(()),
        }
    }

    /// Note where the message lay that was just passed on.
    fn passed(&self, bytes: usize) {
        let (sequence, end) = (self.log.last(), self.log.position());
        self.feeds
            .trims
            .lock()
            .passed(&self.key, sequence, end, bytes);
    }

    async fn tell_sealed(&mut self, tasks: TaskIndex) -> Result<(), Over> {
        if std::mem::replace(&mut self.is_seal_told, true) {
            return Ok(());
        }
        self.send(Event::Sealed(tasks)).await
    }

    async fn tell_caught_up(&mut self, sequence: u64) -> Result<(), Over> {
        self.caught_up = Some(sequence);
        self.send(Event::CaughtUp(Mark(sequence))).await
    }

    async fn send(&self, event: Event) -> Result<(), Over> {
        self.events.send(event).await.map_err(|_| Over)
    }
}
