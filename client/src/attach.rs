//! Jobs that somebody else submitted, or this program when it ran before.
//!
//! Whoever attaches follows the outcomes from the first, and ends when all are there. How many that
//! are is known once the submitter sealed the job; a submitter who died before never does. Then the
//! job ends when nothing of it is unfinished at the broker and nothing has come for
//! [`QUIET_LOOKS`], and says that it is not complete.
//!
//! A broker drops outcomes that nobody fetched long before it drops the job's record. Where some
//! are missing and nothing of the job is unfinished, the job ends and says how many: they will not
//! come.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sortie_broker::nats::OUTCOME_AGE_MAX;
use sortie_broker::{Broker, Error, Position};
use sortie_protocol::seen::Seen;
use sortie_protocol::{JobId, JobRecord, JobState, Outcome, TaskIndex};
use tokio::time::MissedTickBehavior;

use crate::client::{Client, SubmitError, now};
use crate::driver::pass_on_cancelled;
use crate::following::{Followed, Following};
use crate::job::{Job, Line, Over, Wish};
use crate::jobs::unfinished;

/// How often a job is looked at that is not sealed, or so old that outcomes of it may have been
/// dropped.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// After this many looks, five seconds, without an outcome and with nothing unfinished, the
/// submitter has gone away: one that is there publishes whenever it has inputs. One that waits
/// longer for its inputs is taken for gone.
const QUIET_LOOKS: u32 = 5;

/// The same where the broker does not tell what is unfinished: longer than most bundles take. An
/// old job, too, is given up only after so many.
const QUIET_LOOKS_BLIND: u32 = 60;

/// A job could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The broker does not know it.
    #[error(
        "there is no job `{0}`; it is another tenant's, or was forgotten when its outcomes were read"
    )]
    NoSuchJob(JobId),
    /// The broker did not answer as it should.
    #[error(transparent)]
    Broker(sortie_broker::Error),
}

impl From<Error> for AttachError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoSuchJob(job) => Self::NoSuchJob(job),
            other => Self::Broker(other),
        }
    }
}

impl Client {
    /// Follow a job that was submitted before, from its first outcome on. Its results are decoded
    /// as `T`.
    ///
    /// It ends when all outcomes are there. If the job was cancelled, or its submitter went away
    /// before all was submitted, it ends with those there are; [`Job::progress`] tells. If
    /// outcomes were dropped, because nobody fetched them in time, it ends too; [`Job::trouble`]
    /// tells. Dropping it cancels nothing, and the broker keeps the outcomes until
    /// [`Client::forget`].
    ///
    /// # Errors
    /// When there is no such job, or the broker does not answer.
    pub async fn attach<T>(&self, job: JobId) -> Result<Job<T>, AttachError> {
        let broker = &self.shared.broker;
        let record = broker.job(job).await?.ok_or(AttachError::NoSuchJob(job))?;
        let events = Following::open(broker, &self.shared.runtime, job).await?;
        let (attached, line) = Job::new(Some(job), self.shared.values.clone());
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            // Over or not: the channel closes, which ends the job for its holder.
            let _ = Attached::new(&*shared.broker, &record, line)
                .follow(events)
                .await;
        });
        Ok(attached)
    }
}

struct Attached<'b> {
    broker: &'b dyn Broker,
    id: JobId,
    line: Line,
    seen: Seen,
    total: Option<TaskIndex>,
    quiet: u32,
    /// Whether what is stored was read again since the last outcome came.
    settled: bool,
    /// Whether it is so old that outcomes of it were dropped, if there were any.
    is_old: bool,
}

/// What is waited for.
enum Step {
    Event(Option<Followed>),
    Look,
    Cancel,
    Gone,
}

/// What a look at a job came to.
enum Look {
    Wait,
    /// It is known now how many tasks there are.
    Learned,
    ReadAgain,
    End,
    /// The job is too old for its missing outcomes to be there, and nothing comes.
    Lost,
}

impl<'b> Attached<'b> {
    fn new(broker: &'b dyn Broker, record: &JobRecord, line: Line) -> Self {
        let is_old = now().since(record.created) > OUTCOME_AGE_MAX;
        let mut attached = Self {
            broker,
            id: record.job.id,
            line,
            seen: Seen::default(),
            total: None,
            quiet: 0,
            settled: false,
            is_old,
        };
        attached.learn(record.state);
        attached
    }

    fn learn(&mut self, state: JobState) {
        if let JobState::Sealed { tasks } = state {
            self.total = Some(tasks);
            self.line.set_submitted(tasks);
            self.line.set_complete();
        }
    }

    async fn follow(mut self, mut events: Following) -> Result<(), Over> {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.total.is_some_and(|total| self.seen.len() >= total) {
                return Ok(());
            }
            match self.step(&mut events, &mut looks).await {
                Step::Event(Some(Followed::Outcomes(position, outcomes))) => {
                    self.on_outcomes(position, outcomes).await?
                }
                Step::Event(Some(Followed::Cancelled)) => {
                    self.line.set_cancelled();
                    return pass_on_cancelled(&self.line, &self.seen, self.total.unwrap_or(0))
                        .await;
                }
                // A submitter who has not said how many there are may be about to publish; that is
                // looked at apart.
                Step::Event(Some(Followed::Idle)) if self.total.is_none() => {}
                Step::Event(Some(Followed::Idle)) => {
                    self.lose();
                    return Ok(());
                }
                Step::Event(None) => {
                    events
                        .trouble()
                        .into_iter()
                        .for_each(|error| self.line.set_trouble(error.into()));
                    return Ok(());
                }
                Step::Look => match self.look().await {
                    Look::Wait => {}
                    // The last of them may have been published a moment ago.
                    Look::Learned => events.stir(),
                    Look::ReadAgain => events.look_again(),
                    Look::End => return Ok(()),
                    Look::Lost => {
                        self.lose();
                        return Ok(());
                    }
                },
                Step::Cancel => {
                    if let Err(error) = self.broker.cancel(self.id).await {
                        self.line.set_trouble(error.into());
                        return Err(Over);
                    }
                }
                Step::Gone => return Ok(()),
            }
        }
    }

    /// Wait for the next thing to do. Cancel safe.
    async fn step(&mut self, events: &mut Following, looks: &mut tokio::time::Interval) -> Step {
        let Line { sender, wish, .. } = &mut self.line;
        tokio::select! {
            biased;
            changed = wish.changed() => match (changed, *wish.borrow()) {
                (Ok(()), Wish::Cancel) => Step::Cancel,
                (Ok(()), Wish::Run | Wish::Leave) | (Err(_), _) => Step::Gone,
            },
            () = sender.closed() => Step::Gone,
            event = events.next() => Step::Event(event),
            _ = looks.tick(), if self.total.is_none() || self.is_old => Step::Look,
        }
    }

    async fn on_outcomes(
        &mut self,
        position: Position,
        outcomes: Arc<[Outcome]>,
    ) -> Result<(), Over> {
        (self.quiet, self.settled) = (0, false);
        for outcome in outcomes.iter() {
            self.seen.insert(outcome.index);
        }
        if self.total.is_none() {
            self.line
                .set_submitted(position + outcomes.len() as Position);
        }
        self.line.pass_on(outcomes).await
    }

    /// The outcomes that are missing will not come.
    fn lose(&self) {
        let missing = self
            .total
            .unwrap_or_default()
            .saturating_sub(self.seen.len());
        self.line.set_trouble(SubmitError::Lost { missing });
    }

    /// Whether the submitter has sealed the job, or gone away. A broker that does not answer is
    /// noticed by the outcomes.
    async fn look(&mut self) -> Look {
        if self.total.is_some() {
            return self.look_at_old().await;
        }
        match self.broker.job(self.id).await {
            Ok(Some(record)) => self.learn(record.state),
            Ok(None) | Err(_) => return Look::Wait,
        }
        if self.total.is_some() {
            self.quiet = 0;
            return Look::Learned;
        }
        let quiet_max = match unfinished(self.broker, self.id).await {
            Ok(Some(0)) => QUIET_LOOKS,
            Ok(None) => QUIET_LOOKS_BLIND,
            Ok(Some(_)) | Err(_) => {
                self.quiet = 0;
                return Look::Wait;
            }
        };
        self.quiet += 1;
        if !self.settled {
            self.settled = true;
            return Look::ReadAgain;
        }
        if self.quiet > quiet_max {
            Look::End
        } else {
            Look::Wait
        }
    }
    /// Whether the outcomes that an old job misses were dropped. What waits or is in work still
    /// gets one.
    async fn look_at_old(&mut self) -> Look {
        match unfinished(self.broker, self.id).await {
            Ok(Some(0) | None) => self.quiet += 1,
            Ok(Some(_)) | Err(_) => self.quiet = 0,
        }
        if self.quiet > QUIET_LOOKS_BLIND {
            Look::Lost
        } else {
            Look::Wait
        }
    }
}
