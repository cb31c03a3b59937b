//! Which fault comes when: decided by a seed, in a time of its own.
//!
//! A schedule has no end and knows nothing of what becomes of its faults. At most one fault at a
//! time is on one process, on the queue or on the storage, and at most one on the servers of a
//! cluster, so that a majority of them is there; on single servers, workers and readers faults
//! overlap as they like.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

/// Workers of a run.
pub const WORKERS: usize = 3;
/// After a fault on a server there is none on servers for this long, so that work gets on in
/// between.
const SERVERS_REST: Duration = Duration::from_secs(1);
/// How long a cluster gets: long enough to elect leaders, too short to bring a server up to date if
/// that is slow.
const CLUSTER_REST: Duration = Duration::from_secs(3);
/// The longest fault that is counted among the short ones.
const SHORT_MAX: Duration = Duration::from_millis(1200);
/// Beyond a lease, for the faults that are to outlast one.
const BEYOND_LEASE: Duration = Duration::from_secs(2);
/// The longest pause of a server in a cluster: servers hold an election after 4 to 9 seconds of
/// silence.
const ELECTION: Duration = Duration::from_secs(10);
/// After the storage was full: the longest pause between two tries of a worker that could not
/// report, and time to get on.
const STORAGE_REST: Duration = Duration::from_secs(5);
/// By how many seconds a worker's time of day is stepped: by more than anything that is kept for a
/// minute, in both directions, and by an hour.
const STEPS: [i32; WORKERS] = [-90, 90, -3600];
/// How many of the [`extras`] a short run has to have.
const EXTRAS_SHORT: usize = 2;
/// The wait for a process that is free, after one was drawn that is not.
const DRAW_AGAIN: Duration = Duration::from_millis(20);

/// Which servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Scenario {
    /// One server.
    Server,
    /// A cluster of three, with three copies of everything.
    Cluster,
}

/// How much a run has to have tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// What every run has, and some of the [`extras`], drawn by the seed.
    Short,
    /// Everything.
    Long,
}

/// Whom a fault is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A worker, by its number.
    Worker(usize),
    /// The process that submits.
    Submitter,
    /// The process that reads.
    Reader,
    /// The process that maps.
    Mapper,
    /// The process whose tasks take each other's results.
    Grapher,
    /// A server, by its number.
    Server(usize),
    /// The server that leads the stream of tasks, then.
    TasksLeader,
    /// The server that leads the stream of outcomes, then.
    OutcomesLeader,
    /// The server that leads the cluster, then.
    ClusterLeader,
    /// The queue of the tenant whose tasks are judged.
    Queue,
    /// What the servers may store in all.
    Storage,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::Submitter => f.write_str("submitter"),
            Self::Reader => f.write_str("reader"),
            Self::Mapper => f.write_str("mapper"),
            Self::Grapher => f.write_str("grapher"),
            Self::Server(number) => write!(f, "server {number}"),
            Self::TasksLeader => f.write_str("leader of tasks"),
            Self::OutcomesLeader => f.write_str("leader of outcomes"),
            Self::ClusterLeader => f.write_str("leader of cluster"),
            Self::Queue => f.write_str("queue"),
            Self::Storage => f.write_str("storage"),
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The process is killed, and started again.
    Kill,
    /// The process is stopped, and goes on.
    Pause,
    /// Its connections are closed, and new ones too.
    Cut,
    /// Nothing passes on its connections, which stay.
    Stall,
    /// The process may open nothing more, and its connections are closed once, so that it has to
    /// open new ones.
    Starve,
    /// The process's time of day is stepped by so many seconds, and back.
    Step(i32),
    /// All room is taken until the servers refuse, and given back.
    Fill,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill"),
            Self::Pause => f.write_str("pause"),
            Self::Cut => f.write_str("cut"),
            Self::Stall => f.write_str("stall"),
            Self::Starve => f.write_str("starve"),
            Self::Step(seconds) => write!(f, "step by {seconds:+} s"),
            Self::Fill => f.write_str("fill"),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Since the start.
    pub at: Duration,
    /// From then on.
    pub lasts: Duration,
    /// What.
    pub kind: Kind,
    /// To whom.
    pub target: Target,
}

/// What can have one fault at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Worker(usize),
    Submitter,
    Reader,
    Mapper,
    Grapher,
    Servers,
    Queue,
    Storage,
}

/// The faults of a run, one after the other, without end.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: Random,
    scenario: Scenario,
    form: Form,
    essentials: Vec<(Target, Kind)>,
    interval: Duration,
    lease: Duration,
    now: Duration,
    free_at: BTreeMap<Lane, Duration>,
    /// What comes next, if its target has no other fault then.
    deck: VecDeque<(Target, Kind)>,
    rounds: u32,
}

/// What a fault is called where faults are counted.
pub fn name(target: Target, kind: Kind) -> String {
    format!("{kind}, {target}")
}

/// The faults that a run has to have: without them it says little.
pub fn essentials(seed: u64, scenario: Scenario, form: Form) -> Vec<(Target, Kind)> {
    let mut extras = extras(form);
    if form == Form::Short {
        let mut random = Random(seed);
        random.shuffle(&mut extras);
        extras.truncate(EXTRAS_SHORT);
    }
    let mut all = basics(scenario);
    all.extend(extras);
    all
}

/// Shortages and clocks, and what takes minutes to come to its end: a long run has to have each of
/// them.
pub fn extras(form: Form) -> Vec<(Target, Kind)> {
    let mut all = vec![
        (Target::Queue, Kind::Fill),
        (Target::Storage, Kind::Fill),
        (Target::Worker(1), Kind::Starve),
    ];
    let steps = STEPS.into_iter().enumerate();
    all.extend(steps.map(|(number, step)| (Target::Worker(number), Kind::Step(step))));
    if form == Form::Long {
        all.push((Target::Grapher, Kind::Kill));
    }
    all
}

/// What every run has to have.
fn basics(scenario: Scenario) -> Vec<(Target, Kind)> {
    let mut all = vec![
        (Target::Worker(0), Kind::Kill),
        (Target::Worker(1), Kind::Pause),
        (Target::Worker(2), Kind::Cut),
        (Target::Submitter, Kind::Kill),
        (Target::Reader, Kind::Kill),
        (Target::Mapper, Kind::Cut),
        (Target::Grapher, Kind::Cut),
    ];
    all.extend(match scenario {
        Scenario::Server => vec![
            (Target::Server(0), Kind::Kill),
            (Target::Server(0), Kind::Pause),
            (Target::Server(0), Kind::Cut),
        ],
        Scenario::Cluster => {
            vec![
                (Target::ClusterLeader, Kind::Kill),
                (Target::TasksLeader, Kind::Kill),
                (Target::OutcomesLeader, Kind::Cut),
            ]
        }
    });
    all
}

/// All other faults, some more than once.
fn others(scenario: Scenario) -> Vec<(Target, Kind)> {
    use Kind::{Cut, Fill, Kill, Pause, Stall, Starve, Step};
    let mut all = Vec::new();
    let mut add = |target, kinds: &[Kind]| all.extend(kinds.iter().map(|kind| (target, *kind)));
    (0..WORKERS).for_each(|number| add(Target::Worker(number), &[Kill, Kill, Pause, Cut, Stall]));
    for number in 0..WORKERS {
        let step = Step(STEPS[(number + 1) % WORKERS]);
        add(Target::Worker(number), &[Starve, step]);
    }
    add(Target::Queue, &[Fill]);
    add(Target::Submitter, &[Pause, Cut, Stall]);
    add(Target::Reader, &[Kill, Pause, Cut, Stall]);
    // Killed, it would take its job with it.
    add(Target::Mapper, &[Pause, Stall]);
    add(Target::Grapher, &[Pause, Stall]);
    match scenario {
        Scenario::Server => add(Target::Server(0), &[Kill, Kill, Stall]),
        Scenario::Cluster => {
            (0..3).for_each(|number| add(Target::Server(number), &[Kill]));
            add(Target::ClusterLeader, &[Pause, Stall]);
            add(Target::TasksLeader, &[Pause]);
            add(Target::OutcomesLeader, &[Kill]);
        }
    }
    all
}

impl Schedule {
    /// The schedule of a seed: a fault about every `interval`, some longer than `lease`.
    pub fn new(
        seed: u64,
        scenario: Scenario,
        form: Form,
        interval: Duration,
        lease: Duration,
    ) -> Self {
        Self {
            random: Random(seed),
            scenario,
            form,
            essentials: essentials(seed, scenario, form),
            interval,
            lease,
            now: Duration::ZERO,
            free_at: BTreeMap::new(),
            deck: VecDeque::new(),
            rounds: 0,
        }
    }

    /// Put the faults of another round into the deck, shuffled: in the first round the essential
    /// ones on top, those that fill first.
    fn shuffle_in(&mut self) {
        let mut top = Vec::new();
        let mut rest = others(self.scenario);
        if self.rounds == 0 {
            top.clone_from(&self.essentials);
            let extras = extras(self.form).into_iter();
            rest.extend(extras.filter(|card| !top.contains(card)));
        } else {
            rest.extend(basics(self.scenario));
            rest.extend(extras(self.form));
        }
        self.rounds += 1;
        self.random.shuffle(&mut top);
        // What fills takes its time on a busy machine.
        top.sort_by_key(|(_, kind)| *kind != Kind::Fill);
        self.random.shuffle(&mut rest);
        self.deck.extend(top.into_iter().chain(rest));
    }

    /// The first fault of the deck whose target has none at the moment.
    fn draw(&mut self) -> Option<(Target, Kind)> {
        let (now, free_at) = (self.now, &self.free_at);
        let free = |(target, _): &(Target, Kind)| {
            free_at
                .get(&target.lane())
                .is_none_or(|free_at| *free_at <= now)
        };
        let place = self.deck.iter().position(free)?;
        self.deck.remove(place)
    }

    fn lasts(&mut self, lane: Lane, kind: Kind) -> Duration {
        let is_long = self.random.below(4) == 0;
        match (kind, lane, self.scenario) {
            (Kind::Pause, Lane::Servers, Scenario::Cluster) if is_long => {
                self.random.between(ELECTION / 2, ELECTION)
            }
            // Shorter than a lease they would hardly be noticed.
            (Kind::Fill | Kind::Starve | Kind::Step(_), _, _) => {
                self.random.between(self.lease, self.lease + BEYOND_LEASE)
            }
            (Kind::Pause | Kind::Cut | Kind::Stall, _, _) if is_long => {
                self.random.between(self.lease, self.lease + BEYOND_LEASE)
            }
            (Kind::Kill | Kind::Pause | Kind::Cut | Kind::Stall, _, _) => {
                self.random.between(SHORT_MAX / 20, SHORT_MAX)
            }
        }
    }

    fn rest(&self, lane: Lane) -> Duration {
        match (lane, self.scenario) {
            (Lane::Servers, Scenario::Server) => SERVERS_REST,
            (Lane::Servers, Scenario::Cluster) => CLUSTER_REST,
            (Lane::Storage, _) => STORAGE_REST,
            (
                Lane::Worker(_)
                | Lane::Submitter
                | Lane::Reader
                | Lane::Mapper
                | Lane::Grapher
                | Lane::Queue,
                _,
            ) => Duration::ZERO,
        }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        self.now += self
            .random
            .between(self.interval / 2, self.interval * 3 / 2);
        loop {
            if self.deck.is_empty() {
                self.shuffle_in();
            }
            let Some((target, kind)) = self.draw() else {
                self.now += DRAW_AGAIN;
                continue;
            };
            let lane = target.lane();
            let lasts = self.lasts(lane, kind);
            self.free_at
                .insert(lane, self.now + lasts + self.rest(lane));
            return Some(Fault {
                at: self.now,
                lasts,
                kind,
                target,
            });
        }
    }
}

impl Target {
    fn lane(self) -> Lane {
        match self {
            Self::Worker(number) => Lane::Worker(number),
            Self::Submitter => Lane::Submitter,
            Self::Reader => Lane::Reader,
            Self::Mapper => Lane::Mapper,
            Self::Grapher => Lane::Grapher,
            Self::Queue => Lane::Queue,
            Self::Storage => Lane::Storage,
            Self::Server(_) | Self::TasksLeader | Self::OutcomesLeader | Self::ClusterLeader => {
                Lane::Servers
            }
        }
    }
}

/// Numbers from a seed: splitmix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn shuffle<T>(&mut self, cards: &mut [T]) {
        for place in (1..cards.len()).rev() {
            let other = self.index(place + 1);
            cards.swap(place, other);
        }
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("less than a length")
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_millis().max(1);
        low + Duration::from_millis(self.below(u64::try_from(span).expect("a few seconds")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn faults(seed: u64, scenario: Scenario) -> Vec<Fault> {
        faults_of(seed, scenario, Form::Long)
    }

    fn faults_of(seed: u64, scenario: Scenario, form: Form) -> Vec<Fault> {
        Schedule::new(
            seed,
            scenario,
            form,
            Duration::from_millis(700),
            Duration::from_secs(2),
        )
        .take(1000)
        .collect()
    }

    #[test]
    fn a_seed_gives_the_same_faults_again() {
        for scenario in [Scenario::Server, Scenario::Cluster] {
            assert_eq!(faults(7, scenario), faults(7, scenario));
            assert_ne!(faults(7, scenario), faults(8, scenario));
        }
    }

    #[test]
    fn each_kind_of_fault_comes_to_each_kind_of_process() {
        let kinds = |scenario| {
            let faults = faults(1, scenario)
                .into_iter()
                .map(|fault| (fault.target.lane(), fault.kind));
            faults.collect::<BTreeSet<_>>().len()
        };
        // Three workers, a submitter, a reader, a grapher and the servers with four kinds each, a
        // mapper that is not killed, two steps and a shortage of each worker, the queue and the
        // storage.
        assert_eq!(kinds(Scenario::Server), 7 * 4 + 3 + 3 * 3 + 2);
        assert_eq!(kinds(Scenario::Cluster), 7 * 4 + 3 + 3 * 3 + 2);
        let targets: BTreeSet<_> = faults(1, Scenario::Cluster)
            .into_iter()
            .map(|fault| fault.target)
            .collect();
        assert_eq!(targets.len(), 3 + 4 + 3 + 3 + 2);
    }

    #[test]
    fn what_is_essential_comes_first_whatever_the_seed() {
        for scenario in [Scenario::Server, Scenario::Cluster] {
            for (seed, form) in (0..100).flat_map(|seed| [(seed, Form::Short), (seed, Form::Long)])
            {
                let essential: BTreeSet<_> = essentials(seed, scenario, form).into_iter().collect();
                // A fault may have to wait for the one before it on its target, and others go first
                // then.
                let first = faults_of(seed, scenario, form)
                    .into_iter()
                    .take(4 * essential.len())
                    .map(|fault| (fault.target, fault.kind));
                assert!(
                    essential.is_subset(&first.collect()),
                    "seed {seed}, {form:?}"
                );
            }
        }
    }

    #[test]
    fn a_short_run_draws_some_of_what_a_long_one_has() {
        let extras: BTreeSet<_> = extras(Form::Short).into_iter().collect();
        let killed = (Target::Grapher, Kind::Kill);
        let mut drawn = BTreeSet::new();
        for seed in 0..100 {
            let long = essentials(seed, Scenario::Server, Form::Long);
            let short = essentials(seed, Scenario::Server, Form::Short);
            assert!(extras.iter().all(|card| long.contains(card)));
            assert!(short.iter().all(|card| long.contains(card)));
            assert!(long.contains(&killed) && !short.contains(&killed));
            assert_eq!(short.len() + extras.len() + 1, long.len() + EXTRAS_SHORT);
            drawn.extend(short.into_iter().filter(|card| extras.contains(card)));
        }
        assert_eq!(drawn, extras);
    }

    #[test]
    fn shortages_and_steps_outlast_a_lease() {
        let lease = Duration::from_secs(2);
        for fault in faults(5, Scenario::Cluster) {
            if matches!(fault.kind, Kind::Fill | Kind::Starve | Kind::Step(_)) {
                assert!(fault.lasts >= lease, "{fault:?}");
            }
        }
    }

    #[test]
    fn a_process_has_one_fault_at_a_time_and_no_two_servers_of_a_cluster_have() {
        for form in [Form::Short, Form::Long] {
            let mut until = BTreeMap::new();
            for fault in faults_of(3, Scenario::Cluster, form) {
                let before = until.insert(fault.target.lane(), fault.at + fault.lasts);
                assert!(
                    before.is_none_or(|before| before <= fault.at),
                    "{fault:?} while another lasts until {before:?}"
                );
            }
        }
    }
}
