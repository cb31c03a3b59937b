//! The driver of a job that is submitted here: many tasks, fed and followed.
//!
//! It takes inputs, packs them into bundles, publishes them, and passes outcomes on in the order in
//! which they arrive. Everything it holds is bounded by [`Window`]: inputs are taken only while few
//! bundles are out, and outcomes are fetched only while the caller reads them, so that a caller who
//! stops reading stops the job, and a job of any length takes the same memory.
//!
//! The broker has an outcome for every task, also for those that no worker can run, so that whoever
//! attaches to the job sees the same. It is told how many tasks there are when all of them are
//! there, and it forgets the job only when the caller has read its end and let go: outcomes
//! that were on their way to a caller who died are still at the broker. So are those of a job whose
//! broker was away for longer than its patience.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{Stream as _, StreamExt as _};
use sortie_broker::{Broker, Error, Position};
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::packing::{Collector, Packer};
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{
    Argument, Ending, Failure, Job as JobRecord, JobId, Outcome, Task, TaskIndex,
};
use tokio::runtime::Handle;

use crate::client::{SubmitError, now};
use crate::following::{Followed, Following};
use crate::job::{Line, Over, Wish, lost, unrun};
use crate::publisher::{Answer, Publisher, Said};
use crate::window::Window;

/// Outcomes that are made at once for tasks without one.
pub(crate) const ENDED_AT_ONCE: usize = 1024;

/// The arguments of one task after the other, or why some cannot be a task's.
pub(crate) type Tasks = BoxStream<'static, Result<Vec<Argument>, Failure>>;

/// Submit a job and follow it until its caller is done with it.
pub(crate) async fn run(
    broker: Arc<dyn Broker>,
    window: Window,
    record: Result<JobRecord, SubmitError>,
    tasks: Tasks,
    mut line: Line,
) {
    let id = match record {
        Ok(record) => {
            let id = record.id;
            match start(&broker, record).await {
                Ok(events) => {
                    let driver = Driver::new(&*broker, &window, id, &mut line, events);
                    let drove = tokio::select! {
                        biased;
                        drove = driver.drive(tasks) => drove,
                        () = window.keep(&*broker) => Err(Over),
                    };
                    if line.is_cut_off() {
                        // Workers may go on, and whoever comes when the broker is back finds what
                        // they did: nothing is cancelled or forgotten.
                        return;
                    }
                    if drove.is_err() && *line.wish.borrow() != Wish::Leave {
                        // A courtesy to the broker by now.
                        let _ = broker.cancel(id).await;
                    }
                }
                Err(error) => line.set_trouble(error.into()),
            }
            id
        }
        Err(error) => return line.set_trouble(error),
    };
    let Line {
        sender,
        mut wish,
        state,
    } = line;
    // The caller reads what is left, and then the end.
    drop((sender, state));
    while *wish.borrow_and_update() != Wish::Leave {
        if wish.changed().await.is_err() {
            let _ = broker.forget(id).await;
            return;
        }
    }
}

async fn start(broker: &Arc<dyn Broker>, record: JobRecord) -> Result<Following, Error> {
    let id = record.id;
    broker.put_job(record, now()).await?;
    Following::open(broker, &Handle::current(), id).await
}

/// Why an input is no task.
pub(crate) fn unsent(index: TaskIndex, failure: Failure) -> Outcome {
    unrun(index, Ending::Failed(failure))
}

/// What becomes of tasks that the broker did not take.
pub(crate) fn untaken(first: TaskIndex, count: usize, error: &Error) -> Arc<[Outcome]> {
    let failure = Failure::Platform {
        fault: PlatformFault::Host,
        message: format!("the broker did not take the task: {error}"),
    };
    (first..)
        .take(count)
        .map(|index| unrun(index, Ending::Failed(failure.clone())))
        .collect()
}

/// Bundles that were published and have tasks without an outcome: how many tasks each still misses,
/// by its first index.
#[derive(Debug, Default)]
struct Outstanding {
    bundles: BTreeMap<TaskIndex, usize>,
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

/// Whether the broker was told how many tasks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    Due,
    Said,
    /// The broker lacks the outcome of a task, so whoever counts on it would wait for ever.
    Withheld,
}

struct Driver<'b> {
    broker: &'b dyn Broker,
    publisher: Publisher<'b>,
    window: &'b Window,
    line: &'b mut Line,
    events: Following,
    id: JobId,
    seen: Seen,
    submitted: TaskIndex,
    /// Whether the inputs have ended.
    ended: bool,
    seal: Seal,
    packer: Packer,
    collector: Collector,
    bundles_out: Outstanding,
}

/// What the driver waits for.
enum Step {
    Input(Option<Result<Vec<Argument>, Failure>>),
    /// The inputs have nothing right now: what is collected goes out.
    Idle,
    Answer(Answer),
    Event(Option<Followed>),
    /// The caller cancelled, or let the job go.
    Cancel,
    Gone,
}

impl<'b> Driver<'b> {
    fn new(
        broker: &'b dyn Broker,
        window: &'b Window,
        id: JobId,
        line: &'b mut Line,
        events: Following,
    ) -> Self {
        Self {
            broker,
            publisher: Publisher::new(broker, id),
            window,
            line,
            events,
            id,
            seen: Seen::default(),
            submitted: 0,
            ended: false,
            seal: Seal::Due,
            packer: Packer::default(),
            collector: Collector::default(),
            bundles_out: Outstanding::default(),
        }
    }

    async fn drive(mut self, tasks: Tasks) -> Result<(), Over> {
        let mut tasks = tasks.fuse();
        let total = tasks.size_hint().1.map(|total| total as u64);
        loop {
            if self.ended && self.collector.is_empty() && self.publisher.is_idle() {
                match self.seal {
                    // The answer may be there already, and then nothing else is to come.
                    Seal::Due => {
                        self.seal().await?;
                        continue;
                    }
                    Seal::Said | Seal::Withheld if self.seen.len() == self.submitted => {
                        return Ok(());
                    }
                    Seal::Said | Seal::Withheld => {}
                }
            }
            match self.step(&mut tasks).await {
                Step::Input(Some(input)) => self.on_input(input, total).await?,
                Step::Input(None) => {
                    self.ended = true;
                    self.line.set_complete();
                    self.flush().await?;
                }
                Step::Idle => self.flush().await?,
                Step::Answer(answer) => self.on_answer(answer).await?,
                Step::Event(Some(Followed::Outcomes(position, outcomes))) => {
                    self.on_outcomes(position, outcomes).await?
                }
                Step::Event(Some(Followed::Cancelled)) => return self.on_cancelled().await,
                Step::Event(Some(Followed::Idle)) => self.on_idle().await?,
                Step::Event(None) => {
                    self.events
                        .trouble()
                        .into_iter()
                        .for_each(|error| self.line.set_trouble(error.into()));
                    return Err(Over);
                }
                Step::Gone => return Err(Over),
                Step::Cancel => {
                    if let Err(error) = self.broker.cancel(self.id).await {
                        self.line.set_trouble(error.into());
                        return Err(Over);
                    }
                }
            }
        }
    }

    /// Wait for the next thing to do. Cancel safe: whatever is polled here is kept by the caller.
    async fn step(&mut self, tasks: &mut futures::stream::Fuse<Tasks>) -> Step {
        let room = !self.ended
            && self.bundles_out.len() < self.window.bundles()
            && self.publisher.has_room();
        let Line { sender, wish, .. } = &mut *self.line;
        tokio::select! {
            biased;
            changed = wish.changed() => match (changed, *wish.borrow()) {
                (Ok(()), Wish::Run | Wish::Cancel) => Step::Cancel,
                (Ok(()), Wish::Leave) | (Err(_), _) => Step::Gone,
            },
            () = sender.closed() => Step::Gone,
            event = self.events.next() => Step::Event(event),
            answer = self.publisher.answer(), if !self.publisher.is_idle() => Step::Answer(answer),
            input = tasks.next(), if room => Step::Input(input),
            () = std::future::ready(()), if !self.collector.is_empty() => Step::Idle,
        }
    }

    async fn on_input(
        &mut self,
        input: Result<Vec<Argument>, Failure>,
        total: Option<u64>,
    ) -> Result<(), Over> {
        let index = self.submitted;
        self.submitted += 1;
        self.line.set_submitted(self.submitted);
        match input {
            Ok(arguments) => {
                if let Some(full) = self.collector.push(Task { index, arguments }) {
                    self.publish(full).await?;
                }
                let left = total.map(|total| total.saturating_sub(index));
                if self.collector.len() >= self.packer.tasks(left, self.window.slots()) {
                    self.flush().await?;
                }
                Ok(())
            }
            Err(failure) => {
                // Bundles hold tasks one after the other.
                self.flush().await?;
                self.bundles_out.add(index, 1);
                self.store([unsent(index, failure)].into()).await
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Over> {
        match self.collector.take() {
            Some(tasks) => self.publish(tasks).await,
            None => Ok(()),
        }
    }

    async fn publish(&mut self, tasks: Vec<Task>) -> Result<(), Over> {
        if let Some(first) = tasks.first() {
            // Before it is published: its outcomes may be faster than the answer.
            self.bundles_out.add(first.index, tasks.len());
        }
        match self.publisher.publish(tasks).await {
            Some(answer) => self.on_answer(answer).await,
            None => Ok(()),
        }
    }

    async fn store(&mut self, outcomes: Arc<[Outcome]>) -> Result<(), Over> {
        match self.publisher.store(outcomes).await {
            Some(answer) => self.on_stored(answer).await,
            None => Ok(()),
        }
    }

    /// Tell whoever attaches that all is there. This client knows it without.
    async fn seal(&mut self) -> Result<(), Over> {
        self.seal = Seal::Said;
        match self.publisher.seal(self.submitted).await {
            Some(answer) => self.on_answer(answer).await,
            None => Ok(()),
        }
    }

    async fn on_answer(&mut self, answer: Answer) -> Result<(), Over> {
        // While an answer is awaited no task is ended for want of an outcome; from now on a look
        // counts that was begun after this.
        self.events.stir();
        match answer {
            Answer {
                result: Err(error),
                said: Said::Bundle(first, count),
            } => match error {
                // The follower is about to tell of it.
                Error::JobCancelled(_) => Ok(()),
                // What was asked may have happened, or nothing can be told to the broker either.
                Error::Unreachable { .. } | Error::NoSuchJob(_) => {
                    self.give_up(&untaken(first, count, &error)).await
                }
                Error::TooLarge { .. }
                | Error::Empty
                | Error::Denied { .. }
                | Error::Unsuitable { .. } => self.store(untaken(first, count, &error)).await,
            },
            other => self.on_stored(other).await,
        }
    }

    /// The answer to anything but a bundle that was refused.
    async fn on_stored(&mut self, answer: Answer) -> Result<(), Over> {
        match answer {
            Answer {
                result: Err(_),
                said: Said::Outcomes(outcomes),
            } => self.give_up(&outcomes).await,
            Answer {
                result: Err(error),
                said: Said::Seal,
            } => {
                tracing::debug!(%error, job = %self.id, "failed to seal a job");
                Ok(())
            }
            Answer { result: Ok(()), .. }
            | Answer {
                said: Said::Bundle(..),
                ..
            } => Ok(()),
        }
    }

    /// Pass outcomes on that the broker will not have.
    async fn give_up(&mut self, outcomes: &[Outcome]) -> Result<(), Over> {
        self.seal = Seal::Withheld;
        let fresh = outcomes
            .iter()
            .filter(|outcome| self.seen.insert(outcome.index) == First::Yes)
            .cloned()
            .collect::<Arc<[_]>>();
        fresh
            .iter()
            .for_each(|outcome| self.bundles_out.end(outcome.index));
        self.line.pass_on(fresh).await
    }

    async fn on_outcomes(
        &mut self,
        position: Position,
        outcomes: Arc<[Outcome]>,
    ) -> Result<(), Over> {
        // Tasks that nobody ran say nothing of how long the others take.
        let ran = outcomes.iter().filter(|outcome| outcome.attempts > 0);
        self.packer.observe(
            ran.clone().count(),
            ran.map(|outcome| outcome.bill.run + outcome.bill.fetch)
                .sum(),
        );
        let mut known = Vec::new();
        for outcome in outcomes.iter() {
            match self.seen.insert(outcome.index) {
                First::Yes => self.bundles_out.end(outcome.index),
                // It was given up, and then it did end.
                First::No => known.push(outcome.index),
            }
        }
        if !self.line.keeps_outcomes() {
            // Trimming is a hint: should it fail, the broker keeps the outcomes until the job is
            // forgotten.
            let _ = self
                .broker
                .trim(self.id, position + outcomes.len() as Position)
                .await;
        }
        if known.is_empty() {
            return self.line.pass_on(outcomes).await;
        }
        self.line
            .pass_on(
                outcomes
                    .iter()
                    .filter(|outcome| !known.contains(&outcome.index))
                    .cloned()
                    .collect(),
            )
            .await
    }

    /// What was published and has no outcome gets none: those tasks end here, so that no further
    /// input waits for them.
    async fn on_idle(&mut self) -> Result<(), Over> {
        if !self.publisher.is_idle()
            || !self.collector.is_empty()
            || self.seen.len() >= self.submitted
        {
            return Ok(());
        }
        tracing::warn!(job = %self.id, missing = self.submitted - self.seen.len(), "tasks have no outcome that can be read, and get none");
        let mut next = 0;
        loop {
            let missing = (next..self.submitted)
                .filter(|index| !self.seen.contains(*index))
                .take(ENDED_AT_ONCE);
            let outcomes: Vec<Outcome> = missing.map(|index| unrun(index, lost())).collect();
            let Some(last) = outcomes.last() else {
                return Ok(());
            };
            next = last.index + 1;
            self.give_up(&outcomes).await?;
        }
    }

    /// Everything that was submitted and has no outcome was cancelled.
    async fn on_cancelled(&mut self) -> Result<(), Over> {
        self.line.set_cancelled();
        self.line.set_complete();
        pass_on_cancelled(self.line, &self.seen, self.submitted).await
    }
}

/// Pass on that all tasks without an outcome were cancelled.
pub(crate) async fn pass_on_cancelled(
    line: &Line,
    seen: &Seen,
    tasks: TaskIndex,
) -> Result<(), Over> {
    let mut unseen = (0..tasks)
        .filter(|index| !seen.contains(*index))
        .map(|index| unrun(index, Ending::Cancelled))
        .peekable();
    while unseen.peek().is_some() {
        line.pass_on(unseen.by_ref().take(ENDED_AT_ONCE).collect())
            .await?;
    }
    Ok(())
}
