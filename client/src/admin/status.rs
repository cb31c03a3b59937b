//! Reads a job's status: how many of its tasks completed, failed or are unfinished.

use std::time::Duration;

use futures::StreamExt as _;
use sortie_protocol::completion::{Answer, Completion, Event as Fact, Mark, Role, Unfinished};
use sortie_protocol::submission::Event;
use sortie_protocol::{Ending, JobId, JobRecord, JobState, Outcome};
use tokio::time::{Instant, timeout_at};

use crate::api::client::Client;
use crate::drive::clock::Clock;
use crate::drive::feed::Feed;
use crate::drive::requests::told;
use crate::error::AttachError;
use crate::observer::Observed;

/// Time limit for reading the stored outcomes: 500,000 a second are read from a broker nearby.
/// Outcomes not read by then are missing in the count, and the status says so.
const COUNT_TIME_MAX: Duration = Duration::from_secs(5);

/// A job's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// The job, when it was submitted, and whether it was sealed or cancelled.
    pub record: JobRecord,
    /// Tasks that completed.
    pub completed: u64,
    /// Tasks that failed permanently.
    pub failed: u64,
    /// Whether these numbers include all tasks that had ended when the status was requested.
    pub counted: Counted,
    /// Bundles that wait or are leased; `None` if this tenant may not read it, because it shares
    /// the broker.
    pub unfinished: Option<u64>,
}

/// Whether all outcomes of a job were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// All outcomes stored when the status was requested, and perhaps some later ones.
    All,
    /// Not all: some could not be read in time, or cannot be read by this program.
    Some,
}

impl JobStatus {
    /// The job's number of tasks, if known.
    #[must_use]
    pub fn tasks(&self) -> Option<u64> {
        match self.record.state {
            JobState::Sealed { tasks } => Some(tasks),
            JobState::Open | JobState::Cancelled => None,
        }
    }

    fn ended(&self) -> u64 {
        self.completed + self.failed
    }

    fn count(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome.ending {
                Ending::Completed(_) => self.completed += 1,
                Ending::Failed(_) => self.failed += 1,
                Ending::Cancelled => {}
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
        let broker = &self.shared.broker;
        let key = self.shared.key(job);
        let unfinished = match broker.unfinished(key).await {
            Err(error) if told::<()>(Err(error.clone())) != Answer::Denied => {
                return Err(error.into());
            }
            unfinished => unfinished.ok(),
        };
        // Read last: what it says of the tasks is then true of what is counted.
        let record = broker.job(key).await?.ok_or(AttachError::NoSuchJob(job))?;
        let mut status = JobStatus {
            record,
            completed: 0,
            failed: 0,
            counted: Counted::All,
            unfinished: unfinished.map(|unfinished| unfinished.bundles),
        };
        let feed = Feed::open(broker, key, Observed::default()).await?;
        count(&mut status, unfinished, feed).await?;
        Ok(status)
    }
}

/// Count what is stored up to the mark that the broker named, or what it tells first that all was
/// read.
async fn count(
    status: &mut JobStatus,
    unfinished: Option<Unfinished>,
    mut feed: Feed,
) -> Result<(), AttachError> {
    let clock = Clock::start();
    let mut completion = Completion::new(Role::Follower, None, clock.now());
    let through = unfinished.map_or(Mark::default(), |unfinished| unfinished.through);
    let until = Instant::now() + COUNT_TIME_MAX;
    while status.tasks().is_none_or(|tasks| status.ended() < tasks) && !completion.has_read(through)
    {
        if Instant::now() >= until {
            status.counted = Counted::Some;
            break;
        }
        match timeout_at(until, feed.next()).await {
            Ok(Some(Event::Outcomes(_, outcomes))) => status.count(&outcomes),
            Ok(Some(Event::Unreadable(..))) | Err(_) => status.counted = Counted::Some,
            Ok(Some(Event::CaughtUp(mark))) => {
                // Only what was read is asked of it here.
                let _ = completion.on(Fact::CaughtUp(mark), clock.now());
            }
            Ok(Some(Event::Closed(Some(error)))) => return Err(error.into()),
            Ok(Some(Event::Cancelled | Event::Closed(None)) | None) => break,
            Ok(Some(_)) => {}
        }
    }
    Ok(())
}
