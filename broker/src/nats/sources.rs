//! Decides from which source a worker pulls next, and how many bundles. No clock and no I/O.
//!
//! A worker has several sources, one for each shard, pool and priority it serves, and credits: the
//! number of bundles it wants now. A source is *clean* when the last pull request found nothing
//! there, and *dirty* when it may have bundles: at first, after a notification (its bell), and
//! every [`SWEEP_INTERVAL`] because notifications can get lost. Dirty sources are polled one after
//! another, the highest priority first, with requests that do not wait. When all are clean, a
//! waiting pull request is sent to one source, the *home*: that of normal priority without labels,
//! in a shard that differs between workers.
//!
//! So a worker never has more bundles in flight than credits, with one exception: while a request
//! waits at home, a notification may come for another source, and both requests may be answered at
//! once. Then the worker holds a spare for a moment; see `pull_queue`.

use std::collections::VecDeque;
use std::time::Duration;

use sortie_protocol::{Priority, Timestamp};

use super::names::Source;

/// How often sources are polled without a notification.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
/// How long a pull request waits at home before it is renewed.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);
/// The server's heartbeat interval for waiting pull requests.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which a waiting pull request counts as lost: a little more than two heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(11);
/// Timeout of a pull request that does not wait.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a request may wait at home before checking whether the source has bundles that are not
/// delivered.
const SUSPICION: Duration = Duration::from_secs(20);

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The number of bundles wanted now, those in flight included.
    Wanted(usize),
    /// A bundle arrived, and so many more wait at the source.
    Delivered { source: Source, pending: u64 },
    /// A pull request ended.
    Ended { question: u64 },
    /// A pull request still waits (heartbeat).
    Waiting { question: u64 },
    /// A notification: the source may have bundles.
    Rang(Source),
    /// The home source has bundles that are not delivered.
    Stuck,
    /// All earlier pull requests are void.
    Reconnected,
    /// Time has passed.
    Tick,
}

/// An output of the state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// Send a pull request to a source.
    Ask {
        question: u64,
        source: Source,
        batch: usize,
        wait: Wait,
    },
    /// Check whether the home source has bundles that are not delivered.
    Suspect(Source),
    /// A pull request was lost.
    Lost { source: Source },
}

/// Whether a pull request waits at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    AtHome,
}

#[derive(Debug)]
struct Question {
    number: u64,
    left: usize,
    wait: Wait,
    asked: Timestamp,
    heard: Timestamp,
}

#[derive(Debug)]
struct State {
    source: Source,
    dirty: bool,
    questions: VecDeque<Question>,
}

/// The sources of one worker, and the pending pull requests.
#[derive(Debug)]
pub(super) struct Sources {
    states: Vec<State>,
    wanted: usize,
    next: u64,
    swept: Timestamp,
    suspected: Timestamp,
}

impl Sources {
    /// Of these, in a worker whose home is the shard `home`.
    pub(super) fn new(sources: impl IntoIterator<Item = Source>, home: u16) -> Self {
        let mut new = Self {
            states: Vec::new(),
            wanted: 0,
            next: 0,
            swept: Timestamp::default(),
            suspected: Timestamp::default(),
        };
        new.add(sources, home);
        new
    }

    /// Add those that are new. The order they are asked in: by priority, then the home shard, then
    /// as they come.
    pub(super) fn add(&mut self, sources: impl IntoIterator<Item = Source>, home: u16) {
        for source in sources {
            if self.states.iter().all(|state| state.source != source) {
                self.states.push(State {
                    source,
                    dirty: true,
                    questions: VecDeque::new(),
                });
            }
        }
        self.states.sort_by_key(|state| {
            (
                std::cmp::Reverse(state.source.priority),
                state.source.shard != home,
                state.source.clone(),
            )
        });
    }

    /// Process an event; returns commands.
    pub(super) fn on(&mut self, event: Event, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Wanted(wanted) => self.wanted = wanted,
            Event::Delivered { source, pending } => self.on_delivered(&source, pending),
            Event::Ended { question } => self.on_ended(question),
            Event::Waiting { question } => {
                if let Some(question) = self.questions().find(|asked| asked.number == question) {
                    question.heard = now;
                }
            }
            Event::Rang(source) => {
                if let Some(state) = self.states.iter_mut().find(|state| state.source == source) {
                    state.dirty = true;
                }
            }
            Event::Stuck => self.on_stuck(),
            Event::Reconnected => {
                for state in &mut self.states {
                    state.questions.clear();
                    state.dirty = true;
                }
            }
            Event::Tick => self.on_tick(now, &mut commands),
        }
        self.ask(now, &mut commands);
        commands
    }

    fn questions(&mut self) -> impl Iterator<Item = &mut Question> {
        self.states
            .iter_mut()
            .flat_map(|state| state.questions.iter_mut())
    }

    fn on_delivered(&mut self, source: &Source, pending: u64) {
        // It was one of those that are wanted; whether it is, in the end, is told with the next
        // count.
        self.wanted = self.wanted.saturating_sub(1);
        let Some(state) = self.states.iter_mut().find(|state| state.source == *source) else {
            return;
        };
        state.dirty = pending > 0;
        // A server answers requests in FIFO order.
        if let Some(question) = state.questions.front_mut() {
            question.left = question.left.saturating_sub(1);
            if question.left == 0 {
                state.questions.pop_front();
            }
        }
    }

    fn on_ended(&mut self, question: u64) {
        for state in &mut self.states {
            if let Some(at) = state
                .questions
                .iter()
                .position(|asked| asked.number == question)
            {
                let ended = state.questions.remove(at);
                // A question that did not wait and was not answered in full found the end.
                if ended.is_some_and(|ended| ended.wait == Wait::No) {
                    state.dirty = false;
                }
            }
        }
    }

    /// What waits there is asked for without waiting, which also works where the server forgot
    /// about those who wait.
    fn on_stuck(&mut self) {
        for state in &mut self.states {
            if state
                .questions
                .iter()
                .any(|question| question.wait == Wait::AtHome)
            {
                state.questions.clear();
                state.dirty = true;
            }
        }
    }

    fn on_tick(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        for state in &mut self.states {
            let before = state.questions.len();
            state.questions.retain(|question| match question.wait {
                Wait::No => now.since(question.asked) < ANSWER_MAX,
                Wait::AtHome => {
                    now.since(question.heard) < SILENCE_MAX
                        && now.since(question.asked) < WAIT_MAX + ANSWER_MAX
                }
            });
            if state.questions.len() < before {
                state.dirty = true;
                commands.push(Command::Lost {
                    source: state.source.clone(),
                });
            }
        }
        if now.since(self.swept) >= SWEEP_INTERVAL {
            self.swept = now;
            for state in &mut self.states {
                state.dirty |= state.questions.is_empty();
            }
        }
        let since = self.suspected;
        let suspect = self.states.iter().find(|state| {
            let waits = |question: &Question| {
                question.wait == Wait::AtHome && now.since(question.asked.max(since)) >= SUSPICION
            };
            state.questions.iter().any(waits)
        });
        if let Some(state) = suspect {
            self.suspected = now;
            commands.push(Command::Suspect(state.source.clone()));
        }
    }

    /// Send pull requests for the bundles still wanted.
    fn ask(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        let asked = |wait: Wait| {
            let questions = self.states.iter().flat_map(|state| &state.questions);
            questions
                .filter(|question| question.wait == wait)
                .map(|question| question.left)
                .sum::<usize>()
        };
        let (sweeping, waiting) = (asked(Wait::No), asked(Wait::AtHome));
        if sweeping > 0 || self.wanted == 0 {
            // One at a time: the answer decides which source is polled next.
            return;
        }
        if let Some(at) = self
            .states
            .iter()
            .position(|state| state.dirty && state.questions.is_empty())
        {
            commands.extend(self.put(at, self.wanted, Wait::No, now));
        } else if self.wanted > waiting {
            // What waits already is not asked for again.
            let home = self
                .states
                .iter()
                .position(|state| state.source.priority == Priority::Normal)
                .unwrap_or(0);
            commands.extend(self.put(home, self.wanted - waiting, Wait::AtHome, now));
        }
    }

    fn put(&mut self, at: usize, batch: usize, wait: Wait, now: Timestamp) -> Option<Command> {
        let state = self.states.get_mut(at)?;
        self.next += 1;
        let question = self.next;
        state.questions.push_back(Question {
            number: question,
            left: batch,
            wait,
            asked: now,
            heard: now,
        });
        Some(Command::Ask {
            question,
            source: state.source.clone(),
            batch,
            wait,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(priority: Priority) -> Source {
        Source {
            shard: 0,
            pool: "any".into(),
            priority,
        }
    }

    fn sources() -> Sources {
        Sources::new(
            [Priority::Low, Priority::Normal, Priority::High].map(source),
            0,
        )
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(1_000) + Duration::from_millis(millis)
    }

    /// What is asked, as (priority, batch, waits).
    fn asked(commands: &[Command]) -> Vec<(Priority, usize, bool)> {
        let ask = |command: &Command| match command {
            Command::Ask {
                source,
                batch,
                wait,
                ..
            } => Some((source.priority, *batch, *wait == Wait::AtHome)),
            Command::Suspect(_) | Command::Lost { .. } => None,
        };
        commands.iter().filter_map(ask).collect()
    }

    /// Sweep everything empty, until a question waits at home.
    fn idle(sources: &mut Sources, wanted: usize) {
        let mut commands = sources.on(Event::Wanted(wanted), at(0));
        for question in 1..=3 {
            assert_eq!(asked(&commands).len(), 1);
            commands = sources.on(Event::Ended { question }, at(1));
        }
        assert_eq!(asked(&commands), [(Priority::Normal, wanted, true)]);
    }

    #[test]
    fn the_highest_priority_is_asked_first_and_home_waits_when_all_are_empty() {
        let mut sources = sources();
        assert_eq!(
            asked(&sources.on(Event::Wanted(2), at(0))),
            [(Priority::High, 2, false)]
        );
        assert_eq!(
            asked(&sources.on(Event::Ended { question: 1 }, at(1))),
            [(Priority::Normal, 2, false)]
        );
        assert_eq!(
            asked(&sources.on(Event::Ended { question: 2 }, at(2))),
            [(Priority::Low, 2, false)]
        );
        assert_eq!(
            asked(&sources.on(Event::Ended { question: 3 }, at(3))),
            [(Priority::Normal, 2, true)]
        );
    }

    #[test]
    fn nothing_is_asked_while_nothing_is_wanted() {
        assert_eq!(sources().on(Event::Tick, at(0)), []);
    }

    #[test]
    fn no_more_is_on_its_way_than_is_wanted() {
        let mut sources = sources();
        idle(&mut sources, 2);
        assert_eq!(sources.on(Event::Wanted(2), at(2)), []);
        assert_eq!(
            asked(&sources.on(Event::Wanted(3), at(3))),
            [(Priority::Normal, 1, true)]
        );
        let delivered = Event::Delivered {
            source: source(Priority::Normal),
            pending: 0,
        };
        assert_eq!(sources.on(delivered, at(4)), []);
        assert_eq!(sources.on(Event::Wanted(2), at(4)), []);
    }

    #[test]
    fn a_source_with_more_in_it_is_asked_again_at_once() {
        let mut sources = sources();
        sources.on(Event::Wanted(1), at(0));
        sources.on(Event::Ended { question: 1 }, at(1));
        assert_eq!(
            sources.on(
                Event::Delivered {
                    source: source(Priority::Normal),
                    pending: 5
                },
                at(2)
            ),
            []
        );
        assert_eq!(sources.on(Event::Wanted(0), at(2)), []);
        assert_eq!(
            asked(&sources.on(Event::Wanted(1), at(3))),
            [(Priority::Normal, 1, false)]
        );
    }

    #[test]
    fn a_bell_is_answered_while_a_question_waits_at_home() {
        let mut sources = sources();
        idle(&mut sources, 2);
        assert_eq!(
            asked(&sources.on(Event::Rang(source(Priority::High)), at(5))),
            [(Priority::High, 2, false)]
        );
        assert_eq!(sources.on(Event::Ended { question: 5 }, at(6)), []);
    }

    #[test]
    fn a_lost_bell_is_made_up_for() {
        let mut sources = sources();
        idle(&mut sources, 1);
        assert_eq!(
            asked(&sources.on(Event::Tick, at(2_100))),
            [(Priority::High, 1, false)]
        );
    }

    #[test]
    fn a_question_that_is_lost_is_asked_again() {
        let mut sources = sources();
        sources.on(Event::Tick, at(0));
        idle(&mut sources, 1);
        sources.on(Event::Waiting { question: 4 }, at(5_000));
        let commands = sources.on(Event::Tick, at(15_000));
        assert!(
            !commands
                .iter()
                .any(|command| matches!(command, Command::Lost { .. }))
        );
        // The sweeps of the other sources come in between.
        let commands = sources.on(Event::Tick, at(16_100));
        assert!(
            commands.contains(&Command::Lost {
                source: source(Priority::Normal)
            }),
            "{commands:?}"
        );
        let commands = sources.on(Event::Reconnected, at(16_200));
        assert_eq!(asked(&commands), [(Priority::High, 1, false)]);
    }

    #[test]
    fn a_question_that_waits_for_long_is_suspected_and_asked_differently_if_it_waits_in_vain() {
        let mut sources = sources();
        sources.on(Event::Tick, at(0));
        idle(&mut sources, 1);
        for seconds in [5, 10, 15] {
            sources.on(Event::Waiting { question: 4 }, at(seconds * 1_000));
        }
        let commands = sources.on(Event::Tick, at(20_100));
        assert!(
            commands.contains(&Command::Suspect(source(Priority::Normal))),
            "{commands:?}"
        );
        // High is being swept; when that ends, home is asked without waiting.
        sources.on(Event::Stuck, at(20_200));
        let commands = sources.on(Event::Ended { question: 5 }, at(20_300));
        assert_eq!(asked(&commands), [(Priority::Normal, 1, false)]);
    }
}
