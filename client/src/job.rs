//! Jobs: many tasks, fed and followed.
//!
//! A driver on the client's runtime takes inputs, packs them into bundles, publishes them, and passes outcomes on in the order in which they
//! arrive. Everything it holds is bounded by [`Window`]: inputs are taken only while few bundles are out, and outcomes are fetched only while
//! the caller reads them, so that a caller who stops reading stops the job, and a job of any length takes the same memory.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use sortie_broker::{Broker, Event, Position};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::packing::{Collector, Packer};
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{Bill, Bundle, Ending, Failure, Job as JobRecord, JobId, Outcome, Task, TaskIndex};
use tokio::sync::{mpsc, watch};

use crate::arguments::IntoArguments;
use crate::client::{Client, SubmitError, now};
use crate::function::Function;
use crate::outcome::TaskOutcome;

/// Batches of outcomes that wait for the caller.
const BATCHES_WAITING: usize = 16;

/// How much of a job is under way at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Slots that work on it, as far as is known.
    pub(crate) slots: NonZeroUsize,
}

impl Window {
    /// Bundles that may be published and not ended: enough that each slot finds the next one waiting when it ends the present one.
    fn bundles(self) -> usize {
        3 * self.slots.get() + 1
    }
}

impl Default for Window {
    fn default() -> Self {
        Self { slots: NonZeroUsize::MIN.saturating_add(63) }
    }
}

/// A job under way: a stream of its outcomes, in the order of completion. Dropping it cancels what is left.
pub struct Job<T> {
    id: Option<JobId>,
    batches: mpsc::Receiver<Arc<[Outcome]>>,
    batch: Option<(Arc<[Outcome]>, usize)>,
    counters: Arc<Counters>,
    cancel: watch::Sender<bool>,
    result: PhantomData<fn() -> T>,
}

#[derive(Debug, Default)]
struct Counters {
    submitted: AtomicU64,
    complete: AtomicBool,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Inputs that were taken.
    pub submitted: u64,
    /// Whether these are all: the inputs have ended.
    pub complete: bool,
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("progress", &self.progress()).finish_non_exhaustive()
    }
}

impl<T> Job<T> {
    pub(crate) fn start<S>(client: &Client, function: &Function<T>, inputs: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: IntoArguments,
    {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        let (cancel, cancelled) = watch::channel(false);
        let counters = Arc::new(Counters::default());
        let record = client.new_job(function);
        let id = record.as_ref().ok().map(|record| record.id);
        let check: Function<()> = Function::new(function.reference.clone(), function.signature().clone());
        let tasks = inputs.map(move |input| check.check(input.into_arguments()).map_err(|error| error.to_string()));
        let shared = client.shared.clone();
        let driver = Driver {
            broker: shared.broker.clone(),
            window: shared.window,
            sender,
            cancelled,
            counters: counters.clone(),
            seen: Seen::default(),
            submitted: 0,
            packer: Packer::default(),
            collector: Collector::default(),
            bundles_out: Outstanding::default(),
        };
        // Ends by itself when the job is dropped: its channels close. Holds the client, so that an embedded worker outlives its jobs.
        client.shared.runtime.spawn(async move {
            driver.run(record, tasks.boxed()).await;
            drop(shared);
        });
        Self { id, batches, batch: None, counters, cancel, result: PhantomData }
    }

    /// How far the job is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let complete = self.counters.complete.load(Ordering::Acquire);
        Progress { submitted: self.counters.submitted.load(Ordering::Acquire), complete }
    }

    /// Cancel what is left. Tasks that were submitted and have no outcome end as cancelled; further inputs are not taken.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// The next outcome as it is, undecoded. Cancel safe.
    pub async fn next_outcome(&mut self) -> Option<Outcome> {
        std::future::poll_fn(|cx| self.poll_outcome(cx)).await
    }

    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            if let Some((batch, next)) = &mut self.batch
                && let Some(outcome) = batch.get(*next)
            {
                *next += 1;
                return Poll::Ready(Some(outcome.clone()));
            }
            match ready!(self.batches.poll_recv(cx)) {
                Some(batch) => self.batch = Some((batch, 0)),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T: DeserializeOwned> Job<T> {
    /// The next outcome. Cancel safe.
    pub async fn next(&mut self) -> Option<TaskOutcome<T>> {
        self.next_outcome().await.map(TaskOutcome::from)
    }

    /// Wait for all outcomes; in the order of the inputs. Holds them all.
    pub async fn gather(mut self) -> Vec<TaskOutcome<T>> {
        let mut outcomes = Vec::new();
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.index);
        outcomes
    }
}

impl<T: DeserializeOwned> Stream for Job<T> {
    type Item = TaskOutcome<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let outcome = ready!(self.get_mut().poll_outcome(cx));
        Poll::Ready(outcome.map(TaskOutcome::from))
    }
}

/// Bundles that were published and have tasks without an outcome: how many tasks each still misses, by its first index.
#[derive(Debug, Default)]
struct Outstanding {
    bundles: std::collections::BTreeMap<TaskIndex, usize>,
}

impl Outstanding {
    fn add(&mut self, first: TaskIndex, tasks: usize) {
        self.bundles.insert(first, tasks);
    }

    /// One task of the bundle that holds `index` ended.
    fn end(&mut self, index: TaskIndex) {
        if let Some((&first, missing)) = self.bundles.range_mut(..=index).next_back() {
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.bundles.remove(&first);
            }
        }
    }

    fn len(&self) -> usize {
        self.bundles.len()
    }
}

struct Driver {
    broker: Arc<dyn Broker>,
    window: Window,
    sender: mpsc::Sender<Arc<[Outcome]>>,
    cancelled: watch::Receiver<bool>,
    counters: Arc<Counters>,
    seen: Seen,
    submitted: TaskIndex,
    packer: Packer,
    collector: Collector,
    bundles_out: Outstanding,
}

/// What the driver waits for.
enum Step {
    Input(Option<Result<Vec<sortie_protocol::Argument>, String>>),
    /// The inputs have nothing right now: what is collected goes out.
    Idle,
    Event(Option<Event>),
    /// The caller cancelled, or dropped the job.
    Cancel,
    Dropped,
}

/// The job cannot go on; nobody is left to tell, or everybody has been told.
struct Over;

type Tasks = BoxStream<'static, Result<Vec<sortie_protocol::Argument>, String>>;

impl Driver {
    async fn run(mut self, record: Result<JobRecord, SubmitError>, tasks: Tasks) {
        let record = match record {
            Ok(record) => record,
            Err(error) => return tracing::error!(%error, "failed to start a job"),
        };
        let id = record.id;
        let started = match self.broker.put_job(record).await {
            Ok(()) => self.broker.outcomes(id, 0).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(events) => {
                if let Err(Over) = self.drive(id, tasks, events).await {
                    // Cancelling and forgetting are courtesies to the broker by now.
                    let _ = self.broker.cancel(id).await;
                }
                let _ = self.broker.forget(id).await;
            }
            Err(error) => tracing::error!(%error, job = %id, "the broker did not take the job"),
        }
    }

    async fn drive(&mut self, id: JobId, tasks: Tasks, mut events: BoxStream<'static, Event>) -> Result<(), Over> {
        let mut tasks = tasks.fuse();
        let mut total = tasks.size_hint().1.map(|total| total as u64);
        let mut ended = false;
        loop {
            if ended && self.collector.is_empty() && self.seen.len() == self.submitted {
                return Ok(());
            }
            let room = !ended && self.bundles_out.len() < self.window.bundles();
            match self.step(&mut tasks, &mut events, room).await {
                Step::Input(Some(input)) => self.on_input(id, input, total).await?,
                Step::Input(None) => {
                    ended = true;
                    total = Some(self.submitted);
                    self.counters.complete.store(true, Ordering::Release);
                    self.flush(id).await?;
                }
                Step::Idle => self.flush(id).await?,
                Step::Event(Some(Event::Outcomes(position, outcomes))) => self.on_outcomes(id, position, outcomes).await?,
                Step::Event(Some(Event::Cancelled)) => return self.on_cancelled().await,
                Step::Event(None) | Step::Dropped => return Err(Over),
                Step::Cancel => self.broker.cancel(id).await.map_err(|_| Over)?,
            }
        }
    }

    /// Wait for the next thing to do. Cancel safe: whatever is polled here is kept by the caller.
    async fn step(&mut self, tasks: &mut futures::stream::Fuse<Tasks>, events: &mut BoxStream<'static, Event>, room: bool) -> Step {
        let sender = self.sender.clone();
        tokio::select! {
            biased;
            changed = self.cancelled.changed() => match changed {
                Ok(()) => Step::Cancel,
                Err(_) => Step::Dropped,
            },
            () = sender.closed() => Step::Dropped,
            event = events.next() => Step::Event(event),
            input = tasks.next(), if room => Step::Input(input),
            () = std::future::ready(()), if !self.collector.is_empty() => Step::Idle,
        }
    }

    async fn on_input(&mut self, id: JobId, input: Result<Vec<sortie_protocol::Argument>, String>, total: Option<u64>) -> Result<(), Over> {
        let index = self.submitted;
        self.submitted += 1;
        self.counters.submitted.store(self.submitted, Ordering::Release);
        match input {
            Ok(arguments) => {
                if let Some(full) = self.collector.push(Task { index, arguments }) {
                    self.publish(id, full).await?;
                }
                let left = total.map(|total| total.saturating_sub(index));
                if self.collector.len() >= self.packer.tasks(left, self.window.slots.get()) {
                    self.flush(id).await?;
                }
                Ok(())
            }
            Err(message) => {
                self.seen.insert(index);
                let failure = Failure::Input { fault: InputFault::Malformed, message };
                self.pass_on(vec![unrun(index, Ending::Failed(failure))].into()).await
            }
        }
    }

    async fn flush(&mut self, id: JobId) -> Result<(), Over> {
        match self.collector.take() {
            Some(tasks) => self.publish(id, tasks).await,
            None => Ok(()),
        }
    }

    async fn publish(&mut self, id: JobId, tasks: Vec<Task>) -> Result<(), Over> {
        let (Some(first), count) = (tasks.first().map(|task| task.index), tasks.len()) else { return Ok(()) };
        let bundle = Bundle { job: id, attempts_before: 0, published: now(), tasks };
        match self.broker.publish(bundle).await {
            Ok(()) => {
                self.bundles_out.add(first, count);
                Ok(())
            }
            // The follower is about to tell of it.
            Err(sortie_broker::Error::JobCancelled(_)) => Ok(()),
            Err(error) => {
                let message = format!("the broker did not take the task: {error}");
                let failure = Failure::Platform { fault: sortie_protocol::outcome::PlatformFault::Host, message };
                let outcomes = (first..).take(count).map(|index| unrun(index, Ending::Failed(failure.clone())));
                let outcomes: Arc<[Outcome]> = outcomes.filter(|outcome| self.seen.insert(outcome.index) == First::Yes).collect();
                self.pass_on(outcomes).await
            }
        }
    }

    async fn on_outcomes(&mut self, id: JobId, position: Position, outcomes: Arc<[Outcome]>) -> Result<(), Over> {
        let work = outcomes.iter().map(|outcome| outcome.bill.run + outcome.bill.fetch).sum();
        self.packer.observe(outcomes.len(), work);
        for outcome in outcomes.iter() {
            self.seen.insert(outcome.index);
            self.bundles_out.end(outcome.index);
        }
        // Trimming is a hint: should it fail, the broker keeps the outcomes until the job is forgotten.
        let _ = self.broker.trim(id, position + outcomes.len() as Position).await;
        self.pass_on(outcomes).await
    }

    /// Everything that was submitted and has no outcome was cancelled.
    async fn on_cancelled(&mut self) -> Result<(), Over> {
        let unseen: Arc<[Outcome]> =
            (0..self.submitted).filter(|index| !self.seen.contains(*index)).map(|index| unrun(index, Ending::Cancelled)).collect();
        self.pass_on(unseen).await
    }

    async fn pass_on(&self, outcomes: Arc<[Outcome]>) -> Result<(), Over> {
        self.sender.send(outcomes).await.map_err(|_| Over)
    }
}

fn unrun(index: TaskIndex, ending: Ending) -> Outcome {
    Outcome { index, attempts: 0, ending, bill: Bill::default(), log: None }
}
