//! Jobs as a caller holds them: a stream of outcomes, and what can be asked of it.
//!
//! A driver on the client's runtime does the work: [`driver`](crate::driver) for a job that is
//! submitted here, [`attach`](crate::attach) for one that was submitted elsewhere. Both pass
//! outcomes on only as fast as the caller reads them.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream};
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Bill, Ending, Failure, JobId, Outcome, TaskIndex};
use tokio::sync::{mpsc, watch};

use crate::client::SubmitError;
use crate::outcome::TaskOutcome;
use crate::output::Decode;
use crate::values::{Values, is_stored};

/// Batches of outcomes that wait for the caller.
const BATCHES_WAITING: usize = 16;

/// A job under way: a stream of its outcomes, in the order of completion.
///
/// One that was submitted by [`Client::map`](crate::Client::map) belongs to whoever holds this:
/// dropping it cancels what is left and has the broker forget the job. One that was attached to by
/// [`Client::attach`](crate::Client::attach) belongs to nobody: dropping it changes nothing.
pub struct Job<T> {
    id: Option<JobId>,
    batches: mpsc::Receiver<Arc<[Outcome]>>,
    batch: Option<(Arc<[Outcome]>, usize)>,
    /// Outcomes that were taken from here.
    taken: u64,
    values: Values,
    /// An outcome that was taken, whose value is under way.
    fetching: Option<BoxFuture<'static, Outcome>>,
    state: Arc<State>,
    wish: watch::Sender<Wish>,
    result: PhantomData<fn() -> T>,
}

/// What the holder of a job wants of its driver. That it is dropped says the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// That it goes on.
    Run,
    /// That it is cancelled.
    Cancel,
    /// That it stays at the broker as it is.
    Leave,
}

/// What a driver says beside the outcomes.
#[derive(Debug, Default)]
pub(crate) struct State {
    submitted: AtomicU64,
    complete: AtomicBool,
    cancelled: AtomicBool,
    keeps_outcomes: AtomicBool,
    trouble: OnceLock<SubmitError>,
}

/// A driver's end of a job.
pub(crate) struct Line {
    pub(crate) sender: mpsc::Sender<Arc<[Outcome]>>,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) state: Arc<State>,
}

/// The job cannot go on; nobody is left to tell, or everybody has been told.
pub(crate) struct Over;

impl Line {
    /// Pass outcomes on, as soon as the caller has room.
    pub(crate) async fn pass_on(&self, outcomes: Arc<[Outcome]>) -> Result<(), Over> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.sender.send(outcomes).await.map_err(|_| Over)
    }

    pub(crate) fn set_submitted(&self, tasks: TaskIndex) {
        self.state.submitted.store(tasks, Ordering::Release);
    }

    pub(crate) fn set_complete(&self) {
        self.state.complete.store(true, Ordering::Release);
    }

    pub(crate) fn set_cancelled(&self) {
        self.state.cancelled.store(true, Ordering::Release);
    }

    /// Whether outcomes that were passed on have to stay at the broker.
    pub(crate) fn keeps_outcomes(&self) -> bool {
        self.state.keeps_outcomes.load(Ordering::Acquire)
    }

    pub(crate) fn set_trouble(&self, error: SubmitError) {
        // The first is the cause of those that follow.
        let _ = self.state.trouble.set(error);
    }

    /// Whether the job ended for its caller because its broker was away for too long, and perhaps
    /// for nobody else.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.state.trouble.get().is_some_and(SubmitError::passes)
    }
}

/// The outcome of a task that no worker ran to its end.
pub(crate) fn unrun(index: TaskIndex, ending: Ending) -> Outcome {
    Outcome {
        index,
        attempts: 0,
        ending,
        bill: Bill::default(),
        log: None,
    }
}

/// How a task ends that has no outcome and gets none. Most likely one was stored that this program
/// cannot read.
pub(crate) fn lost() -> Ending {
    let message = "its outcome is not at the broker, or cannot be read by this program, and nothing of its job is unfinished; \
                   look at the dead letters, and whether a newer version of Sortie runs in the fleet";
    Ending::Failed(Failure::Platform {
        fault: PlatformFault::Host,
        message: message.into(),
    })
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Inputs that were taken. Of a job that was attached to and whose number of tasks is not
    /// known yet: outcomes that came.
    pub submitted: u64,
    /// Whether these are all: the inputs have ended, or are not taken any more because the job was
    /// cancelled.
    pub complete: bool,
    /// Whether the job was cancelled.
    pub cancelled: bool,
}

impl Progress {
    /// How many tasks the job has, once that is known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.complete.then_some(self.submitted)
    }
}

/// A job ended, and not every task of it has an outcome here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{} came, and {}: {why}", count(outcomes.len() as u64), shown(*missing))]
pub struct GatherError<T> {
    /// The outcomes that came, in the order of the inputs.
    pub outcomes: Vec<TaskOutcome<T>>,
    /// How many are missing, if that is known.
    pub missing: Option<u64>,
    /// Why they are.
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
    /// A job without a driver, and the driver's end of it.
    pub(crate) fn new(id: Option<JobId>, values: Values) -> (Self, Line) {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        let (wish, wished) = watch::channel(Wish::Run);
        let state = Arc::new(State::default());
        let line = Line {
            sender,
            wish: wished,
            state: state.clone(),
        };
        (
            Self {
                id,
                batches,
                batch: None,
                taken: 0,
                values,
                fetching: None,
                state,
                wish,
                result: PhantomData,
            },
            line,
        )
    }

    /// Its name at the broker. None if the system had no randomness to make one of; then the job
    /// ends at once.
    #[must_use]
    pub fn id(&self) -> Option<JobId> {
        self.id
    }

    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let complete = self.state.complete.load(Ordering::Acquire);
        let cancelled = self.state.cancelled.load(Ordering::Acquire);
        Progress {
            submitted: self.state.submitted.load(Ordering::Acquire),
            complete,
            cancelled,
        }
    }

    /// Why the job ended before all outcomes were there, if the broker was the reason.
    #[must_use]
    pub fn trouble(&self) -> Option<&SubmitError> {
        self.state.trouble.get()
    }

    /// Cancel what is left. Tasks that were submitted and have no outcome end as cancelled; further
    /// inputs are not taken.
    pub fn cancel(&self) {
        self.wish.send_replace(Wish::Cancel);
    }

    /// Have the broker keep outcomes that are passed on from now on, until it forgets the job: for
    /// a caller who has nothing to show for them before the end, and may [`leave`](Self::leave)
    /// the job instead. Without it, what was passed on is dropped there.
    pub fn keep_outcomes(&self) {
        self.state.keeps_outcomes.store(true, Ordering::Release);
    }

    /// Leave the job at its broker, as a client does that is killed: no further inputs are taken,
    /// what was published runs to its end, and [`Client::attach`](crate::Client::attach) finds
    /// the outcomes.
    pub fn leave(self) {
        self.wish.send_replace(Wish::Leave);
    }

    /// The next outcome as it is, undecoded. A large value may be in a store; [`Job::fetched`]
    /// brings it. Cancel safe.
    pub async fn next_outcome(&mut self) -> Option<Outcome> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    /// The outcome with its value at hand, wherever that was. If it cannot be fetched, the outcome
    /// says so instead. Cancel safe.
    pub async fn fetched(&self, outcome: Outcome) -> Outcome {
        self.values.fetched(outcome).await
    }

    /// The next outcome, with its value. What was taken stays taken if nobody polls on.
    fn poll_fetched(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            if let Some(fetching) = &mut self.fetching {
                let outcome = ready!(fetching.poll_unpin(cx));
                self.fetching = None;
                return Poll::Ready(Some(outcome));
            }
            match ready!(self.poll_outcome(cx)) {
                Some(outcome) if is_stored(&outcome) => {
                    let values = self.values.clone();
                    self.fetching = Some(async move { values.fetched(outcome).await }.boxed());
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

    /// Wait for all outcomes that were not taken yet; in the order of the inputs. Holds them all.
    ///
    /// # Errors
    /// When not every task of the job has one: the broker went away, outcomes were lost, or the job
    /// was attached to and its submitter never said how many tasks there are. Those that came
    /// are in the error. A task that failed or was cancelled has an outcome like any other.
    pub async fn gather(mut self) -> Result<Vec<TaskOutcome<T>>, GatherError<T>> {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.index);
        let Progress { cancelled, .. } = self.progress();
        let missing = self
            .progress()
            .total()
            .map(|total| total.saturating_sub(self.taken));
        if missing == Some(0) {
            return Ok(outcomes);
        }
        let why = match (self.trouble(), cancelled) {
            (Some(trouble), _) => in_one_line(trouble),
            (None, true) => "the job was cancelled before its submitter had said how many tasks there are".into(),
            (None, false) => "its submitter has not said how many tasks there are: it went away, or waits for its inputs".into(),
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
