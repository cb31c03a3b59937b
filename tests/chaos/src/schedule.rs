//! Which fault comes when: decided by a seed, in a time of its own.
//!
//! A schedule has no end and knows nothing of what becomes of its faults. At most one fault at a
//! time is on one process, and at most one on the servers of a cluster, so that a majority of them
//! is there; on single servers, workers and readers faults overlap as they like.

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
    /// A server, by its number.
    Server(usize),
    /// The server that leads the stream of tasks, then.
    TasksLeader,
    /// The server that leads the stream of outcomes, then.
    OutcomesLeader,
    /// The server that leads the cluster, then.
    ClusterLeader,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::Submitter => f.write_str("submitter"),
            Self::Reader => f.write_str("reader"),
            Self::Mapper => f.write_str("mapper"),
            Self::Server(number) => write!(f, "server {number}"),
            Self::TasksLeader => f.write_str("leader of tasks"),
            Self::OutcomesLeader => f.write_str("leader of outcomes"),
            Self::ClusterLeader => f.write_str("leader of cluster"),
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
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Stall => "stall",
        })
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
    Servers,
}

/// The faults of a run, one after the other, without end.
#[derive(Debug, Clone)]
pub struct Schedule {
    random: Random,
    scenario: Scenario,
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
    format!("{kind} {target}")
}

/// The faults that every run has to have: without them it says little.
pub fn essentials(scenario: Scenario) -> Vec<(Target, Kind)> {
    let mut all = vec![
        (Target::Worker(0), Kind::Kill),
        (Target::Worker(1), Kind::Pause),
        (Target::Worker(2), Kind::Cut),
        (Target::Submitter, Kind::Kill),
        (Target::Reader, Kind::Kill),
        (Target::Mapper, Kind::Cut),
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
    use Kind::{Cut, Kill, Pause, Stall};
    let mut all = Vec::new();
    let mut add = |target, kinds: &[Kind]| all.extend(kinds.iter().map(|kind| (target, *kind)));
    (0..WORKERS).for_each(|number| add(Target::Worker(number), &[Kill, Kill, Pause, Cut, Stall]));
    add(Target::Submitter, &[Pause, Cut, Stall]);
    add(Target::Reader, &[Kill, Pause, Cut, Stall]);
    // Killed, it would take its job with it.
    add(Target::Mapper, &[Pause, Stall]);
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
    pub fn new(seed: u64, scenario: Scenario, interval: Duration, lease: Duration) -> Self {
        Self {
            random: Random(seed),
            scenario,
            interval,
            lease,
            now: Duration::ZERO,
            free_at: BTreeMap::new(),
            deck: VecDeque::new(),
            rounds: 0,
        }
    }

    /// Put the faults of another round into the deck, shuffled: in the first round the essential
    /// ones on top.
    fn shuffle_in(&mut self) {
        let (first, mut rest) = (essentials(self.scenario), others(self.scenario));
        let mut top = if self.rounds == 0 { first } else { Vec::new() };
        if self.rounds > 0 {
            rest.extend(essentials(self.scenario));
        }
        self.rounds += 1;
        for cards in [&mut top, &mut rest] {
            for place in (1..cards.len()).rev() {
                let other = self.random.index(place + 1);
                cards.swap(place, other);
            }
        }
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
            (Lane::Worker(_) | Lane::Submitter | Lane::Reader | Lane::Mapper, _) => Duration::ZERO,
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
        Schedule::new(
            seed,
            scenario,
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
        // Three workers, a submitter, a reader and the servers with four kinds each, and a mapper
        // that is not killed.
        assert_eq!(kinds(Scenario::Server), 6 * 4 + 3);
        assert_eq!(kinds(Scenario::Cluster), 6 * 4 + 3);
        let targets: BTreeSet<_> = faults(1, Scenario::Cluster)
            .into_iter()
            .map(|fault| fault.target)
            .collect();
        assert_eq!(targets.len(), 3 + 3 + 3 + 3);
    }

    #[test]
    fn what_is_essential_comes_first_whatever_the_seed() {
        for scenario in [Scenario::Server, Scenario::Cluster] {
            let essential: BTreeSet<_> = essentials(scenario).into_iter().collect();
            for seed in 0..100 {
                // A fault may have to wait for the one before it on its target, and others go first
                // then.
                let first = faults(seed, scenario)
                    .into_iter()
                    .take(4 * essential.len())
                    .map(|fault| (fault.target, fault.kind));
                assert!(essential.is_subset(&first.collect()), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_process_has_one_fault_at_a_time_and_no_two_servers_of_a_cluster_have() {
        let mut until = BTreeMap::new();
        for fault in faults(3, Scenario::Cluster) {
            let before = until.insert(fault.target.lane(), fault.at + fault.lasts);
            assert!(
                before.is_none_or(|before| before <= fault.at),
                "{fault:?} while another lasts until {before:?}"
            );
        }
    }
}
