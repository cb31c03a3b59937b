//! The subtasks of one task: their job at the broker, what is heard of it, and their results.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use sortie_broker::{Broker, Event, Position};
use sortie_objects::{self as objects, Objects, TenantStore, values};
use sortie_protocol::{
    Address, Argument, ByteSize, Ending, Failure, FunctionIndex, Job, JobKey, Outcome, Output,
    Parent, Signature, Task, TaskIndex, subtask,
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::publishing::Publishing;
use super::told::{Ended, Told, Wanted};
use super::{Subtasks, Yields, root_of};
use crate::kept;

/// How long to leave the broker alone when it does not say what became of subtasks.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What a task's subtasks follow from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The job of the subtasks, with its functions: those of the component, in its order.
    pub(crate) job: Job,
    /// Whose subtasks they are.
    pub(crate) parent: Parent,
    /// The functions, in the same order.
    pub(crate) signatures: Arc<[Signature]>,
    /// Whether another attempt of the task may have made subtasks already.
    pub(crate) is_repeated: bool,
    /// For what the subtasks made.
    pub(crate) objects: Objects,
    pub(crate) store: Option<TenantStore>,
    pub(crate) values: Option<Arc<dyn sortie_broker::KeepValues>>,
    /// Bytes of a result at most.
    pub(crate) result_max: ByteSize,
}

/// The subtasks of one task.
#[derive(Debug)]
pub(crate) struct Family {
    subtasks: Arc<Subtasks>,
    origin: Origin,
    yields: Arc<dyn Yields>,
    heard: Arc<Heard>,
    follower: Mutex<Option<AbortHandle>>,
    publishing: tokio::sync::Mutex<Publishing>,
    awaited: Mutex<Option<Wanted>>,
    /// Room for one more task that waits.
    _room: OwnedSemaphorePermit,
}

/// What was heard, and that there is more of it.
#[derive(Debug)]
struct Heard {
    told: Mutex<Told>,
    more: Notify,
}

/// A call as its task makes it.
#[derive(Debug)]
pub(crate) struct SubtaskCall {
    pub(crate) function: String,
    pub(crate) arguments: Vec<Argument>,
}

/// The result of a subtask.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Bytes),
    Object(objects::Object),
}

/// Why a subtask has no result, as its task is told.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) code: String,
    pub(crate) message: String,
    /// Whether it may be otherwise in another run.
    pub(crate) is_accident: bool,
}

/// Why subtasks are not made.
#[derive(Debug)]
pub(crate) enum SpawnError {
    /// There would be too many.
    TooMany(String),
    /// The task was run again and does not make the same ones.
    Differs(String),
    /// The broker does not take them.
    Broker(String),
}

/// The task has to go out of memory, and is run again when what it waits for is there.
#[derive(Debug)]
pub(crate) struct Suspended;

impl Family {
    /// The subtasks of a task, of which this process knows none yet. Nothing is asked of the broker
    /// before the first one is made.
    pub(crate) fn new(
        subtasks: Arc<Subtasks>,
        origin: Origin,
        yields: Arc<dyn Yields>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let told = Told::new(subtasks.shelf.clone());
        Self {
            subtasks,
            origin,
            yields,
            _room: room,
            heard: Arc::new(Heard {
                told: Mutex::new(told),
                more: Notify::new(),
            }),
            follower: Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            awaited: Mutex::default(),
        }
    }

    /// Their job.
    pub(crate) fn job(&self) -> JobKey {
        self.origin.job.key
    }

    /// Whether any were made.
    pub(crate) fn is_begun(&self) -> bool {
        self.follower.lock().is_some()
    }

    /// A task of this call.
    ///
    /// # Errors
    /// Why there can be none.
    pub(crate) fn task(&self, index: TaskIndex, call: SubtaskCall) -> Result<Task, String> {
        let SubtaskCall {
            function,
            arguments,
        } = call;
        let mut known = self.origin.signatures.iter().enumerate();
        let Some((place, signature)) = known.find(|(_, known)| known.name == function) else {
            return Err(format!("this component has no function `{function}`"));
        };
        if let Err(mismatch) = signature.check(&arguments) {
            return Err(mismatch.to_string());
        }
        if place >= self.origin.job.functions.len() {
            return Err(format!(
                "`{function}` is not among the first {} functions of this component",
                self.origin.job.functions.len()
            ));
        }
        Ok(Task {
            index,
            arguments,
            function: FunctionIndex::try_from(place).unwrap_or(FunctionIndex::MAX),
            input: None,
        })
    }

    /// Make subtasks, whose indices follow each other. Those that were made before, by this attempt
    /// or another, are not made again. Waits until the broker has them. Cancel safe: those that it
    /// has by then are made.
    pub(crate) async fn spawn(&self, tasks: Vec<Task>) -> Result<(), SpawnError> {
        let broker = |error: &sortie_broker::Error| SpawnError::Broker(error.to_string());
        let mut publishing = self.publishing.lock().await;
        let new = publishing.recall(tasks).map_err(SpawnError::Differs)?;
        if new.is_empty() {
            return Ok(());
        }
        let root = root_of(self.job().tenant, &self.origin.parent);
        if !self.subtasks.count(root, new.len() as u64) {
            return Err(SpawnError::TooMany(format!(
                "more than {} subtasks below one submitted job",
                subtask::OF_JOB_MAX
            )));
        }
        if !self.is_begun() {
            self.begin().await.map_err(|error| broker(&error))?;
            if self.origin.is_repeated {
                let known = self.known().await?;
                publishing.know(known);
            }
        }
        let told = || self.heard.told.lock();
        let new = publishing.unknown(new, |task| told().ended(task).is_some());
        let publish = |bundle| self.subtasks.broker.publish(bundle);
        let published = publishing.publish(self.job(), new, publish).await;
        published.map_err(|error| broker(&error))
    }

    /// Put the job, and follow it from now on.
    async fn begin(&self) -> Result<(), sortie_broker::Error> {
        let broker = self.subtasks.broker.clone();
        let job = self.origin.job.clone();
        broker.put_job(job, crate::clock::now()).await?;
        let following = follow(broker, self.job(), self.heard.clone());
        let follower = self.subtasks.io.spawn(following);
        *self.follower.lock() = Some(follower.abort_handle());
        Ok(())
    }

    /// The subtasks that an earlier attempt made and that did not end. Those that ended are heard
    /// of when this returns.
    async fn known(&self) -> Result<Vec<TaskIndex>, SpawnError> {
        self.until(|told| told.is_caught_up).await?;
        let unfinished = self.subtasks.broker.unfinished_tasks(self.job()).await;
        unfinished.map_err(|error| SpawnError::Broker(error.to_string()))
    }

    /// Wait until this holds of what was heard. An error, if nothing more will be heard.
    async fn until(&self, holds: impl Fn(&Told) -> bool) -> Result<(), SpawnError> {
        loop {
            let mut more = std::pin::pin!(self.heard.more.notified());
            // Registered before it is looked at, so that nothing in between is missed.
            more.as_mut().enable();
            {
                let told = self.heard.told.lock();
                if holds(&told) {
                    return Ok(());
                }
                if let Some(reason) = &told.broken {
                    return Err(SpawnError::Broker(reason.clone()));
                }
            }
            more.await;
        }
    }

    /// Wait for subtasks, without a core. What is heard of them by then is `Ok` as well if nothing
    /// more will be: their results say so. Cancel safe.
    pub(crate) async fn wait(&self, wanted: Wanted) -> Result<(), Suspended> {
        if self.is_over(&wanted) {
            return Ok(());
        }
        self.yields.leave();
        let stays = tokio::select! {
            biased;
            _ = self.until(|told| told.has(&wanted)) => true,
            () = self.yields.must_go() => false,
        };
        if stays {
            self.yields.enter().await;
            return Ok(());
        }
        *self.awaited.lock() = Some(wanted);
        Err(Suspended)
    }

    fn is_over(&self, wanted: &Wanted) -> bool {
        let told = self.heard.told.lock();
        told.has(wanted) || told.broken.is_some()
    }

    /// Wait for what the task waited for when it was suspended. Cancel safe.
    pub(crate) async fn until_awaited(&self) {
        let awaited = self.awaited.lock().clone();
        if let Some(wanted) = awaited {
            // If nothing more is heard, its task finds out.
            let _ = self.until(|told| told.has(&wanted)).await;
        }
    }

    /// The number of the next of these that ended, after the first so many of all subtasks.
    pub(crate) fn next_of(
        &self,
        tasks: &HashMap<TaskIndex, u32>,
        after: usize,
    ) -> Option<(u32, usize)> {
        self.heard.told.lock().next_of(tasks, after)
    }

    /// How many of these have ended, among the first so many of all subtasks that did.
    pub(crate) fn told_of(&self, tasks: &HashMap<TaskIndex, u32>, first: usize) -> usize {
        self.heard.told.lock().told_of(tasks, first)
    }

    /// Why nothing more is heard of them.
    pub(crate) fn broken(&self) -> String {
        let told = self.heard.told.lock();
        told.broken.clone().unwrap_or_default()
    }

    /// The result of a subtask that was waited for. `room` is asked whether there is room for so
    /// many bytes. Cancel safe.
    pub(crate) async fn answer(
        &self,
        task: TaskIndex,
        room: impl FnOnce(u64) -> bool,
    ) -> Result<Answer, Unanswered> {
        let ended = self.heard.told.lock().ended(task).cloned();
        let ending = match ended {
            Some(Ended::Here(ending)) => ending,
            Some(Ended::At(position)) => self.ending_at(position, task).await?,
            None => {
                return Err(Unanswered::accident(
                    "result-lost",
                    "its result is not told",
                ));
            }
        };
        let output = match ending {
            Ending::Completed(output) => output,
            Ending::Failed(failure) => return Err(unanswered(&failure)),
            Ending::Cancelled => {
                return Err(Unanswered::accident("cancelled", "the subtask was stopped"));
            }
        };
        if !room(output.size()) {
            return Err(Unanswered {
                code: "result-too-large".into(),
                message: format!(
                    "a result of {}, for which the memory limit leaves no room",
                    ByteSize(output.size())
                ),
                is_accident: false,
            });
        }
        self.fetched(output).await
    }

    /// Stop subtasks that did not end, and wait until they have. Cancel safe.
    pub(crate) async fn cancel(&self, tasks: Vec<TaskIndex>) {
        let tasks = self.running(tasks);
        if tasks.is_empty() {
            return;
        }
        let cancelling = self.subtasks.broker.cancel_tasks(self.job(), tasks.clone());
        if cancelling.await.is_ok() {
            let _ = self
                .until(|told| told.has(&Wanted::All(tasks.clone())))
                .await;
        }
    }

    /// Stop subtasks that did not end, in the background.
    pub(crate) fn cancel_soon(&self, tasks: Vec<TaskIndex>) {
        let tasks = self.running(tasks);
        if tasks.is_empty() {
            return;
        }
        let (broker, job) = (self.subtasks.broker.clone(), self.job());
        self.subtasks.io.spawn(async move {
            if let Err(error) = broker.cancel_tasks(job, tasks).await {
                tracing::debug!(%job, %error, "subtasks that are not needed any more run on");
            }
        });
    }

    fn running(&self, tasks: Vec<TaskIndex>) -> Vec<TaskIndex> {
        let told = self.heard.told.lock();
        let has_ended = |task: &TaskIndex| told.ended(*task).is_some();
        tasks.into_iter().filter(|task| !has_ended(task)).collect()
    }

    /// How a subtask ended whose result was not held.
    async fn ending_at(&self, at: Position, task: TaskIndex) -> Result<Ending, Unanswered> {
        let lost = |why: &str| Unanswered::accident("result-lost", why);
        let following = self.subtasks.broker.follow(self.job(), at).await;
        let mut events = following.map_err(|_| lost("the broker does not give its result"))?;
        while let Some(event) = events.next().await {
            match event {
                Event::Outcomes(_, outcomes) => {
                    if let Some(outcome) = outcomes.iter().find(|outcome| outcome.index == task) {
                        return Ok(outcome.ending.clone());
                    }
                }
                Event::CaughtUp(_) | Event::Cancelled | Event::Refused(_) => break,
                Event::Unreadable { .. } | Event::Submitting | Event::Sealed(_) => {}
            }
        }
        Err(lost("the broker does not keep its result any more"))
    }

    /// What a subtask made.
    async fn fetched(&self, output: Output) -> Result<Answer, Unanswered> {
        let Origin {
            objects,
            store,
            values,
            result_max,
            ..
        } = &self.origin;
        let lost = || Unanswered::accident("result-lost", "its result cannot be read");
        match output {
            Output::Value(value) => Ok(Answer::Value(value)),
            Output::Stored(stored) => {
                let fetching = values::fetch(objects, store.as_ref(), &stored, result_max.as_u64());
                fetching.await.map(Answer::Value).map_err(|_| lost())
            }
            Output::AtBroker(kept) => {
                let tenant = self.job().tenant;
                let fetching = kept::value(values.as_ref(), tenant, kept, *result_max);
                fetching.await.map(Answer::Value).map_err(|_| lost())
            }
            Output::Object(object) => {
                let address = Address::from(object.stored.location);
                let opened = objects.open(&address, None).await;
                opened.map(Answer::Object).map_err(|_| lost())
            }
        }
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(follower) = self.follower.get_mut().take() {
            follower.abort();
        }
    }
}

impl Unanswered {
    fn accident(code: &str, message: &str) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            is_accident: true,
        }
    }
}

/// A failure as another function may know it: what the function itself said, and of what the host
/// says nothing that names a place or a machine.
fn unanswered(failure: &Failure) -> Unanswered {
    let (message, is_accident) = match failure {
        Failure::Answer { message, .. } | Failure::Trapped { message } => (message.clone(), false),
        Failure::Stopped { .. } => (failure.to_string(), false),
        Failure::Input { .. } => ("an input of the subtask cannot be read".into(), true),
        Failure::Refused { .. } => ("the subtask was refused".into(), true),
        Failure::Upstream { .. } => ("what the subtask needs failed".into(), true),
        Failure::Platform { .. } => ("the subtask could not be run".into(), true),
    };
    Unanswered {
        code: failure.code().to_owned(),
        message,
        is_accident,
    }
}

/// Hear of a job's outcomes until it is gone.
async fn follow(broker: Arc<dyn Broker>, job: JobKey, heard: Arc<Heard>) {
    let mut from: Position = 0;
    let tell = |told: &dyn Fn(&mut Told)| {
        told(&mut heard.told.lock());
        heard.more.notify_waiters();
    };
    let broken = |reason: String| {
        tell(&|told| told.broken = Some(reason.clone()));
    };
    loop {
        let mut events = match broker.follow(job, from).await {
            Ok(events) => events,
            Err(error) if error.is_transient() => {
                sleep(ASK_AGAIN).await;
                continue;
            }
            Err(error) => return broken(error.to_string()),
        };
        while let Some(event) = events.next().await {
            match event {
                Event::Outcomes(position, outcomes) => {
                    from = position + outcomes.len() as Position;
                    tell(&|told| told.hear(position, &outcomes));
                }
                Event::Unreadable { tasks, reason } => {
                    let outcomes: Vec<Outcome> = tasks
                        .iter()
                        .map(|task| unreadable(*task, &reason))
                        .collect();
                    tell(&|told| told.hear(from, &outcomes));
                }
                Event::CaughtUp(_) => tell(&|told| told.is_caught_up = true),
                Event::Cancelled => return broken("the subtasks were cancelled".into()),
                Event::Refused(error) => return broken(error.to_string()),
                Event::Submitting | Event::Sealed(_) => {}
            }
        }
        match broker.job(job).await {
            Ok(None) => return broken("the subtasks are gone from the broker".into()),
            Ok(Some(_)) => {}
            Err(_) => sleep(ASK_AGAIN).await,
        }
    }
}

/// How a subtask ended whose outcome this program cannot read.
fn unreadable(task: TaskIndex, reason: &str) -> Outcome {
    Outcome {
        index: task,
        attempts: 1,
        ending: Ending::Failed(Failure::Platform {
            fault: sortie_protocol::outcome::PlatformFault::Host,
            message: reason.to_owned(),
        }),
        bill: sortie_protocol::Bill::default(),
        log: None,
        input: None,
        function: None,
    }
}
