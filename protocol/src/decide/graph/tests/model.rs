//! Random histories of one graph, compared after every event with a model that is simple and slow.
//!
//! The model has a set of tasks and applies the rules one at a time, to all tasks, until nothing
//! changes. It must give the same commands, and the same state of each task. Which of several
//! failed inputs blocks a task is for the machine to choose; the model checks the choice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::nodes;
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Waiting,
    Released,
    Held,
    Failed,
    Cancelled,
    Unrecoverable,
    /// By the input, which is adopted from the machine.
    Blocked(Option<TaskIndex>),
}

impl State {
    fn is_active(self) -> bool {
        matches!(self, Self::Waiting | Self::Released)
    }

    fn is_failure(self) -> bool {
        !self.is_active() && !matches!(self, Self::Idle | Self::Held)
    }
}

#[derive(Debug, Clone)]
struct Task {
    inputs: BTreeSet<TaskIndex>,
    is_repeatable: bool,
    is_wanted: bool,
    has_completed: bool,
    is_stale: bool,
    losses: u8,
    state: State,
}

/// A command, without the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Plain {
    Release(TaskIndex),
    Stop(TaskIndex),
    Resolve(TaskIndex),
    Reopen(TaskIndex),
    LetGo(TaskIndex),
    Forget(TaskIndex),
    Refuse(TaskIndex),
}

fn plain(command: &Command) -> Plain {
    match *command {
        Release(task) => Plain::Release(task),
        Stop(task) => Plain::Stop(task),
        Resolve(task, _) => Plain::Resolve(task),
        Reopen(task) => Plain::Reopen(task),
        LetGo(task) => Plain::LetGo(task),
        Forget(task) => Plain::Forget(task),
        Refuse(task, _) => Plain::Refuse(task),
    }
}

#[derive(Debug, Default)]
struct Model {
    tasks: BTreeMap<TaskIndex, Task>,
    submitted: BTreeSet<TaskIndex>,
    commands: Vec<Plain>,
}

impl Model {
    fn is_needed(&self, task: TaskIndex) -> bool {
        self.tasks[&task].is_wanted
            || self
                .tasks
                .values()
                .any(|other| other.state.is_active() && other.inputs.contains(&task))
    }

    fn dependents(&self, task: TaskIndex) -> Vec<TaskIndex> {
        self.tasks
            .iter()
            .filter(|(_, other)| other.inputs.contains(&task))
            .map(|(dependent, _)| *dependent)
            .collect()
    }

    /// The first task that a rule applies to.
    fn first(&self, rule: impl Fn(TaskIndex, &Task) -> bool) -> Option<TaskIndex> {
        self.tasks
            .iter()
            .find(|(task, state)| rule(**task, state))
            .map(|(task, _)| *task)
    }

    fn set(&mut self, task: TaskIndex, state: State) {
        self.tasks.get_mut(&task).unwrap().state = state;
    }

    fn end(&mut self, task: TaskIndex, state: State) {
        self.set(task, state);
        if self.tasks[&task].is_wanted {
            self.commands.push(Plain::Resolve(task));
        }
    }

    fn on(&mut self, event: &Event) -> Vec<Plain> {
        self.apply(event);
        self.start();
        self.block();
        self.drop_unneeded();
        self.release();
        std::mem::take(&mut self.commands)
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Submitted {
                task,
                inputs,
                repeatable,
            } => self.submit(*task, inputs, *repeatable),
            Event::Ended { task, how } => {
                let Some(state) = self.tasks.get(task).map(|task| task.state) else {
                    return;
                };
                match how {
                    Ended::Completed if state.is_active() => {
                        self.tasks.get_mut(task).unwrap().has_completed = true;
                        self.end(*task, State::Held);
                    }
                    Ended::Completed if state == State::Idle => {
                        self.commands.push(Plain::LetGo(*task));
                    }
                    Ended::Failed if state.is_active() => self.end(*task, State::Failed),
                    Ended::Cancelled if state.is_active() => self.end(*task, State::Cancelled),
                    _ => {}
                }
            }
            Event::Unwanted(task) => {
                if let Some(task) = self.tasks.get_mut(task) {
                    task.is_wanted = false;
                }
            }
            Event::Wanted(task) => {
                if let Some(known) = self.tasks.get_mut(task)
                    && !known.is_wanted
                {
                    known.is_wanted = true;
                    if !known.state.is_active() && known.state != State::Idle {
                        self.commands.push(Plain::Resolve(*task));
                    }
                }
            }
            Event::Cancel(task) => {
                let state = self.tasks.get(task).map(|task| task.state);
                if state == Some(State::Released) {
                    self.commands.push(Plain::Stop(*task));
                }
                if state.is_some_and(State::is_active) {
                    self.end(*task, State::Cancelled);
                }
            }
            Event::Retry(task) => self.retry(*task),
            Event::Lost { result, dependent } => self.lose(*result, *dependent),
        }
    }

    fn submit(&mut self, task: TaskIndex, inputs: &[TaskIndex], is_repeatable: bool) {
        if self.submitted.contains(&task) {
            return;
        }
        let is_known = |input: &TaskIndex| *input < task && self.tasks.contains_key(input);
        if !inputs.iter().all(is_known) {
            return self.commands.push(Plain::Refuse(task));
        }
        self.submitted.insert(task);
        self.tasks.insert(
            task,
            Task {
                inputs: inputs.iter().copied().collect(),
                is_repeatable,
                is_wanted: true,
                has_completed: false,
                is_stale: false,
                losses: 0,
                state: State::Idle,
            },
        );
    }

    fn retry(&mut self, task: TaskIndex) {
        let Some(known) = self.tasks.get_mut(&task) else {
            return;
        };
        if !known.state.is_failure() || matches!(known.state, State::Blocked(_)) {
            return;
        }
        known.has_completed = false;
        known.losses = 0;
        self.reopen(task);
        let blocked = |state: &Self| {
            state.first(|_, task| match task.state {
                State::Blocked(via) => !state.tasks[&via.unwrap()].state.is_failure(),
                _ => false,
            })
        };
        while let Some(task) = blocked(self) {
            self.reopen(task);
        }
    }

    fn reopen(&mut self, task: TaskIndex) {
        self.set(task, State::Idle);
        if self.tasks[&task].is_wanted {
            self.commands.push(Plain::Reopen(task));
        }
    }

    fn lose(&mut self, result: TaskIndex, dependent: Option<TaskIndex>) {
        if !self.tasks.contains_key(&result) {
            return;
        }
        let mut is_known = false;
        if let Some(dependent) = dependent.and_then(|task| self.tasks.get_mut(&task))
            && dependent.state == State::Released
            && dependent.inputs.contains(&result)
        {
            is_known = dependent.is_stale;
            dependent.state = State::Waiting;
        }
        if is_known || self.tasks[&result].state != State::Held {
            return;
        }
        for dependent in self.dependents(result) {
            let dependent = self.tasks.get_mut(&dependent).unwrap();
            dependent.is_stale |= dependent.state == State::Released;
        }
        self.commands.push(Plain::Reopen(result));
        let task = self.tasks.get_mut(&result).unwrap();
        task.losses += 1;
        if task.losses > LOSSES_MAX {
            self.end(result, State::Unrecoverable);
        } else {
            task.state = State::Idle;
        }
    }

    fn start(&mut self) {
        while let Some(task) =
            self.first(|task, known| known.state == State::Idle && self.is_needed(task))
        {
            let known = &self.tasks[&task];
            if known.has_completed && !known.is_repeatable {
                self.end(task, State::Unrecoverable);
            } else {
                self.set(task, State::Waiting);
            }
        }
    }

    fn block(&mut self) {
        while let Some(task) = self.first(|_, known| {
            let fails = |input| self.tasks[input].state.is_failure();
            known.state == State::Waiting && known.inputs.iter().any(fails)
        }) {
            self.end(task, State::Blocked(None));
        }
    }

    fn drop_unneeded(&mut self) {
        while let Some(task) = self.first(|task, known| {
            (known.state.is_active() || known.state == State::Held) && !self.is_needed(task)
        }) {
            match self.tasks[&task].state {
                State::Released => self.commands.push(Plain::Stop(task)),
                State::Held => self.commands.push(Plain::LetGo(task)),
                _ => {}
            }
            self.set(task, State::Idle);
        }
        while let Some(task) =
            self.first(|task, known| !known.is_wanted && self.dependents(task).is_empty())
        {
            self.tasks.remove(&task);
            self.commands.push(Plain::Forget(task));
        }
    }

    fn release(&mut self) {
        while let Some(task) = self.first(|_, known| {
            let is_held = |input| self.tasks[input].state == State::Held;
            known.state == State::Waiting && known.inputs.iter().all(is_held)
        }) {
            self.set(task, State::Released);
            self.tasks.get_mut(&task).unwrap().is_stale = false;
            self.commands.push(Plain::Release(task));
        }
    }
}

/// A machine, its model, and what the commands ought to obey whatever the rules are.
#[derive(Default)]
struct World {
    graph: Graph,
    model: Model,
    next: TaskIndex,
    events: Vec<Event>,
    running: BTreeSet<TaskIndex>,
    held: BTreeSet<TaskIndex>,
}

impl World {
    fn tell(&mut self, event: Event) {
        match event {
            Event::Ended { task, how } => {
                let is_active = |known: &Task| known.state.is_active();
                let counts = self.model.tasks.get(&task).is_some_and(is_active);
                if counts && how == Ended::Completed {
                    self.held.insert(task);
                }
                self.running.remove(&task);
            }
            Event::Lost {
                result,
                dependent: Some(task),
            } if self.model.dependents(result).contains(&task) => {
                self.running.remove(&task);
            }
            _ => {}
        }
        let expected = self.model.on(&event);
        let commands = self.graph.on(event.clone());
        self.check_commands(&event, &commands);
        self.check_states();
        let mut commands: Vec<Plain> = commands.iter().map(plain).collect();
        let mut expected = expected;
        commands.sort_unstable();
        expected.sort_unstable();
        assert_eq!(commands, expected, "after {event:?}");
        self.events.push(event);
    }

    fn check_commands(&mut self, event: &Event, commands: &[Command]) {
        for command in commands {
            match command {
                Release(task) => {
                    assert!(self.running.insert(*task), "{task} is released twice");
                    for input in &self.model.tasks[task].inputs {
                        assert!(self.held.contains(input), "{task} misses {input}");
                    }
                }
                Stop(task) => {
                    self.running.remove(task);
                }
                LetGo(task) => {
                    self.held.remove(task);
                    let is_kept = self.model.tasks.contains_key(task);
                    assert!(!is_kept || !self.model.is_needed(*task), "{task} is needed");
                }
                Forget(task) => {
                    assert!(!self.held.contains(task), "{task} is forgotten and held");
                    assert!(!self.model.tasks.contains_key(task));
                }
                Resolve(task, end) => self.check_end(*task, end),
                Reopen(task) => {
                    assert!(
                        matches!(event, Event::Retry(_) | Event::Lost { .. }),
                        "{task}"
                    );
                }
                Refuse(task, _) => assert!(!self.model.tasks.contains_key(task)),
            }
        }
        if let Event::Lost { result, .. } = event
            && self
                .model
                .tasks
                .get(result)
                .is_none_or(|task| task.state != State::Held)
        {
            self.held.remove(result);
        }
    }

    fn check_end(&self, task: TaskIndex, end: &End) {
        let (path, cause) = match end {
            End::Completed => return assert_eq!(self.model.tasks[&task].state, State::Held),
            End::Failed => return assert_eq!(self.model.tasks[&task].state, State::Failed),
            End::Cancelled => return assert_eq!(self.model.tasks[&task].state, State::Cancelled),
            End::UpstreamFailed(path) => (path, State::Failed),
            End::UpstreamCancelled(path) => (path, State::Cancelled),
            End::Unrecoverable(path) => (path, State::Unrecoverable),
        };
        assert_eq!(self.model.tasks[&path.cause].state, cause);
        assert_eq!(path.tasks.first(), Some(&path.cause));
        assert_eq!(path.tasks.last(), Some(&task));
        assert!(path.tasks.len() <= PATH_TASKS_MAX);
        for (position, pair) in path.tasks.windows(2).enumerate() {
            if path.omitted == 0 || position + 1 != PATH_TASKS_MAX / 2 {
                assert!(
                    self.model.tasks[&pair[1]].inputs.contains(&pair[0]),
                    "{path}"
                );
            }
        }
    }

    /// Compares all states, and adopts which input blocks a task.
    fn check_states(&mut self) {
        let stored = &self.graph.nodes;
        assert_eq!(self.graph.counts().total(), self.model.tasks.len());
        let mut blocked = Vec::new();
        for (task, known) in &self.model.tasks {
            let node = stored.get(stored.find(*task).unwrap()).unwrap();
            let state = match node.state() {
                nodes::State::Idle => State::Idle,
                nodes::State::Waiting { missing } => {
                    let is_held = |input: &&TaskIndex| self.model.tasks[input].state == State::Held;
                    let held = known.inputs.iter().filter(is_held).count();
                    assert_eq!(missing as usize, known.inputs.len() - held);
                    State::Waiting
                }
                nodes::State::Released => State::Released,
                nodes::State::Held => State::Held,
                nodes::State::Failed => State::Failed,
                nodes::State::Cancelled => State::Cancelled,
                nodes::State::Unrecoverable => State::Unrecoverable,
                nodes::State::Blocked(block) => {
                    let via = stored.get(block.via).unwrap().task;
                    assert!(known.inputs.contains(&via));
                    assert!(self.model.tasks[&via].state.is_failure());
                    blocked.push((*task, via));
                    State::Blocked(Some(via))
                }
            };
            match (known.state, state) {
                (State::Blocked(None), State::Blocked(_)) => {}
                (expected, state) => assert_eq!(state, expected, "task {task}"),
            }
        }
        for (task, via) in blocked {
            self.model.set(task, State::Blocked(Some(via)));
        }
        let edges: usize = self
            .model
            .tasks
            .values()
            .map(|task| task.inputs.len())
            .sum();
        assert_eq!(self.graph.edges(), edges);
    }

    /// One of the known tasks, counted from the latest; sometimes one that is unknown.
    fn pick(&self, back: usize) -> TaskIndex {
        let known: Vec<TaskIndex> = self.model.tasks.keys().rev().copied().collect();
        known.get(back).copied().unwrap_or(back as TaskIndex)
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Submit(inputs, repeatable) => {
                let inputs = inputs.iter().map(|back| self.pick(*back)).collect();
                self.tell(Event::Submitted {
                    task: self.next,
                    inputs,
                    repeatable: *repeatable,
                });
                self.next += 1;
            }
            Act::Run(which, how) => {
                let count = self.running.len().max(1);
                if let Some(task) = self.running.iter().nth(which % count).copied() {
                    self.tell(Event::Ended { task, how: *how });
                }
            }
            Act::End(back, how) => {
                let task = self.pick(*back);
                self.tell(Event::Ended { task, how: *how });
            }
            Act::Unwanted(back) => self.tell(Event::Unwanted(self.pick(*back))),
            Act::Wanted(back) => self.tell(Event::Wanted(self.pick(*back))),
            Act::Cancel(back) => self.tell(Event::Cancel(self.pick(*back))),
            Act::Retry(back) => self.tell(Event::Retry(self.pick(*back))),
            Act::Lose(which, dependent) => {
                let count = self.held.len().max(1);
                let Some(result) = self.held.iter().nth(which % count).copied() else {
                    return;
                };
                let mut dependents = self.model.dependents(result);
                dependents.push(self.pick(*dependent));
                let dependent = dependents.get(*dependent).copied();
                self.tell(Event::Lost { result, dependent });
            }
            Act::Again(which) => {
                let count = self.events.len().max(1);
                if let Some(event) = self.events.get(which % count).cloned() {
                    self.tell(event);
                }
            }
        }
    }

    /// Completes everything that runs, and drops everything.
    fn run_out(&mut self) {
        while let Some(task) = self.running.first().copied() {
            self.tell(completed(task));
        }
        let counts = self.graph.counts();
        assert_eq!((counts.waiting, counts.released), (0, 0), "it stands still");
        let wanted: Vec<TaskIndex> = self.model.tasks.keys().copied().collect();
        for task in wanted {
            self.tell(Event::Unwanted(task));
        }
        assert!(self.graph.is_empty() && self.held.is_empty());
        assert_eq!(self.graph.nodes.bytes(), 0);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Submit(Vec<usize>, bool),
    /// A task that was released ends.
    Run(usize, Ended),
    /// Any task ends.
    End(usize, Ended),
    Unwanted(usize),
    Wanted(usize),
    Cancel(usize),
    Retry(usize),
    /// A held result vanishes, for a dependent of it, for any task or for none.
    Lose(usize, usize),
    /// An earlier event comes again.
    Again(usize),
}

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        8 => Just(Ended::Completed),
        1 => Just(Ended::Failed),
        1 => Just(Ended::Cancelled),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let back = || 0_usize..12;
    let inputs = prop::collection::vec(0_usize..8, 0..4);
    let act = prop_oneof![
        8 => (inputs, prop::bool::weighted(0.8)).prop_map(|(inputs, yes)| Act::Submit(inputs, yes)),
        10 => (any::<usize>(), ended()).prop_map(|(which, how)| Act::Run(which, how)),
        1 => (back(), ended()).prop_map(|(back, how)| Act::End(back, how)),
        4 => back().prop_map(Act::Unwanted),
        1 => back().prop_map(Act::Wanted),
        1 => back().prop_map(Act::Cancel),
        3 => back().prop_map(Act::Retry),
        6 => (any::<usize>(), 0_usize..4).prop_map(|(which, to)| Act::Lose(which, to)),
        1 => any::<usize>().prop_map(Act::Again),
    ];
    prop::collection::vec(act, 0..150)
}

proptest! {
    #[test]
    fn the_machine_decides_as_the_model_does_and_ends_empty(acts in acts()) {
        let mut world = World::default();
        acts.iter().for_each(|act| world.act(act));
        world.run_out();
    }
}
