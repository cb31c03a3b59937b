//! Ends that are proven, and random histories of a broker that tells the truth late.

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000_000 + seconds)
}

fn counted(bundles: u64, through: u64) -> Event<'static> {
    Event::Unfinished(Answer::Told(Unfinished {
        bundles,
        through: Mark(through),
    }))
}

const ASKED: Option<Command> = Some(Command::Ask(Question::Unfinished));

/// A follower that has read everything up to mark 1.
fn follower() -> Completion {
    let mut job = Completion::new(Role::Follower, None, at(0));
    job.on(Event::CaughtUp(Mark(1)), at(0));
    job
}

#[test]
fn a_sealed_job_whose_outcomes_were_all_seen_is_complete_without_a_question() {
    let mut job = Completion::new(Role::Follower, None, at(0));
    for index in 0..2 {
        job.end(index);
    }
    assert_eq!(job.on(Event::Outcomes, at(0)), None);
    assert_eq!(
        job.on(Event::Sealed(2), at(0)),
        Some(Command::End(End::Complete))
    );
}

#[test]
fn what_misses_of_a_sealed_job_is_lost_when_nothing_is_unfinished_and_all_was_read() {
    let mut job = Completion::new(Role::Follower, None, at(0));
    job.end(1);
    job.on(Event::Outcomes, at(0));
    assert_eq!(job.on(Event::Sealed(3), at(0)), None);
    assert_eq!(job.on(Event::CaughtUp(Mark(1)), at(0)), ASKED);
    // Something was stored that was not read yet.
    assert_eq!(job.on(counted(0, 2), at(0)), None);
    assert_eq!(
        job.on(Event::CaughtUp(Mark(2)), at(0)),
        Some(Command::End(End::Lost {
            before: 3,
            missing: 2
        }))
    );
}

#[test]
fn nothing_is_lost_in_an_hour_while_a_bundle_is_unfinished_and_the_broker_is_asked_once_a_minute() {
    let mut job = follower();
    let mut asked = 0;
    let mut command = job.on(Event::Sealed(1), at(0));
    let mut now = at(0);
    while now < at(3600) {
        match command {
            Some(Command::Ask(Question::Unfinished)) => {
                asked += 1;
                command = job.on(counted(1, 1), now);
            }
            Some(other) => panic!("{other:?}"),
            None => {
                now = job.wake_at().unwrap();
                command = job.on(Event::Tick, now);
            }
        }
    }
    assert!((55..75).contains(&asked), "asked {asked} times");
}

#[test]
fn a_count_from_before_the_seal_was_seen_proves_nothing() {
    let mut job = follower();
    assert_eq!(job.on(Event::Tick, at(30)), ASKED);
    assert_eq!(job.on(Event::Sealed(1), at(30)), None);
    assert_eq!(job.on(counted(0, 1), at(30)), None);
    assert_eq!(job.wake_at(), Some(at(35)));
    assert_eq!(job.on(Event::Tick, at(35)), ASKED);
}

#[test]
fn a_submitter_that_waits_for_its_inputs_is_not_gone() {
    let mut job = follower();
    for seconds in (5..=60).step_by(5) {
        assert_eq!(job.on(Event::Submitting, at(seconds)), None);
        assert_eq!(job.on(Event::Tick, at(seconds + 4)), None);
    }
}

#[test]
fn an_open_job_without_a_submitter_ends_when_nothing_is_unfinished() {
    let mut job = follower();
    assert_eq!(job.wake_at(), Some(at(30)));
    assert_eq!(job.on(Event::Tick, at(29)), None);
    assert_eq!(job.on(Event::Tick, at(30)), ASKED);
    assert_eq!(
        job.on(counted(0, 1), at(30)),
        Some(Command::End(End::Incomplete(Incomplete::SubmitterGone)))
    );
}

#[test]
fn an_open_job_without_a_submitter_and_without_workers_ends_and_says_so() {
    let mut job = follower();
    job.on(Event::Tick, at(30));
    assert_eq!(
        job.on(counted(2, 1), at(30)),
        Some(Command::Ask(Question::Workers))
    );
    assert_eq!(job.on(Event::Workers(Answer::Told(1)), at(30)), None);
    assert_eq!(job.on(Event::Tick, at(35)), ASKED);
    job.on(counted(2, 1), at(35));
    assert_eq!(
        job.on(Event::Workers(Answer::Told(0)), at(35)),
        Some(Command::End(End::Incomplete(Incomplete::NoWorker {
            bundles: 2
        })))
    );
}

#[test]
fn a_submitter_that_is_heard_while_the_answer_is_under_way_is_there() {
    let mut job = follower();
    assert_eq!(job.on(Event::Tick, at(30)), ASKED);
    assert_eq!(job.on(Event::Submitting, at(31)), None);
    assert_eq!(job.on(counted(0, 1), at(32)), None);
    assert_eq!(job.wake_at(), Some(at(61)));
}

#[test]
fn beats_that_an_outage_swallowed_are_waited_for_again() {
    let mut job = follower();
    assert_eq!(job.on(Event::Tick, at(30)), ASKED);
    assert_eq!(job.on(Event::Unfinished(Answer::Failed), at(35)), None);
    assert_eq!(job.wake_at(), Some(at(65)));
    assert_eq!(job.on(Event::Reopened, at(45)), None);
    assert_eq!(job.wake_at(), Some(at(75)));
}

#[test]
fn tasks_whose_outcomes_cannot_be_read_are_lost_without_a_question() {
    let mut job = Completion::new(Role::Follower, None, at(0));
    job.end(0);
    job.on(Event::Outcomes, at(0));
    job.on(Event::Unreadable(&[1, 2]), at(0));
    assert_eq!(
        job.on(Event::Sealed(3), at(0)),
        Some(Command::End(End::Lost {
            before: 3,
            missing: 2
        }))
    );
}

#[test]
fn where_the_broker_does_not_count_only_age_proves_a_loss() {
    let expires = at(1000);
    let mut job = Completion::new(Role::Follower, Some(expires), at(0));
    job.on(Event::Sealed(1), at(0));
    assert_eq!(job.on(Event::CaughtUp(Mark(1)), at(0)), ASKED);
    assert_eq!(job.on(Event::Unfinished(Answer::Denied), at(0)), None);
    loop {
        let now = job.wake_at().unwrap();
        match job.on(Event::Tick, now) {
            Some(Command::Ask(_)) => {
                job.on(Event::Unfinished(Answer::Denied), now);
            }
            Some(Command::End(end)) => {
                assert_eq!(
                    (end, now),
                    (
                        End::Lost {
                            before: 1,
                            missing: 1
                        },
                        expires
                    )
                );
                return;
            }
            None => {}
        }
    }
}

/// What a submitter has published and not yet been answered cannot be lost.
#[test]
fn a_submitter_loses_what_was_answered_before_it_asked_and_goes_on() {
    let mut job = Completion::new(Role::Submitter, None, at(0));
    job.on(Event::CaughtUp(Mark(5)), at(0));
    assert_eq!(job.on(Event::Expected(None), at(9)), None);
    assert_eq!(job.on(Event::Expected(Some(2)), at(9)), ASKED);
    assert_eq!(job.on(Event::Expected(None), at(9)), None);
    job.on(Event::Expected(Some(4)), at(9));
    assert_eq!(
        job.on(counted(0, 5), at(9)),
        Some(Command::End(End::Lost {
            before: 2,
            missing: 2
        }))
    );
    for index in 0..2 {
        job.end(index);
    }
    assert_eq!(job.on(Event::Outcomes, at(9)), None);
    assert_eq!(job.on(Event::Tick, at(14)), ASKED);
}

/// What happens to a job, as its broker sees it.
#[derive(Debug, Clone)]
enum Act {
    /// The submitter publishes this many tasks, as one bundle.
    Publish(u64),
    /// A worker stores an outcome of an unfinished bundle's next task, readable or not.
    Work {
        readable: bool,
    },
    /// A worker that stored everything acknowledges.
    Acknowledge,
    Seal,
    /// The follower reads the next message.
    Read,
    /// The answer to an open question arrives: truthful, as of when it was asked or as of now.
    Answer {
        late: bool,
        fails: bool,
    },
    Beat,
    Wait(u64),
    Workers(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => (1_u64..4).prop_map(Act::Publish),
        4 => prop::bool::weighted(0.9).prop_map(|readable| Act::Work { readable }),
        3 => Just(Act::Acknowledge),
        1 => Just(Act::Seal),
        6 => Just(Act::Read),
        3 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(late, fails)| Act::Answer { late, fails }),
        2 => Just(Act::Beat),
        3 => (1_u64..40).prop_map(Act::Wait),
        1 => (0_usize..2).prop_map(Act::Workers),
    ];
    prop::collection::vec(act, 0..120)
}

#[derive(Debug, Clone, Copy)]
enum Stored {
    Outcome(TaskIndex),
    Unreadable(TaskIndex),
    /// Of a newer program, and without a header that names its task.
    Opaque,
    Sealed(TaskIndex),
}

/// A broker, and one who follows a job of it.
struct World {
    job: Completion,
    now: Timestamp,
    stored: Vec<Stored>,
    read: usize,
    published: u64,
    sealed: bool,
    /// For each bundle that was not acknowledged, the tasks that have no outcome.
    bundles: Vec<Vec<TaskIndex>>,
    workers: usize,
    question: Option<(Question, Unfinished)>,
    beat: Timestamp,
    end: Option<End>,
}

impl World {
    fn new() -> Self {
        Self {
            job: Completion::new(Role::Follower, None, at(0)),
            now: at(0),
            stored: Vec::new(),
            read: 0,
            published: 0,
            sealed: false,
            bundles: Vec::new(),
            workers: 1,
            question: None,
            beat: at(0),
            end: None,
        }
    }

    fn count(&self) -> Unfinished {
        Unfinished {
            bundles: self.bundles.len() as u64,
            through: Mark(self.stored.len() as u64),
        }
    }

    fn tell(&mut self, event: Event<'_>) {
        match self.job.on(event, self.now) {
            None => {}
            Some(Command::Ask(question)) => {
                assert!(self.question.is_none(), "two questions at once");
                self.question = Some((question, self.count()));
            }
            Some(Command::End(end)) => {
                self.check(end);
                self.end = Some(end);
            }
        }
    }

    /// No end may be a guess.
    fn check(&self, end: End) {
        let waiting = self.bundles.iter().flatten().count();
        let readable = |stored: &&Stored| matches!(stored, Stored::Outcome(_));
        let outcomes = self.stored.iter().filter(readable).count() as u64;
        match end {
            End::Complete => assert!(self.sealed && outcomes == self.published),
            End::Lost { before, missing } => {
                assert!(
                    self.sealed && waiting == 0,
                    "lost, and {waiting} tasks wait"
                );
                assert_eq!(
                    (before, missing),
                    (self.published, self.published - outcomes)
                );
            }
            End::Incomplete(why) => {
                assert!(
                    self.now.since(self.beat) >= SUBMITTER_QUIET_MAX,
                    "it is there"
                );
                match why {
                    Incomplete::SubmitterGone => assert_eq!(waiting, 0),
                    Incomplete::NoWorker { bundles } => assert!(bundles > 0),
                    Incomplete::NotTold => panic!("it was told"),
                }
            }
        }
    }

    fn read(&mut self) {
        match self.stored.get(self.read).copied() {
            Some(stored) => {
                self.read += 1;
                match stored {
                    Stored::Outcome(index) => {
                        self.job.end(index);
                        self.tell(Event::Outcomes);
                    }
                    Stored::Unreadable(index) => self.tell(Event::Unreadable(&[index])),
                    Stored::Opaque => {}
                    Stored::Sealed(tasks) => self.tell(Event::Sealed(tasks)),
                }
            }
            None => self.tell(Event::CaughtUp(Mark(self.read as u64))),
        }
    }

    fn answer(&mut self, late: bool, fails: bool) {
        let Some((question, then)) = self.question.take() else {
            return;
        };
        let count = if late { then } else { self.count() };
        match question {
            _ if fails && question == Question::Workers => {
                self.tell(Event::Workers(Answer::Failed));
            }
            _ if fails => self.tell(Event::Unfinished(Answer::Failed)),
            Question::Unfinished => self.tell(Event::Unfinished(Answer::Told(count))),
            Question::Workers => self.tell(Event::Workers(Answer::Told(self.workers))),
        }
    }

    fn work(&mut self, readable: bool) {
        let Some(bundle) = self.bundles.iter_mut().find(|tasks| !tasks.is_empty()) else {
            return;
        };
        let index = bundle.remove(0);
        self.stored.push(match (readable, index % 2) {
            (true, _) => Stored::Outcome(index),
            (false, 0) => Stored::Unreadable(index),
            (false, _) => Stored::Opaque,
        });
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Publish(tasks) if !self.sealed => {
                // A submitter that publishes is there, and says so.
                self.beat();
                if self.end.is_none() {
                    self.bundles
                        .push((self.published..self.published + tasks).collect());
                    self.published += tasks;
                }
            }
            Act::Publish(_) => {}
            Act::Work { readable } => self.work(readable),
            Act::Acknowledge => self.bundles.retain(|tasks| !tasks.is_empty()),
            Act::Seal if !self.sealed => {
                self.sealed = true;
                self.stored.push(Stored::Sealed(self.published));
            }
            Act::Seal => {}
            Act::Read => self.read(),
            Act::Answer { late, fails } => self.answer(late, fails),
            Act::Beat if !self.sealed => self.beat(),
            Act::Beat => {}
            Act::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                self.tell(Event::Tick);
            }
            Act::Workers(count) => self.workers = count,
        }
    }

    fn beat(&mut self) {
        self.beat = self.now;
        self.tell(Event::Submitting);
    }
}

proptest! {
    /// Whatever the order of things, no end is a guess, and when nothing changes any more the job
    /// ends, or has a question to ask, at the latest at its next turn.
    #[test]
    fn every_history_ends_in_what_is_true_and_none_stands_still(acts in acts()) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
            if world.end.is_some() {
                return Ok(());
            }
        }
        // From here on nobody works or submits, and all that is asked is answered.
        world.workers = 0;
        for _ in 0..2000 {
            while world.end.is_none() && world.read < world.stored.len() {
                world.read();
            }
            if world.end.is_none() {
                // Nothing more is stored.
                world.read();
            }
            if world.end.is_none() {
                world.answer(false, false);
            }
            if world.end.is_some() {
                return Ok(());
            }
            if world.question.is_none() {
                let at = world.job.wake_at();
                prop_assert!(at.is_some(), "it waits for nothing: {:?}", world.job);
                world.now = world.now.max(at.unwrap_or_default());
                world.tell(Event::Tick);
                if world.end.is_some() {
                    return Ok(());
                }
            }
        }
        // A sealed job waits for a worker, however long that takes.
        prop_assert!(world.sealed && !world.bundles.is_empty(), "{:?}", world.job);
    }
}
