//! Follows the tasks of a pipeline, and tells what came of each input, or of all together.
//!
//! Everything happens while [`Pipeline::next`] is polled: further inputs are taken only as results
//! are read.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sortie::{
    Bill, BrokerError, Cancellation, Client, Ending, Failure, JobId, Outcome, Progress, TaskError,
    TaskFuture,
};
use tokio::task::{JoinError, JoinSet};

use super::bill::together;
use super::feeder::{Call, Fed, Feeder};
use super::plan::Plan;
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
    /// The result of a reduction, once all of its calls are submitted.
    root: Option<TaskFuture<()>>,
    /// What the tasks of a reduction took so far.
    bill: Option<Bill>,
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
    Walked(Result<Walked, TaskError>),
    Called(usize, Result<Outcome, TaskError>),
    Root(Result<Outcome, TaskError>),
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
        Self {
            feeder: Some(Feeder::new(client.clone(), plan.clone(), inputs, in_flight)),
            feeding: None,
            window: Window::new(plan.functions()),
            client,
            plan,
            watched: FuturesUnordered::new(),
            root: None,
            bill: None,
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
    }

    /// The next step; none when it is over. Cancel safe.
    pub async fn next(&mut self) -> Option<Step> {
        loop {
            if self.stage == Stage::Over && self.cancelling.is_empty() {
                return None;
            }
            self.go_on();
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
            if let Some(step) = self.on(event) {
                return Some(step);
            }
        }
    }

    /// Begin what can be begun.
    fn go_on(&mut self) {
        if self.window.has_room()
            && let Some(feeder) = self.feeder.take()
        {
            self.feeding = Some(Box::pin(feeder.feed()));
        }
        // All others have been waited for by then, so that nothing is left to be told.
        if self.watched.is_empty()
            && self.feeding.is_none()
            && self.feeder.is_none()
            && let Some(root) = self.root.take()
        {
            let waiting = async move { Watched::Root(root.outcome().await) };
            self.watched.push(Box::pin(waiting));
        }
    }

    fn on(&mut self, event: Event) -> Option<Step> {
        match event {
            Event::Fed(feeder, fed) => {
                self.feeding = None;
                self.on_fed(feeder, fed);
                None
            }
            Event::Watched(Watched::Walked(walked)) => self.known(walked).and_then(|walked| {
                self.window.end(walked.bytes);
                self.on_walked(walked)
            }),
            Event::Watched(Watched::Called(results, outcome)) => {
                self.window.end_call(results);
                self.known(outcome)
                    .and_then(|outcome| self.on_called(outcome))
            }
            Event::Watched(Watched::Root(outcome)) => {
                let outcome = self.known(outcome)?;
                Some(self.reduced(outcome, None))
            }
            Event::Cancelled(done) => {
                self.is_confirmed &= matches!(done, Ok(Ok(_)));
                self.progress.cancelled |= self.is_confirmed && self.cancelling.is_empty();
                None
            }
        }
    }

    fn on_fed(&mut self, feeder: Feeder, fed: Fed) {
        match fed {
            Fed::Input(way, calls) => {
                self.feeder = Some(feeder);
                self.progress.submitted += 1;
                self.window.begin(1);
                if let Some(job) = way.tasks.last().map(TaskFuture::job)
                    && self.jobs.last() != Some(&job)
                {
                    self.jobs.push(job);
                }
                self.watched.push(Box::pin(walk(way)));
                self.watch(calls);
            }
            Fed::End(calls, root) => {
                self.progress.complete = true;
                self.root = root;
                self.watch(calls);
                if self.plan.reduces() && self.root.is_none() {
                    self.end();
                }
            }
            // Those that were submitted are waited for: one of them may say more.
            Fed::Trouble(trouble) => self.trouble = Some(trouble),
        }
    }

    fn watch(&mut self, calls: Vec<Call>) {
        for Call { task, results } in calls {
            self.window.begin(results);
            let waiting = async move { Watched::Called(results, task.outcome().await) };
            self.watched.push(Box::pin(waiting));
        }
    }

    /// An outcome, if it is known. Otherwise no further ones will be but those that came before.
    fn known<T>(&mut self, outcome: Result<T, TaskError>) -> Option<T> {
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(error) => {
                self.trouble = Some(Error::platform(error.to_string()));
                self.stop_feeding();
                if self.plan.reduces() {
                    self.end();
                }
                None
            }
        }
    }

    fn on_walked(&mut self, walked: Walked) -> Option<Step> {
        let Walked {
            outcome, function, ..
        } = walked;
        self.note_cancelled(&outcome);
        let has_failed = matches!(outcome.ending, Ending::Failed(_));
        let function = has_failed.then(|| self.plan.name(function));
        if !self.plan.reduces() {
            return Some(Step::Ended(Entry { outcome, function }));
        }
        self.bill = Some(together(self.bill, &outcome.bill));
        match outcome.ending {
            Ending::Completed(_) => Some(Step::Through {
                index: outcome.index,
                cached: outcome.bill.cached,
            }),
            Ending::Failed(_) | Ending::Cancelled => Some(self.reduced(outcome, function)),
        }
    }

    /// A call of the tree ended. One that was not made, because of a failure elsewhere, is not what
    /// there is to tell: that task is waited for, too.
    fn on_called(&mut self, outcome: Outcome) -> Option<Step> {
        self.bill = Some(together(self.bill, &outcome.bill));
        self.note_cancelled(&outcome);
        match outcome.ending {
            Ending::Completed(_) | Ending::Failed(Failure::Upstream { .. }) => None,
            Ending::Failed(_) => {
                let name = self.plan.reduce.as_ref().map(|(stage, _)| {
                    let signature = stage.function.signature();
                    signature.name.as_str().into()
                });
                Some(self.reduced(outcome, name))
            }
            Ending::Cancelled => Some(self.reduced(outcome, None)),
        }
    }

    /// The last step of a reduction. What is left of it is dropped.
    fn reduced(&mut self, outcome: Outcome, function: Option<Arc<str>>) -> Step {
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
        Step::Reduced(Entry { outcome, function })
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
        self.root = None;
    }

    /// Drop everything that has not ended, which cancels it.
    fn end(&mut self) {
        self.stop_feeding();
        self.watched = FuturesUnordered::new();
        self.stage = Stage::Over;
    }
}

async fn walk(way: Way) -> Watched {
    Watched::Walked(way.walk().await)
}

/// What comes of a future that is there. Cancel safe.
async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
