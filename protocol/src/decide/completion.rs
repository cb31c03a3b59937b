//! Decides whether a job is over, from what its outcome stream and its broker say.
//!
//! Nothing is concluded from silence. A bundle leaves the queue only after its outcomes were
//! stored, so three facts together prove that a missing outcome will never come: the task was
//! published (the job is sealed, or the submitter's publish was answered), the broker counted no
//! unfinished bundle when it was asked after that, and the stream was read up to what was stored
//! when the bundles had been counted ([`Unfinished::through`]). While any bundle is unfinished no
//! task is lost, however long the stream is silent.
//!
//! A job that is not sealed ends for its followers when its submitter is gone: a submitter says
//! every [`BEAT_INTERVAL`] that it is there. Then the job ends as incomplete if nothing is
//! unfinished, or if something is and no worker is there to finish it.
//!
//! A broker that does not count for this tenant proves nothing. Then a job ends only by age: when
//! outcomes that nobody fetched are not kept any longer, or, not sealed and without a submitter,
//! when nothing came for [`BLIND_QUIET`].
//!
//! The machine never reads a clock: the caller hands in the time, calls [`Completion::on`] with
//! [`Event::Tick`] at [`Completion::wake_at`], and puts the questions that come back to the broker.
//! At most one question is open at a time.

use std::fmt;
use std::time::Duration;

use crate::id::TaskIndex;
use crate::seen::{First, Seen};
use crate::time::Timestamp;

/// How often the submitter of an open job says that it is there.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A submitter that was not heard for this long is gone: three beats, so that one may be lost and
/// one late.
pub const SUBMITTER_QUIET_MAX: Duration = Duration::from_secs(15);
/// Wait for further outcomes before the broker is asked what is unfinished: one question each time
/// for every job that is followed, so not for each pause between two outcomes.
pub const ASK_PAUSE: Duration = Duration::from_secs(5);
/// While something is unfinished each wait is twice the one before, up to this: thousands of
/// futures may wait for tasks that take hours.
pub const ASK_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Where the broker does not say what is unfinished, a job whose age or submitter gives it up ends
/// after this long without an outcome: longer than most bundles take.
pub const BLIND_QUIET: Duration = Duration::from_secs(60);

/// A place in what is stored of a job's outcomes, messages of all kinds included. Only compared
/// with another of the same job: it grows with what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(pub u64);

/// What of a job a broker still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished {
    /// Bundles that wait or are leased. Zero: everything that was published has ended, or the job
    /// is over.
    pub bundles: u64,
    /// What was stored of the job's outcomes when the bundles had been counted: the outcomes of
    /// all tasks that had ended by then are at this mark or before.
    pub through: Mark,
}

/// Who waits for the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its submitter, which knows what it published.
    Submitter,
    /// Anybody else, who learns from the stream how many tasks there are.
    Follower,
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<T> {
    /// The broker's answer.
    Told(T),
    /// The broker does not tell this tenant, and will not.
    Denied,
    /// There was no answer this time.
    Failed,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Outcomes came. Their tasks were given to [`Completion::end`] before.
    Outcomes,
    /// These tasks have outcomes that this program cannot read.
    Unreadable(&'a [TaskIndex]),
    /// The job has this many tasks.
    Sealed(TaskIndex),
    /// Everything that is stored up to this mark was told before.
    CaughtUp(Mark),
    /// The submitter of the open job is there.
    Submitting,
    /// The stream was opened anew: what is said once and not stored may have been missed.
    Reopened,
    /// The submitter's own: so many tasks, counted from the first, were published and answered.
    /// `None` while an answer is awaited.
    Expected(Option<TaskIndex>),
    /// The answer to [`Question::Unfinished`].
    Unfinished(Answer<Unfinished>),
    /// The answer to [`Question::Workers`]: how many are there.
    Workers(Answer<usize>),
    /// Time passed.
    Tick,
}

/// What has to be asked of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// What of the job is unfinished.
    Unfinished,
    /// How many workers are there.
    Workers,
}

/// Why a job that nobody sealed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Incomplete {
    /// Its submitter is gone, and everything that was published has ended.
    SubmitterGone,
    /// Its submitter is gone, and no worker is there for the bundles that are unfinished. They may
    /// have ended: a worker that is killed after it stored its outcomes and before it acknowledged
    /// leaves a bundle that only another worker takes away.
    NoWorker {
        /// Bundles that wait or were leased.
        bundles: u64,
    },
    /// Its submitter is gone, nothing came for a while, and the broker does not say whether
    /// anything is unfinished.
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
    /// Tasks before this index have no outcome that can be read, and get none. The submitter may
    /// give them up and go on.
    Lost {
        /// The first index of which nothing is known.
        before: TaskIndex,
        /// How many they are.
        missing: u64,
    },
    /// Nobody can say how many tasks there are.
    Incomplete(Incomplete),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Put a question to the broker. Its answer is an event.
    Ask(Question),
    /// The job is over.
    End(End),
}

/// What the broker said last, and of what it is a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    None,
    /// So many bundles were unfinished; workers, where that was asked.
    Counted {
        subject: Subject,
        unfinished: Unfinished,
        workers: Option<usize>,
    },
    Denied,
}

/// What a proof is wanted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// That tasks before this index without an outcome get none.
    Tasks(TaskIndex),
    /// That nothing more comes of a job whose submitter is gone.
    Open,
}

/// Decides whether one job is over.
#[derive(Debug, Clone)]
pub struct Completion {
    role: Role,
    /// Tasks that ended, with an outcome that can be read or without.
    ended: Seen,
    /// How many of them without.
    unreadable: u64,
    total: Option<TaskIndex>,
    expected: Option<TaskIndex>,
    caught_up: Option<Mark>,
    /// When outcomes that were stored at the job's beginning are not kept any longer.
    expires: Option<Timestamp>,
    /// When the submitter was heard last.
    heard: Timestamp,
    /// When an outcome came last.
    changed: Timestamp,
    ask_at: Timestamp,
    pause: Duration,
    open_question: Option<(Question, Option<Subject>)>,
    proof: Proof,
}

impl Completion {
    /// Of a job that is followed from now on. Outcomes of it that nobody fetched may be gone from
    /// `expires` on.
    #[must_use]
    pub fn new(role: Role, expires: Option<Timestamp>, now: Timestamp) -> Self {
        let ask_at = match role {
            Role::Submitter => now + ASK_PAUSE,
            // What is missing of a job that ended long ago is known as soon as it was read.
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

    /// A task ended. Says whether that is new.
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

    /// Something happened.
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

    /// When to come with [`Event::Tick`] at the latest, unless only an event can change anything.
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

    /// The submitter is there, or nobody could have heard it. What was found while it was taken
    /// for gone proves nothing any more.
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
            // Somebody may be there.
            Answer::Denied => {
                if let Proof::Counted { workers, .. } = &mut self.proof {
                    *workers = Some(usize::MAX);
                }
            }
            Answer::Failed => self.on_failed(now),
        }
    }

    /// The broker is away, and so may the submitter's beats have been.
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

    /// What is over by a count whose outcomes were all read.
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

    /// What a question would have to prove, whatever the time.
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

    /// When the submitter counts as gone if it is not heard before.
    fn gone_at(&self) -> Timestamp {
        self.heard + SUBMITTER_QUIET_MAX
    }

    /// A follower asks when it has read what there is: often nothing is missing then.
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

    /// Whether a job is over of which the broker tells nothing.
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
    /// Whether a proof of this is of use where that one is wanted.
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
