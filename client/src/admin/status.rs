//! Tells how a job stands: how many of its tasks ended, and how, once or again and again.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use sortie_protocol::completion::{Answer, Mark, SUBMITTER_QUIET_MAX, Unfinished};
use sortie_protocol::submission::Event;
use sortie_protocol::{Ending, JobId, JobKey, JobRecord, JobState, Outcome};
use tokio::time::{Instant, timeout_at};

use crate::api::client::Client;
use crate::drive::clock::time_of_day;
use crate::drive::feed::Feed;
use crate::drive::requests::told;
use crate::error::AttachError;
use crate::observer::Observed;

/// How long the outcomes that are stored are read at most for one status: 500,000 a second are read
/// through a broker nearby. What was not read by then is missing in the count, and the status says
/// so.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);

/// How many functions are counted apart: as many as a job's table may have.
const FUNCTIONS_MAX: usize = sortie_protocol::job::FUNCTIONS_MAX;

/// How long outcomes are waited for that are there already, where the broker does not tell how many
/// these are.
const AT_ONCE: Duration = Duration::from_millis(200);

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// What it is, when it was submitted, and whether it was sealed, cancelled or gathered.
    pub record: JobRecord,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed permanently.
    pub failed: u64,
    /// Of these, those that called each function of the job's table, as far as the outcomes say
    /// which one that was: how many completed, and how many failed.
    pub by_function: Vec<(u64, u64)>,
    /// Whether these numbers include all tasks that had ended when the status was requested.
    pub counted: Counted,
    /// Bundles that wait or are leased; `None` if this tenant may not read it, because it shares
    /// the broker.
    pub unfinished: Option<u64>,
    /// Whether it was proven that no further outcome comes by itself. A job whose tasks do not all
    /// have an outcome then stays as it is.
    pub at_rest: bool,
}

/// Whether all outcomes of a job were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All outcomes stored when the status was requested, and perhaps some later ones.
    All,
    /// Not all: some could not be read in time, or cannot be read by this program.
    Some,
}

/// What a job does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobPhase {
    /// Its submitter has not said that all tasks are there.
    Submitting,
    /// Tasks run or wait for a slot.
    Running,
    /// Tasks wait, and no worker is there for them.
    Waiting,
    /// Every task has ended.
    Ended,
    /// It was cancelled.
    Cancelled,
    /// Its results were gathered.
    Gathered,
    /// Nothing of it is unfinished, and tasks have no outcome: none will come.
    Incomplete,
    /// Its submitter is gone and has not said that all tasks are there; nothing that it submitted
    /// is unfinished.
    Abandoned,
}

impl JobPhase {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitting => "submitting",
            Self::Running => "running",
            Self::Waiting => "no worker",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
            Self::Gathered => "gathered",
            Self::Incomplete => "incomplete",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether nothing more happens by itself.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Submitting | Self::Running | Self::Waiting => false,
            Self::Ended | Self::Cancelled | Self::Gathered | Self::Incomplete | Self::Abandoned => {
                true
            }
        }
    }
}

impl JobStatus {
    fn new(record: JobRecord) -> Self {
        let mut status = Self {
            record,
            completed: 0,
            failed: 0,
            by_function: Vec::new(),
            counted: Counted::All,
            unfinished: None,
            at_rest: false,
        };
        status.take_gathered();
        status
    }

    /// How many tasks there are, if that is known.
    #[must_use]
    pub fn tasks(&self) -> Option<u64> {
        match self.record.state {
            JobState::Sealed { tasks } => Some(tasks),
            JobState::Open | JobState::Cancelled => None,
        }
    }

    /// How many tasks have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.completed + self.failed
    }

    /// How many tasks wait or run, if that is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        self.tasks()
            .map(|tasks| tasks.saturating_sub(self.ended()))
            .filter(|_| self.counted == Counted::All)
    }

    /// What the job does, if so many workers are there for it; `None` where that was not told.
    #[must_use]
    pub fn phase(&self, workers: Option<usize>) -> JobPhase {
        if self.record.gathered.is_some() {
            return JobPhase::Gathered;
        }
        match self.record.state {
            JobState::Cancelled => JobPhase::Cancelled,
            JobState::Sealed { .. } if self.left() == Some(0) => JobPhase::Ended,
            JobState::Sealed { .. } if self.at_rest => JobPhase::Incomplete,
            JobState::Open if self.at_rest => JobPhase::Abandoned,
            JobState::Open | JobState::Sealed { .. } if workers == Some(0) => JobPhase::Waiting,
            JobState::Open => JobPhase::Submitting,
            JobState::Sealed { .. } => JobPhase::Running,
        }
    }

    /// Tasks that ended each second since the job was submitted, for a job that is under way.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ended = self.ended() as f64;
        let elapsed = time_of_day().since(self.record.created);
        ended / elapsed.as_secs_f64().max(1e-3)
    }

    /// Outcomes that were gathered are not kept, but how many there were is.
    fn take_gathered(&mut self) {
        if let Some(gathered) = self.record.gathered.filter(|_| self.record.is_gathered()) {
            (self.completed, self.failed) = (gathered.completed, gathered.failed);
            self.counted = Counted::All;
        }
    }

    fn count(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let (completed, failed) = match outcome.ending {
                Ending::Completed(_) => (1, 0),
                Ending::Failed(_) => (0, 1),
                Ending::Cancelled => continue,
            };
            self.completed += completed;
            self.failed += failed;
            let function = outcome
                .function
                .and_then(|index| usize::try_from(index).ok());
            // What is in no table is not counted: outcomes may say anything.
            if let Some(function) = function.filter(|function| *function < FUNCTIONS_MAX) {
                if self.by_function.len() <= function {
                    self.by_function.resize(function + 1, (0, 0));
                }
                if let Some(counted) = self.by_function.get_mut(function) {
                    counted.0 += completed;
                    counted.1 += failed;
                }
            }
        }
    }
}

impl Client {
    /// A job's status. Reads and counts the outcomes stored when it is called, for at most five
    /// seconds.
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn job_status(&self, job: JobId) -> Result<JobStatus, AttachError> {
        let mut watch = self.watch_job(job).await?;
        watch.look(COUNT_TIME_MAX).await?;
        Ok(watch.status)
    }

    /// Watch how a job stands. What was counted once is not read again.
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn watch_job(&self, job: JobId) -> Result<JobWatch, AttachError> {
        let key = self.shared.key(job);
        let record = self.shared.broker.job(key).await?;
        let record = record.ok_or(AttachError::NoSuchJob(job))?;
        Ok(self.watch_record(record))
    }

    /// As [`Client::watch_job`], of a job whose record is at hand.
    #[must_use]
    pub fn watch_record(&self, record: JobRecord) -> JobWatch {
        JobWatch {
            client: self.clone(),
            key: record.job.key,
            feed: Source::Unopened,
            read: Mark::default(),
            lacks_some: false,
            heard: Instant::now(),
            looked: Instant::now(),
            status: JobStatus::new(record),
        }
    }
}

/// Counts how the tasks of a job end.
pub struct JobWatch {
    client: Client,
    key: JobKey,
    feed: Source,
    /// Up to where everything was read.
    read: Mark,
    /// Whether some outcomes cannot be read by this program.
    lacks_some: bool,
    /// When the submitter of an open job was heard last, or may have been.
    heard: Instant,
    /// When the job was looked at last.
    looked: Instant,
    status: JobStatus,
}

/// What was taken of a job's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// That everything up to a mark was told.
    Mark,
    Another,
}

/// What lets a job be at rest if nothing of it is unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    /// It was known to be sealed.
    Sealed,
    /// Its submitter was heard so long ago that it is gone.
    SubmitterGone(Instant),
    No,
}

enum Source {
    Unopened,
    Open(Feed),
    /// Nothing more comes.
    Over,
}

impl std::fmt::Debug for JobWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobWatch")
            .field("job", &self.key)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

impl JobWatch {
    /// How the job stood at the last look.
    #[must_use]
    pub fn status(&self) -> &JobStatus {
        &self.status
    }

    /// Look how the job stands: count what is stored by now and was not counted yet, for `time_max`
    /// at most.
    ///
    /// # Errors
    /// When the job is not there any more, or the broker does not answer.
    pub async fn look(&mut self, time_max: Duration) -> Result<&JobStatus, AttachError> {
        self.look_at(time_max, |_| ()).await
    }

    /// As [`JobWatch::look`], with each outcome that is counted.
    pub(super) async fn look_at(
        &mut self,
        time_max: Duration,
        mut seen: impl FnMut(&Outcome),
    ) -> Result<&JobStatus, AttachError> {
        let until = Instant::now() + time_max;
        let broker = self.client.shared.broker.clone();
        let rests = self.would_rest();
        let unfinished = match broker.unfinished(self.key).await {
            Err(error) if told::<()>(Err(error.clone())) != Answer::Denied => {
                return Err(error.into());
            }
            unfinished => unfinished.ok(),
        };
        // Read last: what it says of the tasks is then true of what is counted.
        let record = broker.job(self.key).await?;
        self.status.record = record.ok_or(AttachError::NoSuchJob(self.key.job))?;
        self.status.unfinished = unfinished.map(|unfinished| unfinished.bundles);
        self.status.at_rest = false;
        if self.status.record.is_gathered() {
            self.feed = Source::Over;
            self.status.take_gathered();
            return Ok(&self.status);
        }
        if matches!(self.feed, Source::Unopened) {
            self.feed = Source::Open(Feed::open(&broker, self.key, Observed::default()).await?);
        }
        self.count(unfinished, until, &mut seen).await?;
        let is_read = unfinished.is_some_and(|unfinished| self.read >= unfinished.through);
        self.status.at_rest = self.status.unfinished == Some(0)
            && is_read
            && match (rests, self.status.record.state) {
                (Rests::Sealed, JobState::Sealed { .. }) => true,
                (Rests::SubmitterGone(heard), JobState::Open) => heard == self.heard,
                (Rests::Sealed | Rests::SubmitterGone(_) | Rests::No, _) => false,
            };
        Ok(&self.status)
    }

    /// What is known before the broker counts what is unfinished: only then the count proves
    /// something, see [`completion`](sortie_protocol::completion).
    fn would_rest(&mut self) -> Rests {
        let now = Instant::now();
        let since = now - std::mem::replace(&mut self.looked, now);
        if since > SUBMITTER_QUIET_MAX / 2 {
            // Heartbeats may have been missed.
            self.heard = now;
        }
        match self.status.record.state {
            JobState::Sealed { .. } => Rests::Sealed,
            JobState::Open if now - self.heard > SUBMITTER_QUIET_MAX => {
                Rests::SubmitterGone(self.heard)
            }
            JobState::Open | JobState::Cancelled => Rests::No,
        }
    }

    /// Count what is stored up to the mark that the broker named, or what it tells first that all
    /// was read.
    async fn count(
        &mut self,
        unfinished: Option<Unfinished>,
        until: Instant,
        seen: &mut impl FnMut(&Outcome),
    ) -> Result<(), AttachError> {
        let is_first = self.read == Mark::default();
        // Told nothing, the first mark that comes will do; later, what is there at once.
        let through = unfinished.map_or(Mark(u64::MAX), |unfinished| unfinished.through);
        let until = if unfinished.is_some() || is_first {
            until
        } else {
            until.min(Instant::now() + AT_ONCE)
        };
        let mut counted = Counted::All;
        while let Source::Open(feed) = &mut self.feed {
            let tasks = self.status.tasks();
            let is_whole = tasks.is_some_and(|tasks| self.status.ended() >= tasks);
            if is_whole || self.read >= through {
                break;
            }
            let Ok(event) = timeout_at(until, feed.next()).await else {
                if unfinished.is_some() || is_first {
                    counted = Counted::Some;
                }
                break;
            };
            if self.take(event, seen)? == Taken::Mark && unfinished.is_none() {
                break;
            }
        }
        // Heartbeats among them, which nothing waits for.
        while let Source::Open(feed) = &mut self.feed
            && Instant::now() < until
            && let Some(event) = feed.next().now_or_never()
        {
            self.take(event, seen)?;
        }
        self.status.counted = if self.lacks_some {
            Counted::Some
        } else {
            counted
        };
        Ok(())
    }

    fn take(
        &mut self,
        event: Option<Event<sortie_broker::Error>>,
        seen: &mut impl FnMut(&Outcome),
    ) -> Result<Taken, AttachError> {
        match event {
            Some(Event::Outcomes(_, outcomes)) => {
                self.status.count(&outcomes);
                outcomes.iter().for_each(seen);
            }
            Some(Event::Unreadable(..)) => self.lacks_some = true,
            Some(Event::CaughtUp(mark)) => {
                self.read = self.read.max(mark);
                return Ok(Taken::Mark);
            }
            Some(Event::Submitting | Event::Reopened) => self.heard = Instant::now(),
            Some(Event::Closed(Some(error))) => return Err(error.into()),
            Some(Event::Cancelled | Event::Closed(None)) | None => self.feed = Source::Over,
            Some(_) => {}
        }
        Ok(Taken::Another)
    }
}
