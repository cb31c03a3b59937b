//! Two owners of the same graph, one fleet, and a log of events that each owner reads at its own
//! pace, some of them twice or in another order.
//!
//! The fleet runs a task while any owner that released it has not stopped it. A result that one
//! owner lets go may be missing for the other, and is then lost for it. Whatever happens, both
//! owners tell each future how its task ended, and both graphs are empty in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::super::path::end;
use super::*;

const OWNERS: usize = 2;

/// A machine and what it has not read.
#[derive(Default)]
struct Owner {
    graph: Graph,
    unread: VecDeque<Event>,
    read: Vec<Event>,
    /// What the holder of each future was told last.
    told: BTreeMap<TaskIndex, End>,
    released: BTreeSet<TaskIndex>,
}

#[derive(Default)]
struct Fleet {
    owners: [Owner; OWNERS],
    /// The owners that want each run.
    running: BTreeMap<TaskIndex, BTreeSet<usize>>,
    results: BTreeSet<TaskIndex>,
    inputs: BTreeMap<TaskIndex, Vec<TaskIndex>>,
    wanted: BTreeSet<TaskIndex>,
}

impl Fleet {
    fn log(&mut self, event: &Event) {
        for owner in &mut self.owners {
            owner.unread.push_back(event.clone());
        }
    }

    fn read(&mut self, which: usize, how: Reading) {
        let owner = &mut self.owners[which];
        let event = match how {
            Reading::Next => owner.unread.pop_front(),
            // Endings come in any order, where they are of different tasks.
            Reading::Second => match (owner.unread.front(), owner.unread.get(1)) {
                (
                    Some(Event::Ended { task: first, .. }),
                    Some(Event::Ended { task: second, .. }),
                ) if first != second => owner.unread.remove(1),
                _ => owner.unread.pop_front(),
            },
            Reading::Last => owner.read.last().cloned(),
            Reading::Old(back) => {
                let old = owner.read.iter().rev().nth(back).cloned();
                old.filter(|event| matches!(event, Event::Submitted { .. } | Event::Ended { .. }))
            }
        };
        let Some(event) = event else {
            return;
        };
        owner.read.push(event.clone());
        self.tell(which, event);
    }

    fn tell(&mut self, which: usize, event: Event) {
        match event {
            Event::Ended { task, .. }
            | Event::Lost {
                dependent: Some(task),
                ..
            } => {
                self.owners[which].released.remove(&task);
            }
            _ => {}
        }
        for command in self.owners[which].graph.on(event) {
            match command {
                Release(task) => {
                    let is_new = self.owners[which].released.insert(task);
                    assert!(is_new, "{task} is released twice");
                    self.running.entry(task).or_default().insert(which);
                }
                Stop(task) => {
                    self.owners[which].released.remove(&task);
                    if let Some(owners) = self.running.get_mut(&task) {
                        owners.remove(&which);
                        if owners.is_empty() {
                            self.running.remove(&task);
                        }
                    }
                }
                Resolve(task, end) => {
                    self.owners[which].told.insert(task, end);
                }
                Reopen(task) => {
                    self.owners[which].told.remove(&task);
                }
                LetGo(task) => {
                    self.results.remove(&task);
                }
                Forget(task) => {
                    self.owners[which].told.remove(&task);
                }
                // The caller never holds what it has dropped.
                Refuse(task, refusal) => panic!("{task}: {refusal}"),
            }
        }
    }

    /// The fleet runs a task to its end, unless an input is missing.
    fn run(&mut self, nth: usize, how: Ended) {
        let count = self.running.len().max(1);
        let Some(task) = self.running.keys().nth(nth % count).copied() else {
            return;
        };
        self.running.remove(&task);
        let is_missing = |input: &&TaskIndex| !self.results.contains(input);
        match self.inputs[&task].iter().find(is_missing) {
            Some(input) => self.log(&lost(*input, task)),
            None => {
                if how == Ended::Completed {
                    self.results.insert(task);
                }
                self.log(&Event::Ended { task, how });
            }
        }
    }

    fn wanted(&self, back: usize) -> Option<TaskIndex> {
        self.wanted.iter().rev().nth(back).copied()
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Submit(inputs) => {
                let inputs: Vec<_> = inputs
                    .iter()
                    .filter_map(|back| self.wanted(*back))
                    .collect();
                let task = self.inputs.len() as TaskIndex;
                self.inputs.insert(task, inputs.clone());
                self.wanted.insert(task);
                self.log(&submitted(task, &inputs));
            }
            Act::Unwanted(back) => {
                if let Some(task) = self.wanted(*back) {
                    self.wanted.remove(&task);
                    self.log(&Event::Unwanted(task));
                }
            }
            Act::Cancel(back) => {
                if let Some(task) = self.wanted(*back) {
                    self.log(&Event::Cancel(task));
                }
            }
            Act::Retry(back) => {
                if let Some(task) = self.wanted(*back) {
                    self.log(&Event::Retry(task));
                }
            }
            Act::Vanish(nth) => {
                let count = self.results.len().max(1);
                if let Some(result) = self.results.iter().nth(nth % count).copied() {
                    self.results.remove(&result);
                }
            }
            Act::Run(nth, how) => self.run(*nth, *how),
            Act::Read(which, how) => self.read(*which, *how),
        }
    }

    /// Everything is read, and everything that runs completes.
    fn run_out(&mut self) {
        while !self.running.is_empty() || self.owners.iter().any(|owner| !owner.unread.is_empty()) {
            for which in 0..OWNERS {
                while !self.owners[which].unread.is_empty() {
                    self.read(which, Reading::Next);
                }
            }
            self.run(0, Ended::Completed);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Reading {
    Next,
    /// The one after the next, if both are endings.
    Second,
    /// What was read last, again.
    Last,
    /// An ending or a submission that was read before, again.
    Old(usize),
}

#[derive(Debug, Clone)]
enum Act {
    Submit(Vec<usize>),
    Unwanted(usize),
    Cancel(usize),
    Retry(usize),
    /// A result vanishes, and nobody knows.
    Vanish(usize),
    Run(usize, Ended),
    Read(usize, Reading),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let ended = prop_oneof![
        12 => Just(Ended::Completed),
        1 => Just(Ended::Failed),
        1 => Just(Ended::Cancelled),
    ];
    let reading = prop_oneof![
        10 => Just(Reading::Next),
        3 => Just(Reading::Second),
        1 => Just(Reading::Last),
        1 => (0_usize..20).prop_map(Reading::Old),
    ];
    let act = prop_oneof![
        8 => prop::collection::vec(0_usize..6, 0..4).prop_map(Act::Submit),
        3 => (0_usize..8).prop_map(Act::Unwanted),
        1 => (0_usize..8).prop_map(Act::Cancel),
        1 => (0_usize..8).prop_map(Act::Retry),
        2 => any::<usize>().prop_map(Act::Vanish),
        12 => (any::<usize>(), ended).prop_map(|(nth, how)| Act::Run(nth, how)),
        30 => (0..OWNERS, reading).prop_map(|(which, how)| Act::Read(which, how)),
    ];
    prop::collection::vec(act, 0..250)
}

proptest! {
    #[test]
    fn two_owners_that_read_the_same_events_differently_both_come_to_an_end(acts in acts()) {
        let mut fleet = Fleet::default();
        acts.iter().for_each(|act| fleet.act(act));
        fleet.run_out();
        for owner in &fleet.owners {
            let counts = owner.graph.counts();
            prop_assert_eq!((counts.waiting, counts.released), (0, 0), "it stands still");
            for task in &fleet.wanted {
                let nodes = &owner.graph.nodes;
                let end = nodes.find(*task).and_then(|key| end(nodes, key));
                prop_assert!(end.is_some());
                prop_assert_eq!(owner.told.get(task), end.as_ref());
            }
        }
        for task in std::mem::take(&mut fleet.wanted) {
            fleet.log(&Event::Unwanted(task));
        }
        fleet.run_out();
        prop_assert!(fleet.owners.iter().all(|owner| owner.graph.is_empty()));
    }
}
