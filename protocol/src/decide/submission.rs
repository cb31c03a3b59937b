//! The client's state machine for one job: takes inputs, answers and outcomes, and returns
//! commands.
//!
//! It packs inputs into bundles and publishes them, passes outcomes on to the caller in the order
//! in which they come, seals the job when every publish was answered, sends heartbeats every few
//! seconds, and decides by [`Completion`] when the job is over. [`Manner`] selects which of these a
//! job needs.
//!
//! Everything it holds is bounded. Inputs are taken only while few bundles are unfinished and few
//! answers are awaited, and outcomes are read only while the caller takes them: a caller that stops
//! reading pauses the job, and a job of any length takes the same memory.
//!
//! An outcome is stored at the broker for every task, also for those that no worker can run, so
//! that all followers of the job see the same. A task that the broker did not accept, or whose
//! outcome is lost, ends for the caller with a platform failure.
//!
//! The machine never reads a clock and does no I/O. Its driver passes in [`Event`]s with the time,
//! carries out each [`Command`], polls the sources that [`Submission::wants`] names, and ticks at
//! [`Submission::wake_at`]. `E` is the broker's error, which is passed through.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

pub use self::manner::{Manner, REQUESTS_AT_ONCE};
use self::publishing::Publishing;
use crate::completion::{
    self, Answer, BEAT_INTERVAL, Completion, Incomplete, Mark, Question, Role, Unfinished,
};
use crate::id::TaskIndex;
use crate::input_name::InputName;
use crate::outcome::{Bill, Ending, Failure, Outcome};
use crate::seen::{First, Seen};
use crate::task::Task;
use crate::time::Timestamp;

mod manner;
mod outstanding;
mod publishing;
#[cfg(test)]
mod tests;

/// A position in a job's outcome stream, from 0, in the order of storing.
pub type Position = u64;

/// How many outcomes are made at once for tasks without one: bounds the outcomes that wait for the
/// caller.
pub const ENDED_AT_ONCE: usize = 1024;
/// Why the broker refused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The job was cancelled or forgotten; its stream tells of it.
    Over,
    /// It is unknown whether the request was carried out, or the broker is unreachable.
    Unknown,
    /// This bundle is too large for the broker. Other bundles may fit.
    TooLarge,
    /// The broker denied the request.
    Denied,
}

/// The request that an answer belongs to.
#[derive(Debug, Clone)]
pub enum Request {
    /// [`Command::Publish`]: which tasks.
    Publish(Arc<[Sent]>),
    /// [`Command::Report`].
    Report(Arc<[Outcome]>),
    /// [`Command::Seal`].
    Seal,
    /// [`Command::Confirm`].
    Confirm,
    /// [`Command::Cancel`].
    Cancel,
}

/// A task of a bundle that was sent to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Which one.
    pub index: TaskIndex,
    /// What its submitter calls its input: its outcome says so, if the broker refuses the bundle.
    pub input: Option<InputName>,
}

impl From<&Task> for Sent {
    fn from(task: &Task) -> Self {
        Self {
            index: task.index,
            input: task.input.clone(),
        }
    }
}

/// An input that no worker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoTask {
    /// Its position in the job, set as that of a task.
    pub index: TaskIndex,
    /// How it ends.
    pub ending: Ending,
    /// What its submitter calls it.
    pub input: Option<InputName>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event<E> {
    /// An input: a task, or how it ends without one. Its index is set here, but for those of an
    /// open job: they have theirs, from 0, each once and in any order.
    Input(Result<Task, NoTask>),
    /// The inputs have nothing right now: what is collected goes out.
    InputsPending,
    /// There are no more inputs.
    InputsEnded,
    /// The broker answered.
    Answered(Request, Result<(), (Refusal, E)>),
    /// An open job is taken over from whoever drove it before: these tasks were published by then,
    /// and it has this many. Before all other events.
    Adopted(Vec<TaskIndex>, TaskIndex),
    /// Outcomes arrived, the first at this position.
    Outcomes(Position, Arc<[Outcome]>),
    /// Outcomes are stored that this program cannot read, for this reason.
    Unreadable(Arc<[TaskIndex]>, String),
    /// The job has this many tasks.
    Sealed(TaskIndex),
    /// All stored messages up to this mark have been handed in.
    CaughtUp(Mark),
    /// A heartbeat of the open job's submitter.
    Submitting,
    /// The stream was reopened.
    Reopened,
    /// The job was cancelled: tasks without an outcome get none.
    Cancelled,
    /// The stream ended, for this reason if the broker gave one.
    Closed(Option<E>),
    /// The answer to [`Question::Unfinished`].
    Unfinished(Answer<Unfinished>),
    /// The answer to [`Question::Workers`].
    Workers(Answer<usize>),
    /// The caller has taken a batch that was passed on.
    Passed,
    /// The size of the fleet: its number of slots, and how many bundles may be unfinished for them.
    Window {
        /// Slots that work on the job.
        slots: usize,
        /// Maximum number of published, unfinished bundles.
        bundles: usize,
    },
    /// The caller wants the job cancelled.
    Cancel,
    /// The caller wants these tasks of an open job cancelled. Some may not have come as inputs yet.
    CancelTasks(Vec<TaskIndex>),
    /// The caller wants no further task submitted, and the job sealed as it is.
    Stop,
    /// The caller dropped the job.
    Gone,
    /// Time has passed.
    Tick,
}

/// An output of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<E> {
    /// Publish a bundle of these tasks.
    Publish(Vec<Task>),
    /// Store outcomes for tasks that no worker runs.
    Report(Arc<[Outcome]>),
    /// Seal the job: tell the broker that it has this many tasks.
    Seal(TaskIndex),
    /// A replayed task was published: its dead letter can be removed.
    Confirm(TaskIndex),
    /// Cancel the job.
    Cancel,
    /// Cancel these tasks. Not answered: they end, in whatever way.
    CancelTasks(Vec<TaskIndex>),
    /// Send a heartbeat. Not answered.
    Beat,
    /// Outcomes before this position were taken and can be dropped. Not answered.
    Trim(Position),
    /// Send a question to the broker.
    Ask(Question),
    /// Pass outcomes on to the caller; [`Event::Passed`] once it has taken them.
    PassOn(Arc<[Outcome]>),
    /// The job is over for this client. The last command.
    End(End<E>),
}

/// How a job ends for this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<E> {
    /// Done: every task has an outcome (or, for a detached job, was submitted). With the number of
    /// tasks.
    Complete(TaskIndex),
    /// It was cancelled.
    Cancelled,
    /// This many outcomes will not come.
    Lost(u64),
    /// The number of tasks is unknown.
    Incomplete(Incomplete),
    /// The broker closed the stream, for this reason if it gave one.
    Closed(Option<E>),
    /// A request that the job needs failed.
    Failed(E),
    /// The caller dropped the job.
    Gone,
}

/// The sources that the driver should poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// Further inputs.
    pub inputs: bool,
    /// Notification if no input is ready right now.
    pub pause: bool,
    /// The outcome stream.
    pub outcomes: bool,
}

/// A job's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Number of inputs taken. For an unsealed job that is only followed: number of outcomes so
    /// far.
    pub submitted: u64,
    /// Whether this number is final.
    pub complete: bool,
    /// Whether the job was cancelled.
    pub cancelled: bool,
}

/// Tasks that end here, a part at a time.
#[derive(Debug)]
struct Sweep {
    next: TaskIndex,
    before: TaskIndex,
    /// If not all: only these.
    of: Option<Seen>,
    ending: Ending,
}

/// One job of a client.
#[derive(Debug)]
pub struct Submission<E> {
    manner: Manner,
    publishing: Publishing,
    completion: Completion,
    /// The position up to which outcomes arrived.
    reached: Position,
    /// Batches that the caller has not taken yet.
    passing: usize,
    trim: Option<Position>,
    sweep: Option<Sweep>,
    /// What had been sent of an open job when the broker was asked what is unfinished, and when it
    /// was asked for its last answer. Tasks come in any order: one that is sent later may precede.
    asked: Seen,
    counted: Seen,
    is_cancelled: bool,
    /// How the job will end once the caller has taken everything and all relevant requests are
    /// answered.
    ending: Option<End<E>>,
    is_over: bool,
    beat_at: Timestamp,
    commands: VecDeque<Command<E>>,
}

impl<E: fmt::Display> Submission<E> {
    /// Start a job. `left` is the number of inputs, if known. From `expires` on, unread outcomes
    /// may have been dropped.
    #[must_use]
    pub fn new(
        manner: Manner,
        inputs: Option<u64>,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let role = if manner.publishes() {
            Role::Submitter
        } else {
            Role::Follower
        };
        Self {
            manner,
            publishing: Publishing::new(manner, inputs),
            completion: Completion::new(role, expires, now),
            reached: 0,
            passing: 0,
            trim: None,
            sweep: None,
            asked: Seen::default(),
            counted: Seen::default(),
            is_cancelled: false,
            ending: None,
            is_over: false,
            beat_at: now + BEAT_INTERVAL,
            commands: VecDeque::new(),
        }
    }

    /// What to do next, if anything.
    pub fn next_command(&mut self) -> Option<Command<E>> {
        self.commands.pop_front()
    }

    /// What to poll for.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let goes_on = !self.is_over && self.ending.is_none() && self.passing == 0;
        Wants {
            inputs: goes_on && self.publishing.has_room(),
            pause: goes_on && self.publishing.has_collected(),
            outcomes: goes_on && self.sweep.is_none() && self.manner.follows(),
        }
    }

    /// When to send [`Event::Tick`] at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        if self.is_over {
            return None;
        }
        let beat = self.publishing.is_open().then_some(self.beat_at);
        // While the caller takes nothing, nothing is read that could decide.
        let decide = (self.manner.follows() && self.passing == 0 && self.ending.is_none())
            .then(|| self.completion.wake_at())
            .flatten();
        [beat, decide].into_iter().flatten().min()
    }

    /// Its progress.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (submitted, complete) = match (self.manner, self.completion.total()) {
            (Manner::Attached, Some(total)) => (total, true),
            (Manner::Attached, None) => (self.reached, false),
            (Manner::Map | Manner::Open | Manner::Detached | Manner::Replay, _) => (
                self.publishing.submitted(),
                self.publishing.has_ended() || self.is_cancelled,
            ),
        };
        Progress {
            submitted,
            complete,
            cancelled: self.is_cancelled,
        }
    }

    /// Tasks that the broker has confirmed.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.publishing.confirmed()
    }

    /// Process an event.
    pub fn on(&mut self, event: Event<E>, now: Timestamp) {
        if self.is_over {
            return;
        }
        match event {
            Event::Input(input) => self.on_input(input),
            Event::InputsPending => self.flush(),
            Event::InputsEnded | Event::Stop => {
                self.publishing.end();
                self.flush();
            }
            Event::Answered(request, result) => self.on_answered(request, result),
            Event::Adopted(tasks, total) => self.publishing.adopt(tasks, total),
            Event::Outcomes(position, outcomes) => self.on_outcomes(position, outcomes, now),
            Event::Unreadable(tasks, reason) => self.on_unreadable(&tasks, &reason, now),
            Event::Sealed(tasks) if self.manner == Manner::Attached => {
                self.decide(completion::Event::Sealed(tasks), now);
            }
            // Its submitter knows.
            Event::Sealed(_) => {}
            Event::CaughtUp(mark) => self.decide(completion::Event::CaughtUp(mark), now),
            Event::Submitting => self.decide(completion::Event::Submitting, now),
            Event::Reopened => self.decide(completion::Event::Reopened, now),
            Event::Cancelled => self.on_cancelled(),
            Event::Closed(error) => self.end_with(End::Closed(error)),
            Event::Unfinished(answer) => {
                let asked = std::mem::take(&mut self.asked);
                if !matches!(answer, Answer::Failed) {
                    self.counted = asked;
                }
                self.decide(completion::Event::Unfinished(answer), now);
            }
            Event::Workers(answer) => self.decide(completion::Event::Workers(answer), now),
            Event::Passed => {
                self.passing = self.passing.saturating_sub(1);
                if self.passing == 0 {
                    // What is said once was not heard meanwhile.
                    self.decide(completion::Event::Reopened, now);
                }
            }
            Event::Window { slots, bundles } => self.publishing.set_window(slots, bundles),
            Event::Cancel => self.commands.push_back(Command::Cancel),
            Event::CancelTasks(tasks) => self.cancel_tasks(tasks),
            Event::Gone => self.over(End::Gone),
            Event::Tick => self.decide(completion::Event::Tick, now),
        }
        self.advance(now);
    }

    fn on_input(&mut self, input: Result<Task, NoTask>) {
        match input {
            Ok(task) => {
                for bundle in self.publishing.push(task).into_iter().flatten() {
                    self.publish(bundle);
                }
            }
            Err(NoTask {
                index,
                ending,
                input,
            }) => {
                let index = self.publishing.skip(index);
                if self.completion.has_ended(index) {
                    return self.publishing.on_ended(index);
                }
                let unrun = unrun(index, ending);
                self.report([Outcome { input, ..unrun }].into());
            }
        }
    }

    fn flush(&mut self) {
        for bundle in self.publishing.take_all() {
            self.publish(bundle);
        }
    }

    /// Publish tasks, but for those that ended before: they were cancelled while they waited here.
    fn publish(&mut self, mut tasks: Vec<Task>) {
        if self.manner == Manner::Open {
            tasks.retain(|task| {
                let has_ended = self.completion.has_ended(task.index);
                if has_ended {
                    self.publishing.on_ended(task.index);
                }
                !has_ended
            });
        }
        if tasks.is_empty() {
            return;
        }
        self.publishing.on_request();
        self.commands.push_back(Command::Publish(tasks));
    }

    fn report(&mut self, outcomes: Arc<[Outcome]>) {
        self.publishing.on_request();
        self.commands.push_back(Command::Report(outcomes));
    }

    fn on_answered(&mut self, request: Request, result: Result<(), (Refusal, E)>) {
        match request {
            Request::Cancel => {
                if let Err((_, error)) = result {
                    self.end_with(End::Closed(Some(error)));
                }
                return;
            }
            Request::Publish(..) | Request::Report(_) | Request::Seal | Request::Confirm => {
                self.publishing.on_answer();
            }
        }
        match (request, result) {
            (Request::Publish(tasks), Ok(())) => self.on_published(&tasks),
            (Request::Publish(tasks), Err((refusal, error))) => {
                self.on_untaken(&tasks, refusal, error);
            }
            (Request::Report(outcomes), Err((_, error))) => match self.manner {
                Manner::Map | Manner::Open => self.give_up(&outcomes),
                Manner::Detached | Manner::Attached | Manner::Replay => self.fail(error),
            },
            (Request::Seal, Err((_, error))) => match self.manner {
                // Only other followers miss it.
                Manner::Map | Manner::Open => {}
                Manner::Detached | Manner::Attached | Manner::Replay => self.fail(error),
            },
            (Request::Confirm, Err((_, error))) => self.fail(error),
            (Request::Report(_) | Request::Seal | Request::Confirm, Ok(()))
            | (Request::Cancel, _) => {}
        }
    }

    fn on_published(&mut self, tasks: &[Sent]) {
        self.publishing.confirm(tasks.len());
        if self.manner == Manner::Replay {
            for sent in tasks {
                self.publishing.on_request();
                self.commands.push_back(Command::Confirm(sent.index));
            }
        }
    }

    fn on_untaken(&mut self, tasks: &[Sent], refusal: Refusal, error: E) {
        match (self.manner, refusal) {
            // The stream is about to tell of it.
            (Manner::Map | Manner::Open, Refusal::Over) => {}
            (Manner::Map | Manner::Open, Refusal::Unknown) => self.give_up(&untaken(tasks, &error)),
            (Manner::Map | Manner::Open, Refusal::TooLarge | Refusal::Denied)
            | (Manner::Detached, Refusal::TooLarge) => self.report(untaken(tasks, &error)),
            (Manner::Detached, Refusal::Over | Refusal::Unknown | Refusal::Denied)
            | (Manner::Replay | Manner::Attached, _) => self.fail(error),
        }
    }

    /// The first error ends the job, when what is under way has been answered: then it is known
    /// what was published.
    fn fail(&mut self, error: E) {
        self.publishing.end();
        self.end_with(End::Failed(error));
    }

    /// Pass outcomes to the caller that will not be stored at the broker.
    fn give_up(&mut self, outcomes: &[Outcome]) {
        let fresh = outcomes
            .iter()
            .filter(|outcome| self.completion.end(outcome.index) == First::Yes)
            .cloned()
            .collect::<Arc<[_]>>();
        fresh
            .iter()
            .for_each(|outcome| self.publishing.on_ended(outcome.index));
        self.pass_on(fresh);
    }

    fn pass_on(&mut self, outcomes: Arc<[Outcome]>) {
        if !outcomes.is_empty() {
            self.passing += 1;
            self.commands.push_back(Command::PassOn(outcomes));
        }
    }

    fn on_outcomes(&mut self, position: Position, outcomes: Arc<[Outcome]>, now: Timestamp) {
        self.reached = self.reached.max(position + outcomes.len() as Position);
        if matches!(self.manner, Manner::Map | Manner::Open) {
            self.trim = Some(self.reached);
            self.publishing.observe(&outcomes);
        }
        let mut known = Vec::new();
        for outcome in outcomes.iter() {
            match self.completion.end(outcome.index) {
                First::Yes => self.publishing.on_ended(outcome.index),
                // It was given up, and then it did end.
                First::No => known.push(outcome.index),
            }
        }
        if known.is_empty() {
            self.pass_on(outcomes);
        } else {
            let fresh = outcomes
                .iter()
                .filter(|outcome| !known.contains(&outcome.index))
                .cloned()
                .collect();
            self.pass_on(fresh);
        }
        self.decide(completion::Event::Outcomes, now);
    }

    /// Tasks that are collected are published all the same: every index has its task.
    fn cancel_tasks(&mut self, mut tasks: Vec<TaskIndex>) {
        tasks.retain(|index| !self.completion.has_ended(*index));
        if !tasks.is_empty() && !self.is_cancelled {
            self.flush();
            self.commands.push_back(Command::CancelTasks(tasks));
        }
    }

    fn on_unreadable(&mut self, tasks: &[TaskIndex], reason: &str, now: Timestamp) {
        if self.manner == Manner::Attached {
            return self.decide(completion::Event::Unreadable(tasks), now);
        }
        let ending = unreadable(reason);
        let outcomes: Vec<Outcome> = tasks
            .iter()
            .filter(|index| self.manner == Manner::Open || **index < self.publishing.submitted())
            .map(|index| unrun(*index, ending.clone()))
            .collect();
        self.give_up(&outcomes);
        self.decide(completion::Event::Outcomes, now);
    }

    fn on_cancelled(&mut self) {
        self.is_cancelled = true;
        self.publishing.drop_collected();
        let before = match self.manner {
            Manner::Attached => self.completion.total().unwrap_or(0),
            Manner::Map | Manner::Open | Manner::Detached | Manner::Replay => {
                self.publishing.submitted()
            }
        };
        self.sweep = Some(Sweep {
            next: 0,
            before,
            of: None,
            ending: Ending::Cancelled,
        });
        self.end_with(End::Cancelled);
    }

    fn decide(&mut self, event: completion::Event<'_>, now: Timestamp) {
        let command = self.completion.on(event, now);
        match (command, self.manner) {
            (None, _) => {}
            (Some(completion::Command::Ask(question)), _) if self.ending.is_none() => {
                if self.manner == Manner::Open {
                    self.asked.clone_from(self.publishing.sent());
                }
                self.commands.push_back(Command::Ask(question));
            }
            (Some(completion::Command::Ask(_)), _) => {}
            (Some(completion::Command::End(end)), Manner::Attached) => {
                self.end_with(match end {
                    completion::End::Complete => End::Complete(self.completion.ended()),
                    completion::End::Lost { missing, .. } => End::Lost(missing),
                    completion::End::Incomplete(why) => End::Incomplete(why),
                });
            }
            (
                Some(completion::Command::End(completion::End::Lost { before, .. })),
                Manner::Map | Manner::Open | Manner::Detached | Manner::Replay,
            ) if self.ending.is_none() => {
                self.sweep = Some(Sweep {
                    next: 0,
                    before,
                    of: (self.manner == Manner::Open).then(|| self.counted.clone()),
                    ending: lost(),
                });
            }
            // The submitter knows itself when all is there.
            (
                Some(completion::Command::End(_)),
                Manner::Map | Manner::Open | Manner::Detached | Manner::Replay,
            ) => {}
        }
    }

    /// The first reason to end counts: those that follow come of it.
    fn end_with(&mut self, end: End<E>) {
        self.ending.get_or_insert(end);
    }

    fn over(&mut self, end: End<E>) {
        self.is_over = true;
        self.commands.push_back(Command::End(end));
    }

    fn advance(&mut self, now: Timestamp) {
        if self.is_over {
            return;
        }
        if self.publishing.is_open() && now >= self.beat_at && self.ending.is_none() {
            self.beat_at = now + BEAT_INTERVAL;
            self.commands.push_back(Command::Beat);
        }
        if let Some(expected) = self.publishing.changed_expectation() {
            self.decide(completion::Event::Expected(expected), now);
        }
        if self.passing > 0 {
            return;
        }
        self.sweep(now);
        if self.passing > 0 {
            return;
        }
        if let Some(position) = self.trim.take() {
            self.commands.push_back(Command::Trim(position));
        }
        self.finish();
    }

    /// End the next tasks that get no outcome.
    fn sweep(&mut self, now: Timestamp) {
        let Some(sweep) = &mut self.sweep else {
            return;
        };
        let outcomes: Vec<Outcome> = (sweep.next..sweep.before)
            .filter(|index| !self.completion.has_ended(*index))
            .filter(|index| sweep.of.as_ref().is_none_or(|of| of.contains(*index)))
            .take(ENDED_AT_ONCE)
            .map(|index| unrun(index, sweep.ending.clone()))
            .collect();
        match outcomes.last() {
            Some(last) => {
                sweep.next = last.index + 1;
                self.give_up(&outcomes);
                self.decide(completion::Event::Outcomes, now);
            }
            None => self.sweep = None,
        }
    }

    fn finish(&mut self) {
        let waits = match (&self.ending, self.manner) {
            // What is published while it fails is counted.
            (Some(End::Failed(_)), Manner::Replay) => !self.publishing.is_idle(),
            (Some(_), _) => false,
            (None, _) => true,
        };
        if !waits && let Some(end) = self.ending.take() {
            return self.over(end);
        }
        if self.ending.is_some() || !self.manner.publishes() {
            return;
        }
        if let Some(tasks) = self.publishing.seal() {
            self.commands.push_back(Command::Seal(tasks));
        } else if self.publishing.is_sealed()
            && (!self.manner.follows() || self.completion.has_all(self.publishing.submitted()))
        {
            self.over(End::Complete(self.publishing.submitted()));
        }
    }
}

/// What the failure of a task says whose outcome is lost.
const LOST: &str = "its outcome is not at the broker, or cannot be read by this program, and \
                    nothing of its job is unfinished";

/// The ending of a task whose outcome is lost.
#[must_use]
pub fn lost() -> Ending {
    Ending::Failed(Failure::host(LOST))
}

/// The ending of a task whose outcome this program cannot read.
#[must_use]
pub fn unreadable(reason: &str) -> Ending {
    Ending::Failed(Failure::host(format!(
        "its outcome cannot be read by this program: {reason}"
    )))
}

/// The outcome of a task that no worker ran to its end.
#[must_use]
pub fn unrun(index: TaskIndex, ending: Ending) -> Outcome {
    Outcome {
        index,
        attempts: 0,
        ending,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

/// What becomes of tasks that the broker did not take.
fn untaken(tasks: &[Sent], error: &impl fmt::Display) -> Arc<[Outcome]> {
    let failure = Failure::host(format!("the broker did not take the task: {error}"));
    tasks
        .iter()
        .map(|sent| Outcome {
            input: sent.input.clone(),
            ..unrun(sent.index, Ending::Failed(failure.clone()))
        })
        .collect()
}
