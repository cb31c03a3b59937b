//! Decides from which source a worker pulls next, and how many bundles. No clock and no I/O.
//!
//! A worker has several sources, one for each tenant, shard, pool and priority it serves, and
//! credits: bundles it wants right now. A source is *clean* when the last question found nothing
//! there, and *dirty* when there may be something: at first, when its bell rang, and every
//! [`SWEEP_INTERVAL`], because bells can get lost and bundles that come back ring none. Dirty
//! sources are asked one after the other, without waiting. When all are clean, one source, the
//! *home*, is asked to wait: one of ordinary bundles, which differs between workers.
//!
//! Tenants come first, then priorities: a tenant's priorities are about its own bundles. Of the
//! tenants whose sources are dirty, that one is asked of which this worker holds the fewest leases
//! in proportion to its weight, and for no more than makes it even with the others. So slots are
//! shared, whatever the bundles' sizes, and a slot that nobody else wants goes to whoever has work.
//!
//! A worker never has more bundles on their way than it has credits, with one exception: while a
//! question waits at home, a bell may ring elsewhere, and both may be answered at once. Then the
//! worker holds a spare for a moment; see `pull_queue`.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::time::Duration;

use sortie_protocol::{Labels, Priority, TenantId, Timestamp};

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
    /// So many leases are held of each tenant.
    Held(HashMap<TenantId, usize>),
    /// A bundle came, and so many more wait there.
    Delivered {
        source: Source,
        sequence: u64,
        pending: u64,
    },
    /// A question got its last answer.
    Ended { question: u64 },
    /// A pull request still waits (heartbeat).
    Waiting { question: u64 },
    /// A bundle was stored at this place in its stream.
    Rang { source: Source, sequence: u64 },
    /// Nothing may be asked for there.
    Denied(TenantId),
    /// The home source has work that nobody gets.
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
    /// The place of the newest bundle that came from here: its bell may be heard after it came.
    newest: u64,
    questions: VecDeque<Question>,
}

impl State {
    /// Whether a question waits here: what is stored then comes by itself.
    fn waits(&self) -> bool {
        let mut questions = self.questions.iter();
        questions.any(|question| question.wait == Wait::AtHome)
    }
}

/// The sources of one worker, and the questions under way.
#[derive(Debug)]
pub(super) struct Sources {
    states: Vec<State>,
    wanted: usize,
    next: u64,
    swept: Timestamp,
    suspected: Timestamp,
    /// Tells workers apart: their homes differ.
    home: u16,
    shares: HashMap<TenantId, Share>,
}

/// What a tenant may have and has of this worker.
#[derive(Debug)]
struct Share {
    weight: NonZeroU16,
    /// Leases that are held.
    held: usize,
    /// The last question that was put for it.
    asked: u64,
}

impl Share {
    /// How much it would have with so many more, in proportion to its weight; by a factor that
    /// keeps the fractions.
    fn with(&self, more: usize) -> u64 {
        (self.held.saturating_add(more) as u64).saturating_mul(1 << 20)
            / u64::from(self.weight.get())
    }
}

impl Sources {
    /// None yet, in a worker with this number.
    pub(super) fn new(home: u16) -> Self {
        Self {
            states: Vec::new(),
            wanted: 0,
            next: 0,
            swept: Timestamp::default(),
            suspected: Timestamp::default(),
            home,
            shares: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Whether there is more than one tenant to choose from.
    pub(super) fn is_shared(&self) -> bool {
        self.shares.len() > 1
    }

    /// Add those of a tenant that are new. The order they are asked in: by priority, then the home
    /// shard, then as they come.
    pub(super) fn add(
        &mut self,
        tenant: TenantId,
        weight: NonZeroU16,
        sources: impl IntoIterator<Item = Source>,
    ) {
        let share = self.shares.entry(tenant).or_insert(Share {
            weight,
            held: 0,
            asked: 0,
        });
        share.weight = weight;
        let home = self.home;
        for source in sources {
            if self.states.iter().all(|state| state.source != source) {
                self.states.push(State {
                    source,
                    dirty: true,
                    newest: 0,
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
            Event::Held(mut held) => {
                for (tenant, share) in &mut self.shares {
                    share.held = held.remove(tenant).unwrap_or(0);
                }
            }
            Event::Delivered {
                source,
                sequence,
                pending,
            } => self.on_delivered(&source, sequence, pending),
            Event::Ended { question } => self.on_ended(question),
            Event::Waiting { question } => {
                if let Some(question) = self.questions().find(|asked| asked.number == question) {
                    question.heard = now;
                }
            }
            Event::Rang { source, sequence } => {
                let state = self.states.iter_mut().find(|state| state.source == source);
                if let Some(state) = state {
                    state.dirty |= sequence > state.newest && !state.waits();
                }
            }
            Event::Denied(tenant) => {
                self.states.retain(|state| state.source.tenant != tenant);
                self.shares.remove(&tenant);
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

    fn on_delivered(&mut self, source: &Source, sequence: u64, pending: u64) {
        // It was one of those that are wanted; whether it is, in the end, is told with the next
        // count.
        self.wanted = self.wanted.saturating_sub(1);
        if let Some(share) = self.shares.get_mut(&source.tenant) {
            share.held += 1;
        }
        let Some(state) = self.states.iter_mut().find(|state| state.source == *source) else {
            return;
        };
        state.newest = state.newest.max(sequence);
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
            if state.waits() {
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
        if let Some((at, batch)) = self.choose() {
            commands.extend(self.put(at, batch, Wait::No, now));
        } else if self.wanted > waiting {
            // What waits already is not asked for again.
            let wanted = self.wanted - waiting;
            if let Some(home) = self.home() {
                commands.extend(self.put(home, wanted, Wait::AtHome, now));
            }
        }
    }

    /// The source to ask next without waiting, and for how many.
    fn choose(&self) -> Option<(usize, usize)> {
        let is_due = |state: &&State| state.dirty && state.questions.is_empty();
        let mut first: Option<&State> = None;
        let mut due: Vec<(&TenantId, &Share)> = Vec::new();
        for state in self.states.iter().filter(is_due) {
            let tenant = &state.source.tenant;
            first = first.or(Some(state));
            if due.iter().all(|(there, _)| *there != tenant) {
                due.extend(self.shares.get_key_value(tenant));
            }
        }
        let tenant = match due
            .iter()
            .min_by_key(|(_, share)| (share.with(1), share.asked))
        {
            Some((tenant, _)) => **tenant,
            None => first?.source.tenant,
        };
        let at = self
            .states
            .iter()
            .position(|state| is_due(&state) && state.source.tenant == tenant)?;
        Some((at, self.even(&tenant, &due)))
    }

    /// How many bundles make a tenant even with the others that may have work, at least one.
    fn even(&self, tenant: &TenantId, due: &[(&TenantId, &Share)]) -> usize {
        let (Some(share), true) = (self.shares.get(tenant), due.len() > 1) else {
            return self.wanted;
        };
        let slots = due.iter().map(|(_, share)| share.held).sum::<usize>() + self.wanted;
        let weights: usize = due
            .iter()
            .map(|(_, share)| usize::from(share.weight.get()))
            .sum();
        let fair = (slots * usize::from(share.weight.get())).div_ceil(weights.max(1));
        fair.saturating_sub(share.held).clamp(1, self.wanted)
    }

    /// Where to wait: ordinary bundles for any worker, of one tenant and shard.
    fn home(&self) -> Option<usize> {
        let any = Labels::default().pool();
        let ordinary = self.states.iter().enumerate().filter(|(_, state)| {
            state.source.priority == Priority::Normal && state.source.pool == any
        });
        let mut homes: Vec<_> = ordinary.map(|(at, state)| (&state.source, at)).collect();
        homes.sort_unstable();
        let number = usize::from(self.home).checked_rem(homes.len())?;
        homes.get(number).map(|(_, at)| *at)
    }

    fn put(&mut self, at: usize, batch: usize, wait: Wait, now: Timestamp) -> Option<Command> {
        let state = self.states.get_mut(at)?;
        self.next += 1;
        let question = self.next;
        if let Some(share) = self.shares.get_mut(&state.source.tenant) {
            share.asked = question;
        }
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

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn source(priority: Priority) -> Source {
        source_of("acme", priority)
    }

    fn source_of(name: &str, priority: Priority) -> Source {
        Source {
            tenant: tenant(name),
            shard: 0,
            pool: "any".into(),
            priority,
        }
    }

    fn sources() -> Sources {
        let mut sources = Sources::new(0);
        add(&mut sources, "acme", 1);
        sources
    }

    fn add(sources: &mut Sources, name: &str, weight: u16) {
        let priorities = [Priority::Low, Priority::Normal, Priority::High];
        let all = priorities.map(|priority| source_of(name, priority));
        sources.add(tenant(name), NonZeroU16::new(weight).unwrap(), all);
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
            sequence: 1,
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
                    sequence: 1,
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
            asked(&sources.on(rang(Priority::High, 1), at(5))),
            [(Priority::High, 2, false)]
        );
        assert_eq!(sources.on(Event::Ended { question: 5 }, at(6)), []);
    }

    fn rang(priority: Priority, sequence: u64) -> Event {
        Event::Rang {
            source: source(priority),
            sequence,
        }
    }

    #[test]
    fn a_bell_of_what_came_already_or_will_come_by_itself_is_not_answered() {
        let mut sources = sources();
        idle(&mut sources, 2);
        assert_eq!(asked(&sources.on(rang(Priority::Normal, 7), at(5))), []);
        sources.on(rang(Priority::High, 8), at(5));
        let delivered = Event::Delivered {
            source: source(Priority::High),
            sequence: 8,
            pending: 0,
        };
        sources.on(delivered, at(6));
        sources.on(Event::Ended { question: 5 }, at(6));
        assert_eq!(asked(&sources.on(rang(Priority::High, 8), at(7))), []);
        let asked = asked(&sources.on(rang(Priority::High, 9), at(8)));
        assert_eq!(asked, [(Priority::High, 1, false)]);
    }

    /// Both have endless work of one bundle for each slot, and slots become free one by one, those
    /// of the first tenant ten times as often.
    #[test]
    fn tenants_share_the_slots_by_weight_whatever_their_bundles_take() {
        let mut sources = Sources::new(0);
        add(&mut sources, "acme", 1);
        add(&mut sources, "globex", 3);
        let mut held = HashMap::from([(tenant("acme"), 0_usize), (tenant("globex"), 0)]);
        let mut wanted = 8;
        for round in 0..1_000 {
            sources.on(Event::Held(held.clone()), at(0));
            let mut commands = sources.on(Event::Wanted(wanted), at(0));
            while let Some(Command::Ask {
                source,
                batch,
                question,
                ..
            }) = commands.pop()
            {
                let name = source.tenant;
                if source.priority != Priority::Normal {
                    commands = sources.on(Event::Ended { question }, at(0));
                    continue;
                }
                for _ in 0..batch {
                    *held.get_mut(&name).unwrap() += 1;
                    wanted -= 1;
                    let delivered = Event::Delivered {
                        source: source.clone(),
                        sequence: 1,
                        pending: 9,
                    };
                    commands = sources.on(delivered, at(0));
                }
            }
            assert_eq!(
                (held[&tenant("acme")], held[&tenant("globex")]),
                (2, 6),
                "round {round}"
            );
            let ends = if round % 11 == 0 { "globex" } else { "acme" };
            *held.get_mut(&tenant(ends)).unwrap() -= 1;
            wanted += 1;
        }
    }

    #[test]
    fn slots_that_nobody_else_wants_go_to_whoever_has_work() {
        let mut sources = Sources::new(0);
        add(&mut sources, "acme", 1);
        let first = asked(&sources.on(Event::Wanted(8), at(0)));
        assert_eq!(first, [(Priority::High, 8, false)]);
        sources.on(Event::Denied(tenant("acme")), at(0));
        assert!(sources.is_empty());
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
