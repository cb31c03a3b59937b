//! Tasks that come with the task whose result they take.

use ciborium::Value;
use futures::StreamExt as _;
use sortie_broker::{Event, Submit as _};
use sortie_harness::{until_asked, within};
use sortie_protocol::{
    Address, Argument, Bundle, Ending, FunctionIndex, FunctionOptions, FunctionRef, Job,
    JobFunction, JobKey, Labels, ObjectRef, Outcome, Output, Part, Priority, Task, TaskIndex,
    WaitingTask,
};

use super::super::*;
use super::scene::Scene;
use super::watching::Recorder;

/// How often something is tried that a busy machine may prevent.
const ROUNDS_MAX: usize = 200;

const ADD: FunctionIndex = 0;
const SPINS: FunctionIndex = 1;
const URGENT_ADD: FunctionIndex = 2;
const ELSEWHERE_ADD: FunctionIndex = 3;
const TRAPS: FunctionIndex = 4;
const SPREADS: FunctionIndex = 5;

fn encoded(value: impl Into<Value>) -> Argument {
    let mut bytes = Vec::new();
    ciborium::into_writer(&value.into(), &mut bytes).unwrap();
    Argument::Value(bytes.into())
}

fn at(address: &str) -> ObjectRef {
    address.parse::<Address>().unwrap().into()
}

fn task(index: TaskIndex, function: FunctionIndex, arguments: &[u64]) -> Task {
    Task {
        index,
        function,
        arguments: arguments.iter().map(|value| encoded(*value)).collect(),
        input: None,
        then: Vec::new(),
    }
}

/// A task that takes the result of another, and adds one to it.
fn adds_one(index: TaskIndex, function: FunctionIndex, to: TaskIndex) -> WaitingTask {
    takes(
        index,
        function,
        vec![Part::Result(to), Part::Ready(encoded(1))],
    )
}

fn takes(index: TaskIndex, function: FunctionIndex, parts: Vec<Part<TaskIndex>>) -> WaitingTask {
    WaitingTask {
        index,
        function,
        parts,
        input: None,
        repeatable: true,
    }
}

/// A worker and a job of functions that have run there before, but for the last ones.
struct Following {
    scene: Scene,
    recorder: Arc<Recorder>,
    job: JobKey,
    next: TaskIndex,
}

impl Following {
    async fn start() -> Self {
        let recorder = Recorder::new();
        let scene = Scene::observed(1, recorder.clone());
        let first = scene.job("add", 0).await;
        let called = |name: &str, options| JobFunction {
            function: FunctionRef {
                component: scene.component(),
                name: name.into(),
            },
            options,
        };
        let plain = FunctionOptions::default();
        let labels: Labels = "gpu".parse().unwrap();
        let job = Job {
            key: JobKey {
                job: sortie_protocol::JobId::from_bytes([77; 16]),
                ..first
            },
            functions: vec![
                called("add", plain.clone()),
                called("spins_for", plain.clone()),
                called(
                    "add",
                    FunctionOptions {
                        priority: Priority::High,
                        ..plain.clone()
                    },
                ),
                called(
                    "add",
                    FunctionOptions {
                        labels,
                        ..plain.clone()
                    },
                ),
                called("traps", plain.clone()),
                called("spreads", plain),
            ],
            parent: None,
        };
        let key = job.key;
        scene.broker.put_job(job, scene.broker.now()).await.unwrap();
        let following = Self {
            scene,
            recorder,
            job: key,
            next: 10,
        };
        let each = [ADD, URGENT_ADD, ELSEWHERE_ADD].map(|function| task(0, function, &[1, 1]));
        let others = [task(0, SPINS, &[1]), task(0, SPREADS, &[2])];
        for (index, known) in (0..).zip(each.into_iter().chain(others)) {
            following.run(Task { index, ..known }).await;
        }
        following
    }

    /// Publish a task, and wait for its outcome. What comes with it has one of the ten indices from
    /// its own on.
    async fn run(&self, task: Task) -> Vec<Outcome> {
        let first = task.index;
        let bundle = Bundle {
            job: self.job,
            attempts_before: 0,
            lost_before: 0,
            published: self.scene.broker.now(),
            tasks: vec![task],
        };
        self.scene.broker.publish(bundle).await.unwrap();
        let mut events = self.scene.broker.follow(self.job, 0).await.unwrap();
        let coming = async {
            loop {
                if let Some(Event::Outcomes(_, outcomes)) = events.next().await {
                    let of_task = |outcome: &&Outcome| (first..first + 10).contains(&outcome.index);
                    let came: Vec<Outcome> = outcomes.iter().filter(of_task).cloned().collect();
                    if !came.is_empty() {
                        return came;
                    }
                }
            }
        };
        let came = within("the outcome of a task", coming).await;
        let has_ended = async || {
            self.scene
                .broker
                .unfinished(self.job)
                .await
                .unwrap()
                .bundles
                == 0
        };
        until_asked("the end of a bundle", has_ended).await;
        came
    }

    /// The same of a task that `then` follows, until so much comes: what follows a task is left if
    /// this machine does something else for too long.
    async fn run_all(
        &mut self,
        count: usize,
        then: impl Fn(TaskIndex) -> Vec<WaitingTask>,
    ) -> Vec<Outcome> {
        for _ in 0..ROUNDS_MAX {
            self.next += 10;
            let mut first = task(self.next, ADD, &[1, 1]);
            first.then = then(self.next);
            let came = self.run(first).await;
            if came.len() == count && came.iter().all(|outcome| outcome.attempts == 1) {
                return came;
            }
        }
        panic!("{count} tasks never ran under one lease");
    }
}

fn results(outcomes: &[Outcome]) -> Vec<(TaskIndex, u64)> {
    let result = |outcome: &Outcome| match &outcome.ending {
        Ending::Completed(Output::Value(value)) => ciborium::from_reader(&value[..]).unwrap(),
        other => panic!("{other:?}"),
    };
    outcomes
        .iter()
        .map(|outcome| (outcome.index, result(outcome)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_take_each_others_results_run_one_after_the_other_under_one_lease() {
    let mut following = Following::start().await;
    let then = |first| (first + 1..first + 4).map(|index| adds_one(index, ADD, index - 1));
    let ran = following.run_all(4, |first| then(first).collect()).await;
    let first = following.next;
    let sums: Vec<_> = (first..).zip(2..=5).collect();
    assert_eq!(results(&ran), sums);
    for outcome in &ran {
        assert_eq!((outcome.attempts, outcome.function), (1, Some(ADD)));
        assert!(!outcome.bill.cpu.is_zero());
    }
    let steps = following.recorder.steps();
    let leased = |task: u64| steps.contains(&format!("task {task} leased"));
    assert!(
        leased(first) && !leased(first + 1) && !leased(first + 3),
        "{steps:?}"
    );
    let ended = format!("attempt of {} ended: none completed", first + 3);
    assert!(steps.contains(&ended), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_there_is_left_with_all_that_follows_it() {
    let mut following = Following::start().await;
    let left = |first: TaskIndex| {
        let (next, one) = (first + 1, Part::Ready(encoded(1)));
        [
            // Not every worker has the labels that it asks for; it is in another queue.
            adds_one(next, ELSEWHERE_ADD, first),
            adds_one(next, URGENT_ADD, first),
            // It never ran here; there is no such function.
            takes(next, TRAPS, vec![]),
            adds_one(next, 99, first),
            // It takes the result of another task; it lacks an argument; it fails.
            adds_one(next, ADD, 1),
            takes(next, ADD, vec![Part::Result(first)]),
            takes(
                next,
                ADD,
                vec![Part::Result(first), Part::Ready(encoded("one"))],
            ),
            // It takes an object; it makes subtasks.
            takes(
                next,
                ADD,
                vec![Part::Result(first), Part::Objects(vec![], vec![])],
            ),
            takes(next, SPREADS, vec![Part::Result(first)]),
            // It would be read from elsewhere.
            takes(
                next,
                ADD,
                vec![one, Part::Ready(Argument::Object(at("file:///nowhere")))],
            ),
        ]
    };
    for number in 0..left(0).len() {
        // One goes along, so that there was time for the next.
        let then = |first: TaskIndex| {
            vec![
                adds_one(first + 1, ADD, first),
                left(first + 1)[number].clone(),
                adds_one(first + 3, ADD, first + 2),
            ]
        };
        let ran = following.run_all(2, then).await;
        let first = following.next;
        assert_eq!(results(&ran), [(first, 2), (first + 1, 3)]);
    }
}

/// What a spin answers is a number that no computer counts to.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_longer_than_it_did_before_is_stopped_and_left() {
    let following = Following::start().await;
    let mut steps = Vec::new();
    for first in (100..).step_by(10).take(ROUNDS_MAX) {
        let mut task = task(first, SPINS, &[1]);
        task.then = vec![takes(first + 1, SPINS, vec![Part::Result(first)])];
        let ran = following.run(task).await;
        assert_eq!(ran.len(), 1, "{ran:?}");
        steps = following.recorder.steps();
        if steps.contains(&format!("attempt of {} computing", first + 1)) {
            let ended = format!("attempt of {} ended: none cancelled", first + 1);
            assert!(steps.contains(&ended), "{steps:?}");
            return;
        }
    }
    panic!("it never ran: {steps:?}");
}
