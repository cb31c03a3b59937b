//! Jobs in all their manners, and random histories of a map over a broker that takes its time,
//! refuses, and loses answers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::argument::Argument;
use crate::outcome::InputFault;

type Job = Submission<String>;

fn at(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(1_000_000 + seconds)
}

fn job(manner: Manner) -> Job {
    let mut job = Job::new(manner, None, None, at(0));
    job.on(
        Event::Window {
            slots: 2,
            bundles: 4,
        },
        at(0),
    );
    job
}

fn task() -> Task {
    Task {
        index: 0,
        arguments: vec![Argument::Value(vec![1].into())],
        function: 0,
        input: None,
        then: Vec::new(),
    }
}

fn completed(index: TaskIndex) -> Outcome {
    Outcome {
        attempts: 1,
        ..unrun(index, Ending::Completed(vec![7].into()))
    }
}

fn published(first: TaskIndex, count: u64) -> Request {
    let sent = |index| Sent {
        index,
        input: Some(format!("input {index}").into()),
    };
    Request::Publish((first..first + count).map(sent).collect())
}

fn commands(job: &mut Job) -> Vec<Command<String>> {
    std::iter::from_fn(|| job.next_command()).collect()
}

fn after(job: &mut Job, event: Event<String>, seconds: u64) -> Vec<Command<String>> {
    job.on(event, at(seconds));
    commands(job)
}

fn bad_input(index: TaskIndex) -> Event<String> {
    let failure = Failure::Input {
        fault: InputFault::Malformed,
        message: "it does not fit".into(),
    };
    let input = Some("the bad one".into());
    Event::Input(Err(NoTask {
        index,
        ending: Ending::Failed(failure),
        input,
    }))
}

#[test]
fn a_map_is_sealed_when_all_is_answered_and_ends_when_the_caller_has_all() {
    let mut job = job(Manner::Map);
    let sent = after(&mut job, Event::Input(Ok(task())), 0);
    assert!(matches!(&sent[..], [Command::Publish(tasks)] if tasks.len() == 1));
    assert_eq!(after(&mut job, Event::InputsEnded, 0), []);
    // An outcome may be faster than the answer.
    let outcomes: Arc<[Outcome]> = [completed(0)].into();
    assert_eq!(
        after(&mut job, Event::Outcomes(0, outcomes.clone()), 0),
        [Command::PassOn(outcomes)]
    );
    assert_eq!(
        after(&mut job, Event::Answered(published(0, 1), Ok(())), 0),
        []
    );
    assert_eq!(
        after(&mut job, Event::Passed, 0),
        [Command::Trim(1), Command::Seal(1)]
    );
    assert_eq!(
        after(&mut job, Event::Answered(Request::Seal, Ok(())), 0),
        [Command::End(End::Complete(1))]
    );
}

#[test]
fn no_input_is_taken_while_the_window_is_full_or_the_caller_does_not_read() {
    let mut job = job(Manner::Map);
    for first in 0..4 {
        assert!(job.wants().inputs);
        after(&mut job, Event::Input(Ok(task())), 0);
        after(&mut job, Event::Answered(published(first, 1), Ok(())), 0);
    }
    assert!(!job.wants().inputs && job.wants().outcomes);
    after(&mut job, Event::Outcomes(0, [completed(2)].into()), 0);
    assert!(!job.wants().inputs && !job.wants().outcomes);
    after(&mut job, Event::Passed, 0);
    assert!(job.wants().inputs && job.wants().outcomes);
}

#[test]
fn a_submitter_that_waits_for_its_inputs_says_every_few_seconds_that_it_is_there() {
    for manner in [Manner::Map, Manner::Detached, Manner::Replay] {
        let mut job = job(manner);
        for beat in 1..=4 {
            assert_eq!(job.wake_at(), Some(at(5 * beat)));
            assert_eq!(after(&mut job, Event::Tick, 5 * beat), [Command::Beat]);
        }
    }
    let mut attached = job(Manner::Attached);
    assert_eq!(after(&mut attached, Event::Tick, 60), []);
}

#[test]
fn an_input_that_is_no_task_has_an_outcome_at_the_broker() {
    let mut job = job(Manner::Map);
    let commands = after(&mut job, bad_input(0), 0);
    assert!(
        matches!(&commands[..], [Command::Report(outcomes)]
            if outcomes[0].index == 0 && outcomes[0].input == Some("the bad one".into())),
        "{commands:?}"
    );
}

#[test]
fn a_bundle_that_is_refused_ends_as_outcomes_at_the_broker_and_an_unknown_one_only_here() {
    let mut job = job(Manner::Map);
    after(&mut job, Event::Input(Ok(task())), 0);
    let refused = Err((Refusal::TooLarge, "too large".into()));
    let commands = after(&mut job, Event::Answered(published(0, 1), refused), 0);
    assert!(
        matches!(&commands[..], [Command::Report(outcomes)]
            if outcomes[0].input == Some("input 0".into())),
        "{commands:?}"
    );
    after(&mut job, Event::Input(Ok(task())), 0);
    let refused = Err((Refusal::Unknown, "away".into()));
    let commands = after(&mut job, Event::Answered(published(1, 1), refused), 0);
    assert!(
        matches!(&commands[..], [Command::PassOn(_)]),
        "{commands:?}"
    );
    // It was taken after all. The caller has been told how it ended.
    assert_eq!(after(&mut job, Event::Passed, 0), []);
    assert_eq!(
        after(&mut job, Event::Outcomes(0, [completed(1)].into()), 0),
        [Command::Trim(1)]
    );
}

#[test]
fn tasks_whose_outcomes_cannot_be_read_end_at_once() {
    let mut job = job(Manner::Map);
    after(&mut job, Event::Input(Ok(task())), 0);
    after(&mut job, Event::Answered(published(0, 1), Ok(())), 0);
    let unreadable = Event::Unreadable([0].into(), "version 9".into());
    let commands = after(&mut job, unreadable, 0);
    assert!(
        matches!(
            &commands[..],
            [Command::PassOn(outcomes)] if matches!(
                &outcomes[0].ending,
                Ending::Failed(failure) if failure.to_string().contains("version 9")
            )
        ),
        "{commands:?}"
    );
}

#[test]
fn lost_tasks_of_a_map_end_and_the_map_goes_on() {
    let mut job = job(Manner::Map);
    after(&mut job, Event::Input(Ok(task())), 0);
    after(&mut job, Event::Answered(published(0, 1), Ok(())), 0);
    after(&mut job, Event::CaughtUp(Mark(1)), 0);
    let asked = after(&mut job, Event::Tick, 5);
    assert!(
        asked.contains(&Command::Ask(Question::Unfinished)),
        "{asked:?}"
    );
    let unfinished = Unfinished {
        bundles: 0,
        through: Mark(1),
    };
    let commands = after(&mut job, Event::Unfinished(Answer::Told(unfinished)), 5);
    assert!(
        matches!(&commands[..], [Command::PassOn(outcomes)] if outcomes[0].ending == lost()),
        "{commands:?}"
    );
    assert_eq!(after(&mut job, Event::Passed, 5), []);
    assert!(job.wants().inputs && job.wants().outcomes);
}

#[test]
fn a_cancelled_map_ends_every_task_in_parts() {
    let mut job = job(Manner::Map);
    job.on(
        Event::Window {
            slots: 2,
            bundles: 5000,
        },
        at(0),
    );
    for first in 0..2000 {
        after(&mut job, Event::Input(Ok(task())), 0);
        after(&mut job, Event::Answered(published(first, 1), Ok(())), 0);
    }
    let mut ended = 0;
    let mut event = Event::Cancelled;
    loop {
        let commands = after(&mut job, event, 0);
        match &commands[..] {
            [Command::PassOn(outcomes)] => ended += outcomes.len(),
            [Command::End(End::Cancelled)] => break,
            other => panic!("{other:?}"),
        }
        event = Event::Passed;
    }
    assert_eq!(ended, 2000);
}

#[test]
fn a_detached_job_ends_when_it_is_sealed_and_at_the_first_error() {
    let mut ended = job(Manner::Detached);
    after(&mut ended, Event::Input(Ok(task())), 0);
    after(&mut ended, Event::InputsEnded, 0);
    assert_eq!(
        after(&mut ended, Event::Answered(published(0, 1), Ok(())), 0),
        [Command::Seal(1)]
    );
    assert_eq!(
        after(&mut ended, Event::Answered(Request::Seal, Ok(())), 0),
        [Command::End(End::Complete(1))]
    );

    let mut failed = job(Manner::Detached);
    after(&mut failed, Event::Input(Ok(task())), 0);
    let refused = Err((Refusal::Unknown, "away".into()));
    assert_eq!(
        after(&mut failed, Event::Answered(published(0, 1), refused), 0),
        [Command::End(End::Failed("away".into()))]
    );
}

#[test]
fn a_replay_confirms_what_is_published_and_only_that() {
    let mut job = job(Manner::Replay);
    for _ in 0..3 {
        after(&mut job, Event::Input(Ok(task())), 0);
    }
    assert_eq!(
        after(&mut job, Event::Answered(published(1, 1), Ok(())), 0),
        [Command::Confirm(1)]
    );
    let refused = Err((Refusal::Unknown, "away".into()));
    assert_eq!(
        after(&mut job, Event::Answered(published(0, 1), refused), 0),
        []
    );
    assert!(!job.wants().inputs);
    after(&mut job, Event::Answered(Request::Confirm, Ok(())), 0);
    after(&mut job, Event::Answered(published(2, 1), Ok(())), 0);
    assert_eq!(
        after(&mut job, Event::Answered(Request::Confirm, Ok(())), 0),
        [Command::End(End::Failed("away".into()))]
    );
    assert_eq!(job.published(), 2);
}

#[test]
fn a_replay_that_is_stopped_is_sealed_with_what_was_published() {
    let mut job = job(Manner::Replay);
    after(&mut job, Event::Input(Ok(task())), 0);
    assert_eq!(after(&mut job, Event::Stop, 0), []);
    assert!(!job.wants().inputs);
    after(&mut job, Event::Answered(published(0, 1), Ok(())), 0);
    assert_eq!(
        after(&mut job, Event::Answered(Request::Confirm, Ok(())), 0),
        [Command::Seal(1)]
    );
}

#[test]
fn an_open_job_packs_each_function_by_itself() {
    let mut job = job(Manner::Open);
    let calling = |index, function| {
        Event::Input(Ok(Task {
            index,
            function,
            ..task()
        }))
    };
    let indices = |commands: &[Command<String>]| {
        let bundle = |command: &Command<String>| match command {
            Command::Publish(tasks) => tasks.iter().map(|task| task.index).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        commands.iter().map(bundle).collect::<Vec<_>>()
    };
    // Short tasks of the first function, so that its bundles grow.
    let first = after(&mut job, calling(0, 0), 0);
    assert_eq!(indices(&first), [[0]]);
    after(&mut job, Event::Answered(published(0, 1), Ok(())), 0);
    after(&mut job, Event::Outcomes(0, [completed(0)].into()), 0);
    after(&mut job, Event::Passed, 0);
    assert_eq!(indices(&after(&mut job, calling(1, 0), 0)), [[0_u64; 0]; 0]);
    assert!(job.wants().pause);
    // One of the other goes out alone, and does not take the collected one with it.
    assert_eq!(indices(&after(&mut job, calling(2, 1), 0)), [[2]]);
    assert_eq!(indices(&after(&mut job, calling(3, 0), 0)), [[1, 3]]);
    assert!(!job.wants().pause);
}

#[test]
fn tasks_of_an_open_job_come_in_any_order_and_it_is_sealed_with_all() {
    let mut job = job(Manner::Open);
    for index in [3, 0, 2] {
        after(&mut job, Event::Input(Ok(Task { index, ..task() })), 0);
        after(&mut job, Event::Answered(published(index, 1), Ok(())), 0);
        after(
            &mut job,
            Event::Outcomes(index, [completed(index)].into()),
            0,
        );
        after(&mut job, Event::Passed, 0);
    }
    // One that waited for another, which failed.
    after(&mut job, bad_input(1), 0);
    let outcomes: Arc<[Outcome]> = [unrun(1, Ending::Cancelled)].into();
    let answer = Event::Answered(Request::Report(outcomes.clone()), Ok(()));
    after(&mut job, answer, 0);
    assert_eq!(after(&mut job, Event::InputsEnded, 0), [Command::Seal(4)]);
    after(&mut job, Event::Outcomes(4, outcomes), 0);
    after(&mut job, Event::Passed, 0);
    assert_eq!(
        after(&mut job, Event::Answered(Request::Seal, Ok(())), 0),
        [Command::End(End::Complete(4))]
    );
}

#[test]
fn tasks_of_an_open_job_are_cancelled_unless_they_ended() {
    let mut job = job(Manner::Open);
    for index in 0..2 {
        after(&mut job, Event::Input(Ok(Task { index, ..task() })), 0);
    }
    after(&mut job, Event::Outcomes(0, [completed(0)].into()), 0);
    after(&mut job, Event::Passed, 0);
    assert_eq!(
        after(&mut job, Event::CancelTasks(vec![0, 1]), 0),
        [Command::CancelTasks(vec![1])]
    );
    let cancelled: Arc<[Outcome]> = [unrun(1, Ending::Cancelled)].into();
    assert_eq!(
        after(&mut job, Event::Outcomes(1, cancelled.clone()), 0),
        [Command::PassOn(cancelled)]
    );
}

/// What happens next, where it can.
#[derive(Debug, Clone)]
enum Act {
    Input(bool),
    Pending,
    InputsEnd,
    /// One of the open calls is answered.
    Answer {
        which: usize,
        how: How,
    },
    /// A task of one of the bundles ends.
    Work {
        which: usize,
        readable: bool,
    },
    Acknowledge,
    Read,
    Passed,
    Told {
        fails: bool,
    },
    Wait(u64),
    Cancel,
    /// One of the tasks there are so far.
    CancelTask(u64),
}

#[derive(Debug, Clone, Copy)]
enum How {
    Done,
    /// It happened, and the answer was lost.
    Unknown,
    /// It did not happen, and the answer was lost.
    Away,
    TooLarge,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let how = prop_oneof![
        6 => Just(How::Done),
        1 => Just(How::Unknown),
        1 => Just(How::Away),
        1 => Just(How::TooLarge),
    ];
    let act = prop_oneof![
        6 => prop::bool::weighted(0.9).prop_map(Act::Input),
        3 => Just(Act::Pending),
        1 => Just(Act::InputsEnd),
        6 => (0_usize..4, how).prop_map(|(which, how)| Act::Answer { which, how }),
        6 => (0_usize..4, prop::bool::weighted(0.9))
            .prop_map(|(which, readable)| Act::Work { which, readable }),
        3 => Just(Act::Acknowledge),
        6 => Just(Act::Read),
        6 => Just(Act::Passed),
        2 => prop::bool::weighted(0.2).prop_map(|fails| Act::Told { fails }),
        2 => (1_u64..20).prop_map(Act::Wait),
        1 => (0_u64..40).prop_map(Act::CancelTask),
        1 => prop::bool::weighted(0.05)
            .prop_map(|cancel| if cancel { Act::Cancel } else { Act::Read }),
    ];
    prop::collection::vec(act, 0..250)
}

#[derive(Debug, Clone)]
enum Stored {
    Outcome(Box<Outcome>),
    Opaque(TaskIndex),
    Sealed(TaskIndex),
    Cancelled,
}

/// A broker, a fleet, and a caller of one map or open job.
struct World {
    job: Job,
    manner: Manner,
    now: Timestamp,
    inputs: u64,
    has_ended: bool,
    calls: Vec<Command<String>>,
    question: Option<Unfinished>,
    stored: Vec<Stored>,
    read: usize,
    position: Position,
    bundles: Vec<VecDeque<TaskIndex>>,
    ended_at_broker: HashSet<TaskIndex>,
    is_cancelled: bool,
    /// Every index that was published or reported, and how often.
    sent: HashMap<TaskIndex, usize>,
    unanswered: HashSet<TaskIndex>,
    passed_on: HashSet<TaskIndex>,
    waiting: usize,
    end: Option<End<String>>,
}

impl World {
    fn new(manner: Manner) -> Self {
        let mut world = Self {
            job: job(manner),
            manner,
            now: at(0),
            inputs: 0,
            has_ended: false,
            calls: Vec::new(),
            question: None,
            stored: Vec::new(),
            read: 0,
            position: 0,
            bundles: Vec::new(),
            ended_at_broker: HashSet::new(),
            is_cancelled: false,
            sent: HashMap::new(),
            unanswered: HashSet::new(),
            passed_on: HashSet::new(),
            waiting: 0,
            end: None,
        };
        world.obey();
        world
    }

    fn tell(&mut self, event: Event<String>) {
        if self.end.is_none() {
            self.job.on(event, self.now);
            self.obey();
        }
    }

    fn obey(&mut self) {
        while let Some(command) = self.job.next_command() {
            assert!(self.end.is_none(), "{command:?} after the end");
            match command {
                Command::Publish(tasks) => {
                    for task in &tasks {
                        *self.sent.entry(task.index).or_default() += 1;
                        self.unanswered.insert(task.index);
                    }
                    self.calls.push(Command::Publish(tasks));
                }
                Command::Report(outcomes) => {
                    for outcome in outcomes.iter() {
                        self.unanswered.insert(outcome.index);
                    }
                    self.calls.push(Command::Report(outcomes));
                }
                Command::Seal(tasks) => {
                    assert!(self.calls.is_empty(), "sealed while calls are open");
                    assert_eq!(tasks, self.inputs, "sealed with another number");
                    self.calls.push(Command::Seal(tasks));
                }
                Command::Ask(_) => {
                    assert!(self.question.is_none(), "two questions at once");
                    self.question = Some(Unfinished {
                        bundles: self.bundles.len() as u64,
                        through: Mark(self.stored.len() as u64),
                    });
                }
                Command::PassOn(outcomes) => {
                    self.waiting += 1;
                    for outcome in outcomes.iter() {
                        self.check_passed(outcome);
                    }
                }
                Command::Cancel => {
                    if !self.is_cancelled {
                        self.is_cancelled = true;
                        self.bundles.clear();
                        self.stored.push(Stored::Cancelled);
                    }
                }
                Command::CancelTasks(tasks) => self.cancel_tasks(&tasks),
                Command::Beat | Command::Trim(_) => {}
                Command::Confirm(_) => panic!("nothing is confirmed in a map"),
                Command::End(end) => self.end = Some(end),
            }
        }
        let calls = self.calls.len();
        assert!(calls <= REQUESTS_AT_ONCE + 1, "{calls} calls at once");
    }

    fn check_passed(&mut self, outcome: &Outcome) {
        let index = outcome.index;
        assert!(index < self.inputs, "an outcome of no input");
        assert!(self.passed_on.insert(index), "task {index} ended twice");
        if outcome.ending == lost() {
            assert!(!self.unanswered.contains(&index), "lost, and unanswered");
            let waits = self.bundles.iter().flatten().any(|other| *other == index);
            assert!(!waits, "task {index} is lost, and waits");
        }
    }

    fn cancel_tasks(&mut self, tasks: &[TaskIndex]) {
        for index in tasks {
            assert!(*index < self.inputs && !self.passed_on.contains(index));
            if !self.is_cancelled && self.ended_at_broker.insert(*index) {
                let cancelled = unrun(*index, Ending::Cancelled);
                self.stored.push(Stored::Outcome(Box::new(cancelled)));
            }
        }
    }

    fn answer(&mut self, which: usize, how: How) {
        if self.calls.is_empty() {
            return;
        }
        let which = which % self.calls.len();
        let (call, happens) = match (self.calls.remove(which), how) {
            (Command::Publish(tasks), how) => {
                assert!(tasks.iter().all(|task| task.function == tasks[0].function));
                let happens = matches!(how, How::Done | How::Unknown) && !self.is_cancelled;
                let sent: Arc<[Sent]> = tasks.iter().map(Sent::from).collect();
                let indices = sent.iter().map(|sent| sent.index);
                indices.clone().for_each(|index| {
                    self.unanswered.remove(&index);
                });
                if happens {
                    self.bundles.push(indices.collect());
                }
                (Request::Publish(sent), happens)
            }
            (Command::Report(outcomes), how) => {
                let happens = matches!(how, How::Done | How::Unknown) && !self.is_cancelled;
                for outcome in outcomes.iter() {
                    self.unanswered.remove(&outcome.index);
                    if happens && self.ended_at_broker.insert(outcome.index) {
                        self.stored.push(Stored::Outcome(Box::new(outcome.clone())));
                    }
                }
                (Request::Report(outcomes), happens)
            }
            (Command::Seal(tasks), _) => {
                self.stored.push(Stored::Sealed(tasks));
                (Request::Seal, true)
            }
            (other, _) => panic!("{other:?}"),
        };
        let result = match how {
            _ if self.is_cancelled => Err((Refusal::Over, "cancelled".into())),
            How::Done if happens => Ok(()),
            How::TooLarge => Err((Refusal::TooLarge, "too large".into())),
            How::Done | How::Unknown | How::Away => Err((Refusal::Unknown, "away".into())),
        };
        self.tell(Event::Answered(call, result));
    }

    fn work(&mut self, which: usize, readable: bool) {
        let waiting = self.bundles.len().max(1);
        let Some(index) = self
            .bundles
            .get_mut(which % waiting)
            .and_then(VecDeque::pop_front)
        else {
            return;
        };
        if self.ended_at_broker.insert(index) {
            self.stored.push(if readable {
                Stored::Outcome(Box::new(completed(index)))
            } else {
                Stored::Opaque(index)
            });
        }
    }

    fn read(&mut self) {
        if !self.job.wants().outcomes {
            return;
        }
        let Some(stored) = self.stored.get(self.read).cloned() else {
            return self.tell(Event::CaughtUp(Mark(self.read as u64)));
        };
        self.read += 1;
        match stored {
            Stored::Outcome(outcome) => {
                let position = self.position;
                self.position += 1;
                self.tell(Event::Outcomes(position, [*outcome].into()));
            }
            // Every other one is named by its message.
            Stored::Opaque(index) if index % 2 == 0 => {
                self.tell(Event::Unreadable([index].into(), "it is newer".into()));
            }
            Stored::Opaque(_) => {}
            Stored::Sealed(tasks) => self.tell(Event::Sealed(tasks)),
            Stored::Cancelled => self.tell(Event::Cancelled),
        }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Input(is_good) => {
                if self.job.wants().inputs && !self.has_ended {
                    let index = self.inputs;
                    self.inputs += 1;
                    let function = match self.manner {
                        Manner::Open => u32::try_from(self.inputs % 5 / 3).unwrap(),
                        _ => 0,
                    };
                    self.tell(if is_good {
                        Event::Input(Ok(Task {
                            index,
                            function,
                            ..task()
                        }))
                    } else {
                        bad_input(index)
                    });
                }
            }
            Act::Pending if self.job.wants().pause => self.tell(Event::InputsPending),
            Act::InputsEnd if !self.has_ended && self.job.wants().inputs => {
                self.has_ended = true;
                self.tell(Event::InputsEnded);
            }
            Act::Pending | Act::InputsEnd => {}
            Act::Answer { which, how } => self.answer(which, how),
            Act::Work { which, readable } => self.work(which, readable),
            Act::Acknowledge => self.bundles.retain(|bundle| !bundle.is_empty()),
            Act::Read => self.read(),
            Act::Passed => {
                if self.waiting > 0 {
                    self.waiting -= 1;
                    self.tell(Event::Passed);
                }
            }
            Act::Told { fails } => {
                if let Some(unfinished) = self.question.take() {
                    self.tell(Event::Unfinished(if fails {
                        Answer::Failed
                    } else {
                        Answer::Told(unfinished)
                    }));
                }
            }
            Act::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(seconds);
                self.tell(Event::Tick);
            }
            Act::Cancel => self.tell(Event::Cancel),
            Act::CancelTask(index) if index < self.inputs => {
                self.tell(Event::CancelTasks(vec![index]));
            }
            Act::CancelTask(_) => {}
        }
    }

    /// What goes on without anything new until the job is over.
    fn run_out(&mut self) {
        for _ in 0..5000 {
            if self.end.is_some() {
                return;
            }
            for act in [
                Act::Passed,
                Act::InputsEnd,
                Act::Pending,
                Act::Answer {
                    which: 0,
                    how: How::Done,
                },
                Act::Work {
                    which: 0,
                    readable: true,
                },
                Act::Acknowledge,
                Act::Read,
                Act::Told { fails: false },
            ] {
                self.act(&act);
            }
            if let Some(at) = self.job.wake_at()
                && self.question.is_none()
            {
                self.now = self.now.max(at);
                self.tell(Event::Tick);
            }
        }
    }
}

proptest! {
    /// No input is lost or doubled, every task ends exactly once for the caller, the seal comes
    /// last, nothing is lost that may still come, and every history ends.
    #[test]
    fn every_task_ends_once_whatever_the_order_of_things(
        acts in acts(),
        manner in prop_oneof![Just(Manner::Map), Just(Manner::Open)],
    ) {
        let mut world = World::new(manner);
        acts.iter().for_each(|act| world.act(act));
        world.run_out();
        prop_assert!(world.end.is_some(), "it stands still: {:?}", world.job);
        prop_assert!(world.sent.values().all(|times| *times == 1), "{:?}", world.sent);
        prop_assert_eq!(world.passed_on.len() as u64, world.inputs);
    }
}

#[test]
fn a_task_that_ended_before_it_was_published_leaves_no_bundle() {
    let mut job = job(Manner::Open);
    for first in 0..8 {
        after(&mut job, Event::CancelTasks(vec![first]), 0);
        let cancelled = unrun(first, Ending::Cancelled);
        after(&mut job, Event::Outcomes(first, [cancelled].into()), 0);
        after(&mut job, Event::Passed, 0);
        assert!(job.wants().inputs, "the window is full after {first}");
        for command in after(
            &mut job,
            Event::Input(Ok(Task {
                index: first,
                ..task()
            })),
            0,
        ) {
            match command {
                Command::Publish(tasks) => {
                    let sent = Request::Publish(tasks.iter().map(Sent::from).collect());
                    after(&mut job, Event::Answered(sent, Ok(())), 0);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
