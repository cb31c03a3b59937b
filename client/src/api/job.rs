//! The caller's handle of a job: a stream of outcomes, progress and cancellation.
//!
//! A task on the client's runtime drives the job ([`mapped`](crate::drive::mapped)) and passes
//! outcomes on only as fast as the caller reads them.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream};
use sortie_protocol::completion::Incomplete;
use sortie_protocol::{JobId, Outcome};
use tokio::sync::{mpsc, watch};

use crate::api::outcome::TaskOutcome;
use crate::api::output::Decode;
use crate::api::shared::Shared;
use crate::drive::sink::{Control, JobSink, JobSource, State, ends};
use crate::drive::values::is_elsewhere;
use crate::error::SubmitError;

/// A running job: a stream of its outcomes, in the order of completion.
///
/// Dropping a job from [`Client::map`](crate::Client::map) cancels its remaining tasks and removes
/// it from the broker. Dropping a job from [`Client::attach`](crate::Client::attach) changes
/// nothing.
pub struct Job<T> {
    id: Option<JobId>,
    /// What the broker calls a holder who was attached.
    pub(crate) reader: Option<[u8; 16]>,
    batches: mpsc::Receiver<Arc<[Outcome]>>,
    batch: Option<(Arc<[Outcome]>, usize)>,
    /// Number of outcomes taken by the caller.
    taken: u64,
    shared: Arc<Shared>,
    /// A taken outcome whose value is being fetched.
    fetching: Option<BoxFuture<'static, Outcome>>,
    state: Arc<State>,
    control: watch::Sender<Control>,
    result: PhantomData<fn() -> T>,
}

/// A job's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Number of inputs taken. For an attached job whose number of tasks is not known yet: number
    /// of outcomes so far.
    pub submitted: u64,
    /// Whether this number is final: the inputs have ended, or the job was cancelled.
    pub complete: bool,
    /// Whether the job was cancelled.
    pub cancelled: bool,
}

impl Progress {
    /// The job's number of tasks, once known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.complete.then_some(self.submitted)
    }
}

/// A job ended without an outcome for every task.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} came, and {}: {why}", count(outcomes.len() as u64), shown(*missing))]
pub struct GatherError<T> {
    /// The outcomes received, in the order of the inputs.
    pub outcomes: Vec<TaskOutcome<T>>,
    /// The number of missing outcomes, if known.
    pub missing: Option<u64>,
    /// Why they are missing.
    pub why: String,
}

fn count(outcomes: u64) -> String {
    if outcomes == 1 {
        "1 outcome".into()
    } else {
        format!("{outcomes} outcomes")
    }
}

fn shown(missing: Option<u64>) -> String {
    match missing {
        Some(1) => "1 is missing".into(),
        Some(missing) => format!("{missing} are missing"),
        None => "how many are missing is not known".into(),
    }
}

/// An error with its causes.
fn in_one_line(error: &SubmitError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    std::iter::once(error.to_string())
        .chain(causes.map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(": ")
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl<T> Job<T> {
    /// A job that is not driven yet, and its driver's end.
    pub(crate) fn new(id: Option<JobId>, shared: Arc<Shared>) -> (Self, JobSink) {
        let (source, sink) = ends();
        let JobSource {
            batches,
            control,
            state,
        } = source;
        let job = Self {
            id,
            reader: None,
            batches,
            batch: None,
            taken: 0,
            shared,
            fetching: None,
            state,
            control,
            result: PhantomData,
        };
        (job, sink)
    }

    /// Its id at the broker. `None` if the system provided no random bytes for one; then the job
    /// ends at once.
    #[must_use]
    pub fn id(&self) -> Option<JobId> {
        self.id
    }

    /// The job's progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let progress = self.state.progress();
        Progress {
            submitted: progress.submitted,
            complete: progress.complete,
            cancelled: progress.cancelled,
        }
    }

    /// The broker's error, if the job ended early because of one.
    #[must_use]
    pub fn trouble(&self) -> Option<&SubmitError> {
        self.state.trouble()
    }

    /// Why an attached job ended although its number of tasks is unknown: its submitter is gone.
    #[must_use]
    pub fn incomplete(&self) -> Option<Incomplete> {
        self.state.incomplete()
    }

    /// Cancel the remaining tasks. Submitted tasks without an outcome end as cancelled; no further
    /// inputs are taken.
    pub fn cancel(&self) {
        self.control.send_replace(Control::Cancel);
    }

    /// Keep outcomes at the broker until the job is forgotten, although they were passed on: for a
    /// caller that produces no results before the end of the job, and may [`leave`](Self::leave) it
    /// early. By default, outcomes are trimmed at the broker once passed on.
    pub fn keep_outcomes(&self) {
        self.state.keep_outcomes();
    }

    /// Leave the job at its broker, as if the client was killed: no further inputs are taken,
    /// published tasks run to their end, and [`Client::attach`](crate::Client::attach) gets the
    /// outcomes.
    pub fn leave(self) {
        self.control.send_replace(Control::Leave);
    }

    /// The next outcome, undecoded. A large value may be in a store; [`Job::fetched`] fetches it.
    /// Cancel safe.
    pub async fn next_outcome(&mut self) -> Option<Outcome> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// The outcome with its value, fetched from the store or the broker if necessary. If it cannot
    /// be fetched, the outcome is a failure that says so. What the broker kept of a job whose
    /// outcomes it trims, it gives once. Cancel safe.
    pub async fn fetched(&self, outcome: Outcome) -> Outcome {
        self.fetching(outcome).await
    }

    fn fetching(&self, outcome: Outcome) -> BoxFuture<'static, Outcome> {
        let shared = self.shared.clone();
        let is_only_reader = self.reader.is_none() && !self.state.keeps_outcomes();
        let fetching = async move {
            let (tenant, values) = (shared.broker.tenant(), &shared.values);
            if is_only_reader {
                values.taken(tenant, outcome).await
            } else {
                values.fetched(tenant, outcome).await
            }
        };
        fetching.boxed()
    }

    /// The next outcome, with its value. What was taken stays taken if nobody polls on.
    pub(crate) fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            if let Some(fetching) = &mut self.fetching {
                let outcome = ready!(fetching.poll_unpin(cx));
                self.fetching = None;
                return Poll::Ready(Some(outcome));
            }
            match ready!(self.poll_outcome(cx)) {
                Some(outcome) if is_elsewhere(&outcome) => {
                    self.fetching = Some(self.fetching(outcome));
                }
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            if let Some((batch, next)) = &mut self.batch
                && let Some(outcome) = batch.get(*next)
            {
                *next += 1;
                self.taken += 1;
                return Poll::Ready(Some(outcome.clone()));
            }
            match ready!(self.batches.poll_recv(cx)) {
                Some(batch) => self.batch = Some((batch, 0)),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: Decode> Job<T> {
    /// The next outcome. Cancel safe.
    pub async fn next(&mut self) -> Option<TaskOutcome<T>> {
        std::future::poll_fn(|cx| self.poll_fetched(cx))
            .await
            .map(TaskOutcome::new)
    }

    /// Wait for all remaining outcomes; returns them in the order of the inputs. Holds all of them
    /// in memory.
    ///
    /// # Errors
    /// When a task of the job has no outcome: the broker became unreachable, outcomes were lost, or
    /// the job was attached to and its submitter never sealed it. The error contains the outcomes
    /// received. Failed and cancelled tasks have outcomes, too.
    pub async fn gather(mut self) -> Result<Vec<TaskOutcome<T>>, GatherError<T>> {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        self.all_of(outcomes)
    }

    /// All outcomes there are, in the order of the inputs, if they are those of every task.
    pub(crate) fn all_of(
        &self,
        mut outcomes: Vec<TaskOutcome<T>>,
    ) -> Result<Vec<TaskOutcome<T>>, GatherError<T>> {
        outcomes.sort_by_key(|outcome| outcome.index);
        let Progress { cancelled, .. } = self.progress();
        let missing = self
            .progress()
            .total()
            .map(|total| total.saturating_sub(self.taken));
        if missing == Some(0) {
            return Ok(outcomes);
        }
        let unsaid = "its submitter had not said how many tasks there are";
        let why = match (self.trouble(), self.incomplete()) {
            (Some(trouble), _) => in_one_line(trouble),
            (None, Some(incomplete)) => incomplete.to_string(),
            (None, None) if cancelled => format!("the job was cancelled when {unsaid}"),
            (None, None) => unsaid.into(),
        };
        Err(GatherError {
            outcomes,
            missing,
            why,
        })
    }
}

impl<T: Decode> Stream for Job<T> {
    type Item = TaskOutcome<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let outcome = ready!(self.get_mut().poll_fetched(cx));
        Poll::Ready(outcome.map(TaskOutcome::new))
    }
}
