//! Decides whether a job is over, from its outcome stream and its broker's answers.
//!
//! Nothing is concluded from silence. A bundle leaves the queue only after its outcomes were
//! stored, so three facts together prove that a missing outcome will never come: the task was
//! published (the job is sealed, or the submitter's publish was answered), the broker counted no
//! unfinished bundle when it was asked after that, and the stream was read up to what was stored
//! when the bundles had been counted ([`Unfinished::through`]). While any bundle is unfinished no
//! task is lost, however long the stream is silent.
//!
//! A job that is not sealed ends for its followers when its submitter is gone: a submitter sends a
//! heartbeat every [`BEAT_INTERVAL`]. Then the job ends as incomplete if no bundle is unfinished,
//! or if some are and no worker is connected that could finish them.
//!
//! A broker that does not let this tenant count unfinished bundles proves nothing. Then a job ends
//! only by age: when the retention time of unread outcomes is over, or, for an unsealed job without
//! a submitter, when no outcome came for [`BLIND_QUIET`].
//!
//! The machine never reads a clock: the caller hands in the time, calls [`Completion::on`] with
//! [`Event::Tick`] at [`Completion::wake_at`], and sends the returned questions to the broker. At
//! most one question is open at a time.

use std::fmt;
use std::time::Duration;

use crate::id::TaskIndex;
use crate::seen::{First, Seen};
use crate::time::Timestamp;

/// How often the submitter of an open job sends a heartbeat.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A submitter counts as gone after this long without a heartbeat: six intervals, so that some may
/// be lost or late, and somebody else may have taken the job over.
pub const SUBMITTER_QUIET_MAX: Duration = Duration::from_secs(30);
/// How long to wait for further outcomes before asking the broker what is unfinished. Every
/// followed job costs a request each time, so short pauses between two outcomes must not trigger
/// one.
pub const ASK_PAUSE: Duration = Duration::from_secs(5);
/// While bundles are unfinished, each wait is twice the previous one, up to this: thousands of
/// futures may wait for tasks that take hours.
pub const ASK_PAUSE_MAX: Duration = Duration::from_secs(60);
/// If the broker does not tell what is unfinished, a job that is older than the retention time, or
/// whose submitter is gone, ends after this long without an outcome: longer than most bundles take.
pub const BLIND_QUIET: Duration = Duration::from_secs(60);

/// A position in a job's stored outcome stream, messages of all kinds included. It grows with each
/// message; compare only marks of the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(pub u64);

/// The unfinished bundles of a job at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Bundles that wait or are leased. Zero means that everything published has ended, or the job
    /// is over.
    pub bundles: u64,
    /// The end of the outcome stream after the bundles had been counted: the outcomes of all tasks
    /// that had ended by then are at or before this mark.
    pub through: Mark,
}

/// Whether the client submitted the job or only follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The submitter, which knows what it published.
    Submitter,
    /// Another client, which learns the number of tasks from the stream.
    Follower,
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<T> {
    /// The broker's answer.
    Told(T),
    /// The broker does not answer this question for this tenant; asking again does not help.
    Denied,
    /// The request failed; asking again may help.
    Failed,
}

/// An input of the state machine.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Outcomes arrived. Their tasks were passed to [`Completion::end`] before.
    Outcomes,
    /// These tasks have outcomes that this program cannot read.
    Unreadable(&'a [TaskIndex]),
    /// The job has this many tasks.
    Sealed(TaskIndex),
    /// All stored messages up to this mark have been handed in.
    CaughtUp(Mark),
    /// A heartbeat of the open job's submitter.
    Submitting,
    /// The stream was reopened: messages that are not stored, such as heartbeats, may have been
    /// missed.
    Reopened,
    /// For the submitter only: the first so many tasks were published and acknowledged. `None`
    /// while an acknowledgement is awaited.
    Expected(Option<TaskIndex>),
    /// The answer to [`Question::Unfinished`].
    Unfinished(Answer<Unfinished>),
    /// The answer to [`Question::Workers`]: the number of workers.
    Workers(Answer<usize>),
    /// Time has passed.
    Tick,
}

/// A request to send to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which of the job's bundles are unfinished.
    Unfinished,
    /// How many workers are connected.
    Workers,
}

/// Why an unsealed job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Incomplete {
    /// Its submitter is gone, and all published tasks have ended.
    SubmitterGone,
    /// Its submitter is gone, and no worker is connected for the unfinished bundles. Their tasks
    /// may have ended: a worker that is killed after storing outcomes and before acknowledging
    /// leaves a bundle that only another worker removes.
    NoWorker {
        /// Bundles that wait or were leased.
        bundles: u64,
    },
    /// Its submitter is gone, no outcome came for a while, and the broker does not tell whether
    /// bundles are unfinished.
    NotTold,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its submitter is gone and has not said how many tasks there are; ")?;
        match self {
            Self::SubmitterGone => f.write_str("everything that it submitted has ended"),
            Self::NoWorker { bundles: 1 } => {
                f.write_str("1 bundle is unfinished, and no worker is there")
            }
            Self::NoWorker { bundles } => {
                write!(
                    f,
                    "{bundles} bundles are unfinished, and no worker is there"
                )
            }
            Self::NotTold => f.write_str("the broker does not say whether any is unfinished"),
        }
    }
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every task has an outcome.
    Complete,
    /// Tasks before this index have no readable outcome and will not get one. The submitter may
    /// give them up and go on.
    Lost {
        /// The first index that this says nothing about.
        before: TaskIndex,
        /// The number of tasks without an outcome.
        missing: u64,
    },
    /// The number of tasks is unknown.
    Incomplete(Incomplete),
}

/// An output of the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send a question to the broker. Its answer is an event.
    Ask(Question),
    /// The job is over.
    End(End),
}

/// The broker's last answer, and what it proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    /// The number of unfinished bundles, and of workers if that was asked.
    Counted {
        subject: Subject,
        unfinished: Unfinished,
        workers: Option<usize>,
    },
    Denied,
}

/// The statement to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// Tasks before this index without an outcome will not get one.
    Tasks(TaskIndex),
    /// No more outcomes come for a job whose submitter is gone.
    Open,
}

/// Decides whether one job is over.
#[derive(Debug, Clone)]
pub struct Completion {
    role: Role,
    /// Tasks that ended, with a readable outcome or not.
    ended: Seen,
    /// How many of them have no readable outcome.
    unreadable: u64,
    total: Option<TaskIndex>,
    expected: Option<TaskIndex>,
    caught_up: Option<Mark>,
    /// When the retention time of the job's first outcomes is over.
    expires: Option<Timestamp>,
    /// Time of the submitter's last heartbeat.
    heard: Timestamp,
    /// Time of the last outcome.
    changed: Timestamp,
    ask_at: Timestamp,
    pause: Duration,
    open_question: Option<(Question, Option<Subject>)>,
    proof: Proof,
}

impl Completion {
    /// Start following a job. From `expires` on, its unread outcomes may have been dropped.
    #[must_use]
    pub fn new(role: Role, expires: Option<Timestamp>, now: Timestamp) -> Self {
        let ask_at = match role {
            Role::Submitter => now + ASK_PAUSE,
            // For a job that ended long ago, ask as soon as the stream was read.
            Role::Follower => now,
        };
        Self {
            role,
            ended: Seen::default(),
            unreadable: 0,
            total: None,
            expected: None,
            caught_up: None,
            expires,
            heard: now,
            changed: now,
            ask_at,
            pause: ASK_PAUSE,
            open_question: None,
            proof: Proof::None,
        }
    }

    /// Record that a task ended. Returns whether that is new.
    pub fn end(&mut self, index: TaskIndex) -> First {
        self.ended.insert(index)
    }

    /// Whether a task ended.
    #[must_use]
    pub fn has_ended(&self, index: TaskIndex) -> bool {
        self.ended.contains(index)
    }

    /// How many tasks ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended.len()
    }

    /// Whether all tasks before this index ended.
    #[must_use]
    pub fn has_all(&self, before: TaskIndex) -> bool {
        self.ended.first_missing() >= before
    }

    /// How many tasks there are, once that is known.
    #[must_use]
    pub fn total(&self) -> Option<TaskIndex> {
        self.total
    }

    /// Whether everything was read that is stored up to this mark.
    #[must_use]
    pub fn has_read(&self, mark: Mark) -> bool {
        self.caught_up.is_some_and(|caught_up| caught_up >= mark)
    }

    /// Process an event.
    pub fn on(&mut self, event: Event<'_>, now: Timestamp) -> Option<Command> {
        match event {
            Event::Outcomes => self.on_progress(now),
            Event::Unreadable(tasks) => {
                for index in tasks {
                    if self.ended.insert(*index) == First::Yes {
                        self.unreadable += 1;
                    }
                }
                self.on_progress(now);
            }
            Event::Sealed(tasks) => {
                if self.total.is_none() {
                    self.total = Some(tasks);
                    self.ask_at = self.ask_at.min(now + ASK_PAUSE);
                }
            }
            Event::CaughtUp(mark) => {
                if self.caught_up.is_none() && self.role == Role::Follower {
                    self.ask_at = now;
                }
                self.caught_up = self.caught_up.max(Some(mark));
            }
            Event::Submitting | Event::Reopened => self.on_heard(now),
            Event::Expected(tasks) => self.expected = tasks,
            Event::Unfinished(answer) => self.on_unfinished(answer, now),
            Event::Workers(answer) => self.on_workers(answer, now),
            Event::Tick => {}
        }
        self.decide(now)
    }

    /// When to send [`Event::Tick`] at the latest; `None` if only another event can change
    /// anything.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        let is_open = self.role == Role::Follower && self.total.is_none();
        if !is_open && self.wanted().is_none() {
            return None;
        }
        let ask = if self.open_question.is_some() || !self.may_ask() {
            None
        } else if is_open {
            Some(self.ask_at.max(self.gone_at()))
        } else {
            Some(self.ask_at)
        };
        let blind = (self.proof == Proof::Denied && self.caught_up.is_some())
            .then(|| self.blind_at(is_open))
            .flatten();
        [ask, blind].into_iter().flatten().min()
    }

    /// The submitter is alive, or its heartbeats could not have been received. A proof made while
    /// it counted as gone is void.
    fn on_heard(&mut self, now: Timestamp) {
        self.heard = now;
        if let Some((_, subject)) = &mut self.open_question
            && *subject == Some(Subject::Open)
        {
            *subject = None;
        }
        let is_of_open = matches!(
            self.proof,
            Proof::Counted {
                subject: Subject::Open,
                ..
            }
        );
        if is_of_open {
            self.proof = Proof::None;
        }
    }

    fn on_progress(&mut self, now: Timestamp) {
        self.changed = now;
        self.pause = ASK_PAUSE;
        self.ask_at = now + ASK_PAUSE;
    }

    fn on_unfinished(&mut self, answer: Answer<Unfinished>, now: Timestamp) {
        let Some((Question::Unfinished, Some(subject))) = self.open_question.take() else {
            return;
        };
        match answer {
            Answer::Told(unfinished) => {
                self.proof = Proof::Counted {
                    subject,
                    unfinished,
                    workers: None,
                };
                self.ask_again(unfinished.bundles > 0, now);
            }
            Answer::Denied => {
                self.proof = Proof::Denied;
                self.ask_again(true, now);
            }
            Answer::Failed => self.on_failed(now),
        }
    }

    fn on_workers(&mut self, answer: Answer<usize>, now: Timestamp) {
        if self.open_question.take().is_none() {
            return;
        }
        match answer {
            Answer::Told(count) => {
                if let Proof::Counted { workers, .. } = &mut self.proof {
                    *workers = Some(count);
                }
            }
            // There may be workers.
            Answer::Denied => {
                if let Proof::Counted { workers, .. } = &mut self.proof {
                    *workers = Some(usize::MAX);
                }
            }
            Answer::Failed => self.on_failed(now),
        }
    }

    /// The broker is unreachable, so heartbeats may have been missed, too.
    fn on_failed(&mut self, now: Timestamp) {
        self.on_heard(now);
        self.ask_at = now + ASK_PAUSE;
    }

    fn ask_again(&mut self, is_busy: bool, now: Timestamp) {
        self.ask_at = now + self.pause;
        self.pause = if is_busy {
            (self.pause * 2).min(ASK_PAUSE_MAX)
        } else {
            ASK_PAUSE
        };
    }

    fn decide(&mut self, now: Timestamp) -> Option<Command> {
        if let Some(end) = self.over(now) {
            return Some(Command::End(end));
        }
        if self.open_question.is_some() {
            return None;
        }
        if self.wants_workers(now) {
            return Some(self.ask(Question::Workers, None));
        }
        let subject = self.subject(now)?;
        (now >= self.ask_at && self.may_ask())
            .then(|| self.ask(Question::Unfinished, Some(subject)))
    }

    fn ask(&mut self, question: Question, subject: Option<Subject>) -> Command {
        self.open_question = Some((question, subject));
        Command::Ask(question)
    }

    fn over(&mut self, now: Timestamp) -> Option<End> {
        if let Some(total) = self.total
            && self.ended.first_missing() >= total
        {
            return Some(match self.unreadable {
                0 => End::Complete,
                missing => End::Lost {
                    before: total,
                    missing,
                },
            });
        }
        let subject = self.subject(now)?;
        match (subject, self.proof) {
            (
                _,
                Proof::Counted {
                    subject: proven,
                    unfinished,
                    workers,
                },
            ) if proven.covers(subject) && self.has_read(unfinished.through) => {
                self.over_by(proven, unfinished.bundles, workers)
            }
            (Subject::Tasks(before), Proof::Denied) if self.is_blind_over(false, now) => {
                self.lost(before)
            }
            (Subject::Open, Proof::Denied) if self.is_blind_over(true, now) => {
                Some(End::Incomplete(Incomplete::NotTold))
            }
            (_, Proof::None | Proof::Denied | Proof::Counted { .. }) => None,
        }
    }

    /// The end that follows from a count after all outcomes up to its mark were read.
    fn over_by(&mut self, proven: Subject, bundles: u64, workers: Option<usize>) -> Option<End> {
        match (proven, bundles, workers) {
            (Subject::Tasks(before), 0, _) => self.lost(before),
            (Subject::Open, 0, _) => Some(End::Incomplete(Incomplete::SubmitterGone)),
            (Subject::Open, bundles, Some(0)) => {
                Some(End::Incomplete(Incomplete::NoWorker { bundles }))
            }
            (Subject::Tasks(_) | Subject::Open, _, _) => None,
        }
    }

    /// The submitter goes on after this, so a proof counts once.
    fn lost(&mut self, before: TaskIndex) -> Option<End> {
        self.proof = Proof::None;
        let missing = before.saturating_sub(self.ended.count_before(before)) + self.unreadable;
        (missing > 0).then_some(End::Lost { before, missing })
    }

    /// The statement that a question would have to prove, regardless of the time.
    fn wanted(&self) -> Option<TaskIndex> {
        let published = match self.role {
            Role::Submitter => self.expected,
            Role::Follower => self.total,
        };
        published.filter(|before| self.ended.first_missing() < *before)
    }

    fn subject(&self, now: Timestamp) -> Option<Subject> {
        if let Some(before) = self.wanted() {
            return Some(Subject::Tasks(before));
        }
        let is_gone = self.role == Role::Follower && self.total.is_none() && now >= self.gone_at();
        is_gone.then_some(Subject::Open)
    }

    /// When the submitter counts as gone unless a heartbeat arrives.
    fn gone_at(&self) -> Timestamp {
        self.heard + SUBMITTER_QUIET_MAX
    }

    /// A follower asks only after it has read the stream: often nothing is missing then.
    fn may_ask(&self) -> bool {
        self.role == Role::Submitter || self.caught_up.is_some()
    }

    fn wants_workers(&self, now: Timestamp) -> bool {
        let Proof::Counted {
            subject: Subject::Open,
            unfinished,
            workers: None,
        } = self.proof
        else {
            return false;
        };
        unfinished.bundles > 0 && self.subject(now) == Some(Subject::Open)
    }

    /// Whether a job is over if the broker does not count unfinished bundles.
    fn is_blind_over(&self, is_open: bool, now: Timestamp) -> bool {
        self.caught_up.is_some() && self.blind_at(is_open).is_some_and(|at| now >= at)
    }

    fn blind_at(&self, is_open: bool) -> Option<Timestamp> {
        let from = if is_open {
            Some(self.gone_at())
        } else {
            self.expires
        };
        from.map(|from| from.max(self.changed + BLIND_QUIET))
    }
}

impl Subject {
    /// Whether a proof of `self` also proves `wanted`.
    fn covers(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Self::Tasks(_), Self::Tasks(_)) | (Self::Open, Self::Open) => true,
            // Sealed since then.
            (Self::Open, Self::Tasks(_)) | (Self::Tasks(_), Self::Open) => false,
        }
    }
}

#[cfg(test)]
mod tests;
