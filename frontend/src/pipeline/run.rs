//! Follows the tasks of a pipeline, and tells what came of each input, or of all together.
//!
//! Everything happens while [`Pipeline::next`] is polled: further inputs are taken only as results
//! are read.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sortie::{
    Bill, BrokerError, Cancellation, Client, Ending, JobId, Outcome, Progress, TaskError,
    TaskFuture,
};
use tokio::task::{JoinError, JoinSet};

use super::bill::together;
use super::feeder::{Fed, Feeder, Inputs as Ended};
use super::levels::{Levels, Place, Ready};
use super::plan::Plan;
use super::refused::Refused;
use super::tree::{Called, reduce};
use super::way::{Walked, Way};
use super::window::Window;
use crate::binding::{InFlight, Inputs};
use crate::error::Error;
use crate::results::Entry;

/// What happened.
#[derive(Debug)]
pub enum Step {
    /// An input is through all functions, or one of them failed: the result for this input.
    Ended(Entry),
    /// An input is through the functions whose results are reduced.
    Through {
        /// Its position, from 0.
        index: u64,
        /// Whether all results for it were known before.
        cached: bool,
    },
    /// The reduction ended, with its result or with the first failure, which names its input. The
    /// last step. The bill is that of all tasks together.
    Reduced(Entry),
}

/// Functions that are called for each input, as a stream of what comes of it. Dropping it cancels
/// its tasks.
pub struct Pipeline {
    client: Client,
    plan: Arc<Plan>,
    /// Between two inputs.
    feeder: Option<Feeder>,
    /// While an input is taken and its tasks are submitted.
    feeding: Option<BoxFuture<'static, (Feeder, Fed)>>,
    window: Window,
    watched: FuturesUnordered<BoxFuture<'static, Watched>>,
    /// Results of a reduction that no call takes yet.
    levels: Option<Levels<Outcome>>,
    /// What the tasks of a reduction took so far.
    bill: Option<Bill>,
    /// What is to be told.
    steps: VecDeque<Step>,
    /// The jobs that have tasks of this, the latest last: one, but after half a day.
    jobs: Vec<JobId>,
    cancelling: JoinSet<Result<Cancellation, BrokerError>>,
    /// Whether all jobs that were to be cancelled are, as far as the broker has answered.
    is_confirmed: bool,
    progress: Progress,
    stage: Stage,
    trouble: Option<Error>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// No further tasks are submitted, and those without an outcome are being cancelled.
    Cancelling,
    /// There are no further steps.
    Over,
}

/// What was waited for.
enum Watched {
    Walked(Result<Box<Walked>, TaskError>),
    /// A call that took so many results.
    Called(usize, Place, Called),
}

/// What a wait ended with.
enum Event {
    Fed(Feeder, Fed),
    Watched(Watched),
    Cancelled(Result<Result<Cancellation, BrokerError>, JoinError>),
}

impl Pipeline {
    /// Call the functions of a plan for each of `inputs`.
    #[must_use]
    pub fn start(client: Client, plan: Plan, inputs: Inputs, in_flight: Arc<InFlight>) -> Self {
        let plan = Arc::new(plan);
        let inputs = inputs.stream(in_flight.clone());
        let levels = plan.reduce.as_ref().map(|(_, fan_in)| Levels::new(*fan_in));
        Self {
            feeder: Some(Feeder::new(client.clone(), plan.clone(), inputs, in_flight)),
            feeding: None,
            window: Window::new(plan.functions()),
            client,
            plan,
            watched: FuturesUnordered::new(),
            levels,
            bill: None,
            steps: VecDeque::new(),
            jobs: Vec::new(),
            cancelling: JoinSet::new(),
            is_confirmed: true,
            progress: Progress {
                submitted: 0,
                complete: false,
                cancelled: false,
            },
            stage: Stage::Running,
            trouble: None,
        }
    }

    /// The job that has its latest tasks, once there are some.
    #[must_use]
    pub fn job(&self) -> Option<JobId> {
        self.jobs.last().copied()
    }

    /// How many inputs were taken, whether these are all, and whether it was cancelled.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Why it ended early, if it did.
    #[must_use]
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// The outcome with its value, fetched from the store if necessary. Cancel safe.
    pub async fn fetched(&self, outcome: Outcome) -> Outcome {
        self.client.fetched(outcome).await
    }

    /// Take no further inputs, and cancel the tasks without an outcome. Call it within a runtime.
    pub fn cancel(&mut self) {
        if self.stage != Stage::Running {
            return;
        }
        self.stage = Stage::Cancelling;
        self.stop_feeding();
        self.progress.cancelled = self.jobs.is_empty();
        for job in self.jobs.clone() {
            let client = self.client.clone();
            self.cancelling
                .spawn(async move { client.cancel(job).await });
        }
        if self.plan.reduces() {
            self.reduced(unrun(Ending::Cancelled), None);
        }
    }

    /// The next step; none when it is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(step);
            }
            if self.stage == Stage::Over && self.cancelling.is_empty() {
                return None;
            }
            self.take_input();
            let event = tokio::select! {
                (feeder, fed) = ready(&mut self.feeding), if self.feeding.is_some() => {
                    Event::Fed(feeder, fed)
                }
                Some(watched) = self.watched.next(), if !self.watched.is_empty() => {
                    Event::Watched(watched)
                }
                Some(done) = self.cancelling.join_next(), if !self.cancelling.is_empty() => {
                    Event::Cancelled(done)
                }
                else => {
                    self.stage = Stage::Over;
                    continue;
                }
            };
            self.on(event);
        }
    }

    /// Begin with the next input, if there is room.
    fn take_input(&mut self) {
        if self.window.has_room()
            && let Some(feeder) = self.feeder.take()
        {
            self.feeding = Some(Box::pin(feeder.feed()));
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Fed(feeder, fed) => {
                self.feeding = None;
                self.on_fed(feeder, fed);
            }
            Event::Watched(Watched::Walked(Ok(walked))) => {
                self.window.end(walked.bytes);
                self.on_walked(*walked);
            }
            Event::Watched(Watched::Walked(Err(error))) => self.on_lost(&error),
            Event::Watched(Watched::Called(results, place, called)) => {
                self.window.end_call(results);
                self.on_called(place, called);
            }
            Event::Cancelled(done) => {
                self.is_confirmed &= matches!(done, Ok(Ok(_)));
                self.progress.cancelled |= self.is_confirmed && self.cancelling.is_empty();
            }
        }
    }

    fn on_fed(&mut self, feeder: Feeder, fed: Fed) {
        match fed {
            Fed::Input(way) => {
                self.feeder = Some(feeder);
                self.progress.submitted += 1;
                self.window.begin(1);
                if let Some(job) = way.tasks.last().map(TaskFuture::job)
                    && self.jobs.last() != Some(&job)
                {
                    self.jobs.push(job);
                }
                self.watched.push(Box::pin(walk(way)));
            }
            Fed::End(ended) => {
                self.progress.complete = true;
                match (&mut self.levels, ended) {
                    (Some(levels), Ended::All) => {
                        let ready = levels.end(self.progress.submitted);
                        ready.into_iter().for_each(|ready| self.go_on(ready));
                    }
                    // Not all results are nothing to reduce.
                    (Some(_), Ended::Broken) => self.end(),
                    (None, _) => {}
                }
            }
            // Those that were submitted are waited for: one of them may say more.
            Fed::Trouble(trouble) => self.trouble = Some(trouble),
        }
    }

    /// It is not known how a task ended. No further outcomes will be but those that came before.
    fn on_lost(&mut self, error: &TaskError) {
        self.trouble = Some(Error::platform(error.to_string()));
        self.stop_feeding();
        if self.plan.reduces() {
            self.end();
        }
    }

    fn on_walked(&mut self, walked: Walked) {
        let Walked {
            outcome, function, ..
        } = walked;
        self.note_cancelled(&outcome);
        let has_failed = matches!(outcome.ending, Ending::Failed(_));
        let function = has_failed.then(|| self.plan.name(function));
        if !self.plan.reduces() {
            self.steps
                .push_back(Step::Ended(Entry { outcome, function }));
            return;
        }
        self.bill = Some(together(self.bill, &outcome.bill));
        match outcome.ending {
            Ending::Completed(_) => {
                let (index, cached) = (outcome.index, outcome.bill.cached);
                self.steps.push_back(Step::Through { index, cached });
                self.put(Place::bottom(index), outcome);
            }
            Ending::Failed(_) | Ending::Cancelled => self.reduced(outcome, function),
        }
    }

    /// A call of the tree ended.
    fn on_called(&mut self, place: Place, called: Called) {
        let outcome = match called {
            Called::Ended(outcome) => *outcome,
            Called::Refused(Refused::Task(failure)) => unrun(Ending::Failed(failure)),
            Called::Refused(Refused::All(trouble)) => {
                self.trouble = Some(trouble);
                return self.end();
            }
            Called::Lost(error) => return self.on_lost(&error),
        };
        self.bill = Some(together(self.bill, &outcome.bill));
        self.note_cancelled(&outcome);
        match outcome.ending {
            Ending::Completed(_) => self.put(place, outcome),
            Ending::Failed(_) => {
                let name = self.plan.reduce.as_ref().map(|(stage, _)| {
                    let signature = stage.function.signature();
                    signature.name.as_str().into()
                });
                self.reduced(outcome, name);
            }
            Ending::Cancelled => self.reduced(outcome, None),
        }
    }

    /// A result came that is to be reduced.
    fn put(&mut self, place: Place, outcome: Outcome) {
        let held = Outcome {
            // What is reduced is of no single input.
            input: None,
            ..outcome
        };
        if let Some(levels) = &mut self.levels
            && let Some(ready) = levels.put(place, held)
        {
            self.go_on(ready);
        }
    }

    fn go_on(&mut self, ready: Ready<Outcome>) {
        match ready {
            Ready::Root(outcome) => self.reduced(outcome, None),
            Ready::Call(results, place) => {
                let count = results.len();
                self.window.begin(count);
                let (client, plan) = (self.client.clone(), self.plan.clone());
                self.watched.push(Box::pin(async move {
                    Watched::Called(count, place, reduce(client, plan, results).await)
                }));
            }
        }
    }

    /// The last step of a reduction. What is left of it is dropped.
    fn reduced(&mut self, outcome: Outcome, function: Option<Arc<str>>) {
        self.end();
        let outcome = Outcome {
            index: 0,
            bill: self.bill.unwrap_or(outcome.bill),
            // What was cancelled is the whole.
            input: outcome
                .input
                .filter(|_| outcome.ending != Ending::Cancelled),
            ..outcome
        };
        self.steps
            .push_back(Step::Reduced(Entry { outcome, function }));
    }

    /// Somebody else cancelled a job whose task was cancelled, unless it happened here.
    fn note_cancelled(&mut self, outcome: &Outcome) {
        if outcome.ending == Ending::Cancelled && self.stage == Stage::Running {
            self.progress.cancelled = true;
            self.stop_feeding();
        }
    }

    fn stop_feeding(&mut self) {
        self.feeder = None;
        self.feeding = None;
    }

    /// Drop everything that has not ended, which cancels it.
    fn end(&mut self) {
        self.stop_feeding();
        self.watched = FuturesUnordered::new();
        self.stage = Stage::Over;
    }
}

/// The outcome of what was not run.
fn unrun(ending: Ending) -> Outcome {
    Outcome {
        index: 0,
        attempts: 0,
        ending,
        bill: Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}

async fn walk(way: Way) -> Watched {
    Watched::Walked(way.walk().await.map(Box::new))
}

/// What comes of a future that is there. Cancel safe.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
