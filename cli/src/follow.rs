//! Follows a job: takes its outcomes, writes them as lines or rows, and shows progress.
//!
//! Used by `map`, which submits the job, or a pipeline of several functions, and by `job gather`,
//! which finds a job at a broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use serde_json::Value;
use sortie::{Client, Job, JobId, Outcome, Progress as Taken};
use sortie_frontend::binding::{InFlight, shown};
use sortie_frontend::pipeline::{Pipeline, Step};
use sortie_frontend::results::{
    COPIES_MAX, Entry, Flow, Naming, Reorder, Writer, Written, is_pattern,
};
use sortie_frontend::session::Keeps;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, sleep_until};

use crate::ending::{Ending, Error};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::summary::Summary;
use crate::workers::WorkerNews;

/// How long to wait for the outcomes of cancelled tasks. Guests end within a tick; the rest of the
/// second is for writing the results at hand.
const CANCEL_TIME_MAX: Duration = Duration::from_millis(600);

/// Objects on their way to their names.
pub(crate) type Copies = JoinSet<Result<Outcome, sortie_frontend::Error>>;
/// One that came to its name, or did not.
type Copied = Result<Result<Outcome, sortie_frontend::Error>, JoinError>;

/// What is followed: a job, or a pipeline.
pub(crate) trait Followed {
    /// What happened next; none at the end. Cancel safe.
    async fn next(&mut self) -> Option<Step>;

    /// The outcome with its value. Cancel safe.
    async fn with_value(&self, outcome: Outcome) -> Outcome;

    /// Take no further inputs, and cancel what has not ended.
    fn stop(&mut self);

    /// What was taken so far.
    fn taken(&self) -> Taken;

    /// Whether it ended early.
    fn has_trouble(&self) -> bool;

    /// The job at the broker, once there is one.
    fn at_broker(&self) -> Option<JobId>;
}

impl Followed for Job<()> {
    async fn next(&mut self) -> Option<Step> {
        let outcome = self.next_outcome().await?;
        Some(Step::Ended(outcome.into()))
    }

    async fn with_value(&self, outcome: Outcome) -> Outcome {
        self.fetched(outcome).await
    }

    fn stop(&mut self) {
        self.cancel();
    }

    fn taken(&self) -> Taken {
        self.progress()
    }

    fn has_trouble(&self) -> bool {
        self.trouble().is_some()
    }

    fn at_broker(&self) -> Option<JobId> {
        self.id()
    }
}

impl Followed for Pipeline {
    async fn next(&mut self) -> Option<Step> {
        self.next().await
    }

    async fn with_value(&self, outcome: Outcome) -> Outcome {
        self.fetched(outcome).await
    }

    fn stop(&mut self) {
        self.cancel();
    }

    fn taken(&self) -> Taken {
        self.progress()
    }

    fn has_trouble(&self) -> bool {
        self.trouble().is_some()
    }

    fn at_broker(&self) -> Option<JobId> {
        self.job()
    }
}

/// A job while its results are written.
pub(crate) struct Run {
    pub(crate) output: Writer,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) reorder: Option<Reorder>,
    /// Whether results are written to the terminal that shows progress.
    pub(crate) results: Results,
    pub(crate) summary: Summary,
    pub(crate) progress: Progress,
    /// The total number of tasks, if known.
    pub(crate) total: Option<u64>,
    pub(crate) on_signal: OnSignal,
    /// Where the job is kept, which decides what can be done about its failures.
    pub(crate) keeps: Keeps,
    /// Whether a result is written without its value, or its object without a name, because a
    /// signal came first.
    pub(crate) lacks_values: bool,
    /// What gives the objects that tasks make their names, if anything does.
    pub(crate) naming: Option<Naming>,
    /// Objects on their way to their names.
    pub(crate) copies: Copies,
    /// Who asks what becomes of the workers, where a fleet runs the job, and of how many the user
    /// was told.
    pub(crate) asks: Option<(Client, Option<usize>)>,
    /// What becomes known of them, once there is a job.
    pub(crate) workers: Option<WorkerNews>,
}

/// What a signal does to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnSignal {
    Cancel,
    /// Nothing: another process submitted it, and it goes on.
    Leave,
}

/// Why a job is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// There are no more results.
    AtEnd,
    /// A signal came.
    BySignal,
    /// The reader of the results closed the pipe.
    ByReader,
}

/// Which outputs were named.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// Where results go.
    pub(crate) results: Option<PathBuf>,
    /// How objects are named.
    pub(crate) pattern: Option<String>,
}

impl Outputs {
    /// Tell the two apart: what has braces is for objects.
    pub(crate) fn of(named: &[PathBuf]) -> Result<Self, Error> {
        let mut outputs = Self::default();
        for output in named {
            let is_second = if is_pattern(output) {
                let text = output.to_string_lossy().into_owned();
                outputs.pattern.replace(text).is_some()
            } else {
                outputs.results.replace(output.clone()).is_some()
            };
            if is_second {
                return Err(Error::Usage(format!(
                    "--output: `{}` is a second one of its kind; one place for results, and one \
                     with {{...}} for the objects that tasks make",
                    output.display()
                )));
            }
        }
        Ok(outputs)
    }
}

impl Run {
    /// Write results until there are no more.
    pub(crate) async fn drive(
        &mut self,
        job: &mut impl Followed,
        interrupt: &Interrupt,
    ) -> Result<Stopped, Error> {
        let mut ticks = interval(self.progress.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut cancelled: Option<Instant> = None;
        loop {
            if cancelled.is_none() && interrupt.is_raised() {
                cancelled = Some(terminal::now());
                match self.on_signal {
                    OnSignal::Cancel => job.stop(),
                    OnSignal::Leave => break,
                }
            }
            let next = match job.next().now_or_never() {
                Some(Some(step)) => Next::Step(Box::new(step)),
                Some(None) => Next::End,
                None => {
                    if self.flush(interrupt).await? == Flow::Closed {
                        return Ok(Stopped::ByReader);
                    }
                    wait(job, &mut self.copies, interrupt, cancelled, &mut ticks).await
                }
            };
            match next {
                Next::Step(step) => self.on_step(job, *step, interrupt).await?,
                Next::Copied(copied) => self.on_copied(job, *copied, interrupt).await?,
                Next::Tick => {}
                Next::End => break,
            }
            while let Some(copied) = self.copies.try_join_next() {
                self.on_copied(job, copied, interrupt).await?;
            }
            if self.output.is_full() && self.flush(interrupt).await? == Flow::Closed {
                return Ok(Stopped::ByReader);
            }
            self.show(job);
        }
        self.finish_copies(job, interrupt).await?;
        let stopped = match (cancelled, self.on_signal) {
            // The job ended as the signal came: there was nothing left to stop.
            (Some(_), OnSignal::Cancel) if self.has_all(job) => Stopped::AtEnd,
            (Some(_), _) => Stopped::BySignal,
            (None, _) => Stopped::AtEnd,
        };
        if self.finish(stopped, job, interrupt).await? == Flow::Closed {
            return Ok(Stopped::ByReader);
        }
        // A signal may come while the last results are being fetched.
        Ok(
            if self.output.given_up().is_some() && interrupt.is_raised() {
                Stopped::BySignal
            } else {
                stopped
            },
        )
    }

    async fn on_step(
        &mut self,
        job: &impl Followed,
        step: Step,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        match step {
            Step::Ended(entry) => self.on_ended(job, entry, interrupt).await,
            Step::Through { index, cached } => {
                self.in_flight.end(index);
                self.summary.through(cached);
                Ok(())
            }
            Step::Reduced(entry) => {
                let entry = self.with_value(job, entry, interrupt).await;
                let shown = shown(entry.outcome.input.as_ref());
                let entry = self.with_name(entry, &shown, interrupt).await?;
                let status = self.output.push(&entry, &shown)?;
                self.summary.reduced(&status, &entry.outcome.bill, &shown);
                Ok(())
            }
        }
    }

    /// The one result of a reduction. An object gets its name.
    async fn with_name(
        &self,
        entry: Entry,
        shown: &Value,
        interrupt: &Interrupt,
    ) -> Result<Entry, Error> {
        match &self.naming {
            Some(naming) if naming.is_for(&entry.outcome) => {
                let Entry { outcome, function } = entry;
                let naming = Box::pin(naming.named(outcome, shown));
                let outcome = interrupt.or(naming).await??;
                Ok(Entry { outcome, function })
            }
            Some(_) | None => Ok(entry),
        }
    }

    /// A task ended. An object gets its name before its result is written.
    async fn on_ended(
        &mut self,
        job: &impl Followed,
        entry: Entry,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let naming = self.naming.as_ref();
        let is_for = |naming: &&Naming| naming.is_for(&entry.outcome);
        let Some(naming) = naming.filter(is_for).cloned() else {
            return self.take(job, entry, interrupt).await;
        };
        // What gets a name completed: nothing is said beside it.
        let outcome = entry.outcome;
        while self.copies.len() >= COPIES_MAX
            && let Some(copied) = interrupt.or(self.copies.join_next()).await?
        {
            self.on_copied(job, copied, interrupt).await?;
        }
        let shown = self.shown(&outcome);
        self.copies
            .spawn(async move { naming.named(outcome, &shown).await });
        Ok(())
    }

    async fn on_copied(
        &mut self,
        job: &impl Followed,
        copied: Copied,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let copied = copied.map_err(|error| Error::Platform(error.to_string()))?;
        self.take(job, copied?.into(), interrupt).await
    }

    /// Wait for the objects that are on their way; after a signal no longer than tasks get to end.
    async fn finish_copies(
        &mut self,
        job: &impl Followed,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let too_late = async {
            interrupt.raised().await;
            sleep(CANCEL_TIME_MAX).await;
        };
        tokio::pin!(too_late);
        loop {
            let copied = tokio::select! {
                biased;
                copied = self.copies.join_next() => copied,
                () = &mut too_late => {
                    self.lacks_values = true;
                    self.copies.abort_all();
                    return Ok(());
                }
            };
            match copied {
                Some(copied) => self.on_copied(job, copied, interrupt).await?,
                None => return Ok(()),
            }
        }
    }

    /// The input of a task, as results show it: as it is known here, or as its submitter called it.
    fn shown(&self, outcome: &Outcome) -> Value {
        match self.in_flight.shown(outcome.index) {
            Value::Null => shown(outcome.input.as_ref()),
            shown => shown,
        }
    }

    /// A result is to be written.
    async fn take(
        &mut self,
        job: &impl Followed,
        entry: Entry,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let Some(mut reorder) = self.reorder.take() else {
            return self.write(job, entry, interrupt).await;
        };
        reorder.push(entry);
        while let Some(entry) = reorder.pop() {
            self.write(job, entry, interrupt).await?;
        }
        self.in_flight.set_waiting_bytes(reorder.bytes());
        self.reorder = Some(reorder);
        Ok(())
    }

    /// Write a result.
    async fn write(
        &mut self,
        job: &impl Followed,
        entry: Entry,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        if self.has_no_result(job, &entry.outcome) {
            self.in_flight.end(entry.outcome.index);
            return Ok(());
        }
        let entry = self.with_value(job, entry, interrupt).await;
        let outcome = &entry.outcome;
        let shown = self.shown(outcome);
        self.in_flight.end(outcome.index);
        let status = self.output.push(&entry, &shown)?;
        // A submitter need not call its inputs anything.
        let shown = if shown.is_null() {
            format!("task {}", outcome.index).into()
        } else {
            shown
        };
        self.summary.count(&status, &outcome.bill, &shown);
        Ok(())
    }

    /// Whether a task is one that a cancelled job of another process had left. The broker has no
    /// outcome of it, which would tell its input.
    fn has_no_result(&self, job: &impl Followed, outcome: &Outcome) -> bool {
        self.on_signal == OnSignal::Leave
            && job.taken().cancelled
            && matches!(outcome.ending, sortie::Ending::Cancelled)
            && outcome.input.is_none()
    }

    /// A value that is in a store is fetched when it is written, so that never more than one is
    /// held; after a signal it gets no longer than tasks get to end.
    async fn with_value(
        &mut self,
        job: &impl Followed,
        entry: Entry,
        interrupt: &Interrupt,
    ) -> Entry {
        match &entry.outcome.ending {
            sortie::Ending::Completed(output) if output.is_elsewhere() => {}
            _ => return entry,
        }
        match fetched(job, &entry.outcome, interrupt).await {
            Some(outcome) => Entry { outcome, ..entry },
            None => {
                self.lacks_values = true;
                entry
            }
        }
    }

    /// No more outcomes will come: write the results still waiting for their turn, even if earlier
    /// ones are missing.
    async fn finish(
        &mut self,
        stopped: Stopped,
        job: &impl Followed,
        interrupt: &Interrupt,
    ) -> Result<Flow, Error> {
        if let Some(mut reorder) = self.reorder.take() {
            for entry in reorder.drain() {
                self.write(job, entry, interrupt).await?;
            }
        }
        if self.flush(interrupt).await? == Flow::Closed {
            return Ok(Flow::Closed);
        }
        let written = if stopped == Stopped::AtEnd && self.has_all(job) {
            Written::All
        } else {
            Written::Some
        };
        Ok(self.output.close(written, interrupt.stop()).await?)
    }

    /// Whether every task has ended and every result was written with its value.
    fn has_all(&self, job: &impl Followed) -> bool {
        self.has_ended(job) && !self.lacks_values
    }

    /// Whether every task has ended, or a reduction of all.
    pub(crate) fn has_ended(&self, job: &impl Followed) -> bool {
        if let Some(is_over) = self.summary.is_reduced() {
            return is_over;
        }
        let (progress, ended) = (job.taken(), self.summary.ended());
        let is_sound = !job.has_trouble() && self.in_flight.trouble().is_none();
        is_sound
            && match self.on_signal {
                OnSignal::Cancel => {
                    progress.complete
                        && !progress.cancelled
                        && ended > 0
                        && ended == self.in_flight.taken()
                }
                // Only the submitter knows how many tasks were planned; these are all that exist.
                OnSignal::Leave => true,
            }
    }

    async fn flush(&mut self, interrupt: &Interrupt) -> Result<Flow, Error> {
        if self.output.pending_bytes() == 0 {
            return Ok(Flow::Open);
        }
        Ok(match self.results {
            Results::OnTerminal => {
                let output = &mut self.output;
                self.progress.aside(|| output.flush_lines())?
            }
            Results::Elsewhere => self.output.flush(interrupt.stop()).await?,
        })
    }

    fn show(&mut self, job: &impl Followed) {
        let taken = job.taken();
        let total = if taken.complete {
            Some(taken.submitted)
        } else {
            self.total.map(|total| total.max(taken.submitted))
        };
        if let Some(id) = job.at_broker()
            && let Some((client, told)) = self.asks.take()
        {
            self.workers = Some(WorkerNews::start(&client, id, told));
        }
        for line in self.workers.iter_mut().flat_map(WorkerNews::lines) {
            self.progress.aside(|| terminal::say(&line));
        }
        let workers = self.workers.as_ref().and_then(WorkerNews::count);
        self.progress.show(&self.summary, total, workers);
    }

    /// Print the summary, if any task has ended.
    pub(crate) fn sum_up(&self) {
        self.progress.finish();
        if self.in_flight.taken() == 0 && self.summary.ended() == 0 {
            return;
        }
        // The duration of a job that another process submitted is not known, either.
        let elapsed = match self.on_signal {
            OnSignal::Cancel => Some(terminal::now().duration_since(self.progress.started())),
            OnSignal::Leave => None,
        };
        self.summary
            .lines(elapsed, self.keeps)
            .iter()
            .for_each(|line| terminal::say(line));
        if let Some(place) = self.output.place() {
            terminal::say(&format!("results: {place}"));
        }
        if let Some(place) = self.output.given_up() {
            terminal::say(&format!(
                "no results: {place} is written when all results are there, and is as it was before"
            ));
        }
    }

    /// How the command ends if nothing else went wrong.
    pub(crate) fn ending(&self) -> Ending {
        self.summary.ending()
    }
}

/// The outcome with its value; `None` if a signal came and the remaining time ran out.
async fn fetched(job: &impl Followed, outcome: &Outcome, interrupt: &Interrupt) -> Option<Outcome> {
    let too_late = async {
        interrupt.raised().await;
        sleep(CANCEL_TIME_MAX).await;
    };
    tokio::select! {
        biased;
        fetched = job.with_value(outcome.clone()) => Some(fetched),
        () = too_late => None,
    }
}

/// What happens next.
enum Next {
    Step(Box<Step>),
    /// An object is at its name.
    Copied(Box<Copied>),
    End,
    /// Time to refresh the progress.
    Tick,
}

/// Wait for the next thing. Cancel safe.
async fn wait(
    job: &mut impl Followed,
    copies: &mut Copies,
    interrupt: &Interrupt,
    cancelled: Option<Instant>,
    ticks: &mut Interval,
) -> Next {
    let too_late = async {
        match cancelled {
            Some(since) => sleep_until((since + CANCEL_TIME_MAX).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = interrupt.raised(), if cancelled.is_none() => Next::Tick,
        step = job.next() => match step {
            Some(step) => Next::Step(Box::new(step)),
            None => Next::End,
        },
        Some(copied) = copies.join_next(), if !copies.is_empty() => Next::Copied(copied.into()),
        () = too_late => Next::End,
        _ = ticks.tick() => Next::Tick,
    }
}
