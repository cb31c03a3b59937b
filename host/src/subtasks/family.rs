//! The subtasks of one task: their job at the broker, what is heard of it, and their results.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use sortie_broker::{Broker, Event, Position};
use sortie_objects::{self as objects, Objects, TenantStore, values};
use sortie_protocol::job::FUNCTIONS_MAX;
use sortie_protocol::{
    Address, Argument, ByteSize, Digest, Ending, Failure, FunctionIndex, FunctionOptions,
    FunctionRef, Job, JobFunction, JobKey, Outcome, Output, Parent, Signature, Task, TaskIndex,
    subtask,
};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::publishing::Publishing;
use super::told::{Ended, Told, Wanted};
use super::{ASK_AGAIN, Over, Subtasks, Yields, root_of};
use crate::{clock, kept};

/// How long nothing is heard of subtasks before the broker is asked whether it still has them.
const QUIET: Duration = Duration::from_secs(30);

/// What a task's subtasks follow from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The job of the subtasks.
    pub(crate) key: JobKey,
    /// The component that they are functions of, and how these are called.
    pub(crate) component: Digest,
    pub(crate) options: FunctionOptions,
    /// Whose subtasks they are.
    pub(crate) parent: Parent,
    /// The functions of the component.
    pub(crate) signatures: Arc<[Signature]>,
    /// Whether another attempt of the task makes the same subtasks.
    pub(crate) is_settled: bool,
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
    is_begun: AtomicBool,
    follower: Mutex<Option<AbortHandle>>,
    table: Mutex<Table>,
    publishing: tokio::sync::Mutex<Publishing>,
    awaited: Mutex<Option<Wanted>>,
    /// Room for one more task that waits.
    _room: OwnedSemaphorePermit,
}

/// The functions that are called, in the order of their first calls: the job's table of functions.
#[derive(Debug, Default)]
struct Table {
    names: Vec<Arc<str>>,
    /// How many of them the broker has.
    told: usize,
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
            is_begun: AtomicBool::new(false),
            follower: Mutex::default(),
            table: Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            awaited: Mutex::default(),
        }
    }

    /// Whether another attempt of the task makes the same subtasks.
    pub(crate) fn is_settled(&self) -> bool {
        self.origin.is_settled
    }

    /// Their job.
    pub(crate) fn job(&self) -> JobKey {
        self.origin.key
    }

    /// What is to be said at their end.
    pub(crate) fn over(&self) -> Over {
        Over {
            job: self.job(),
            kept: self.heard.told.lock().kept().to_vec(),
        }
    }

    /// Whether the broker may have any.
    pub(crate) fn is_begun(&self) -> bool {
        self.is_begun.load(Ordering::Acquire)
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
        let mut known = self.origin.signatures.iter();
        let Some(signature) = known.find(|known| known.name == function) else {
            return Err(format!("this component has no function `{function}`"));
        };
        if let Err(mismatch) = signature.check(&arguments) {
            return Err(mismatch.to_string());
        }
        let function = self.table.lock().place(&function)?;
        Ok(Task {
            index,
            arguments,
            function,
            input: None,
            then: Vec::new(),
        })
    }

    /// Make subtasks, whose indices follow each other. Those that were made before, by this attempt
    /// or another, are not made again. Waits until the broker has them. Cancel safe: a dropped call
    /// has made all of them or some, and to call it again makes the others.
    pub(crate) async fn spawn(&self, tasks: Vec<Task>) -> Result<(), SpawnError> {
        let broker = |error: sortie_broker::Error| SpawnError::Broker(error.to_string());
        let mut publishing = self.publishing.lock().await;
        let new = publishing.new_ones(tasks).map_err(SpawnError::Differs)?;
        if new.is_empty() {
            return Ok(());
        }
        let is_first = self.follower.lock().is_none();
        if is_first && self.begin().await.map_err(broker)? {
            publishing.know(self.known().await?);
        }
        self.tell_functions().await.map_err(broker)?;
        let has_ended = |task| self.has_ended(task);
        let (hashes, new) = new.into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
        let unknown = publishing.unknown(new, has_ended);
        let root = root_of(self.job().tenant, &self.origin.parent);
        if !self.subtasks.count(root, unknown.len() as u64) {
            return Err(SpawnError::TooMany(format!(
                "more than {} subtasks below one submitted job",
                subtask::OF_JOB_MAX
            )));
        }
        let publish = |bundle| self.subtasks.broker.publish(bundle);
        let published = publishing.publish(self.job(), unknown, publish).await;
        published.map_err(broker)?;
        publishing.made(hashes);
        self.heard.told.lock().published = publishing.count() as TaskIndex;
        Ok(())
    }

    /// Put the job, and follow it from now on. Whether it was there before, because of an earlier
    /// attempt.
    async fn begin(&self) -> Result<bool, sortie_broker::Error> {
        let broker = self.subtasks.broker.clone();
        let is_repeated = self.origin.is_settled && broker.job(self.job()).await?.is_some();
        let job = Job {
            key: self.job(),
            functions: self.functions(0),
            parent: Some(self.origin.parent),
        };
        let told = job.functions.len();
        self.is_begun.store(true, Ordering::Release);
        broker.put_job(job, clock::now()).await?;
        let mut table = self.table.lock();
        // Another attempt may have told fewer.
        table.told = if is_repeated { 0 } else { told };
        drop(table);
        let following = follow(broker, self.job(), self.heard.clone());
        let follower = self.subtasks.io.spawn(following);
        *self.follower.lock() = Some(follower.abort_handle());
        Ok(is_repeated)
    }

    /// The functions in the table from this place on, with how they are called.
    fn functions(&self, first: usize) -> Vec<JobFunction> {
        let table = self.table.lock();
        let functions = table.names.iter().skip(first).map(|name| JobFunction {
            function: FunctionRef {
                component: self.origin.component,
                name: name.clone(),
            },
            options: self.origin.options.clone(),
        });
        functions.collect()
    }

    /// Tell the broker functions that it does not know yet.
    async fn tell_functions(&self) -> Result<(), sortie_broker::Error> {
        let told = self.table.lock().told;
        let new = self.functions(told);
        if new.is_empty() {
            return Ok(());
        }
        let all = told + new.len();
        let first = FunctionIndex::try_from(told).unwrap_or(FunctionIndex::MAX);
        let broker = &self.subtasks.broker;
        broker.add_functions(self.job(), first, new).await?;
        self.table.lock().told = all;
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
        if !self.yields.stays() {
            *self.awaited.lock() = Some(wanted);
            return Err(Suspended);
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

    /// Whether it is told how a subtask ended.
    pub(crate) fn has_ended(&self, task: TaskIndex) -> bool {
        self.heard.told.lock().ended(task).is_some()
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
                return Err(Unanswered::new("result-lost", "its result is not told"));
            }
        };
        let output = match ending {
            Ending::Completed(output) => output,
            Ending::Failed(failure) => return Err(unanswered(&failure)),
            Ending::Cancelled => {
                return Err(Unanswered::new("cancelled", "the subtask was stopped"));
            }
        };
        if !room(output.size()) {
            return Err(Unanswered {
                code: "result-too-large".into(),
                message: format!(
                    "a result of {}, for which the memory limit leaves no room",
                    ByteSize(output.size())
                ),
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
        let lost = |why: &str| Unanswered::new("result-lost", why);
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
        let lost = || Unanswered::new("result-lost", "its result cannot be read");
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

impl Table {
    /// The place of a function, which is added if it is not there.
    fn place(&mut self, name: &str) -> Result<FunctionIndex, String> {
        let known = self.names.iter().position(|known| **known == *name);
        let place = match known {
            Some(place) => place,
            None if self.names.len() >= FUNCTIONS_MAX => {
                return Err(format!(
                    "a task's subtasks call at most {FUNCTIONS_MAX} functions"
                ));
            }
            None => {
                self.names.push(name.into());
                self.names.len() - 1
            }
        };
        Ok(FunctionIndex::try_from(place).unwrap_or(FunctionIndex::MAX))
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
    fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// A failure as another function may know it: what the function itself said, and of what the host
/// says nothing that names a place or a machine.
fn unanswered(failure: &Failure) -> Unanswered {
    let message = match failure {
        Failure::Answer { message, .. } | Failure::Trapped { message, .. } => message.clone(),
        Failure::Stopped { .. } => failure.to_string(),
        Failure::Input { .. } => "an input of the subtask cannot be read".into(),
        Failure::Refused { .. } => "the subtask was refused".into(),
        Failure::Upstream { .. } => "what the subtask needs failed".into(),
        Failure::Platform { .. } => "the subtask could not be run".into(),
    };
    Unanswered {
        code: failure.code().to_owned(),
        message,
    }
}

/// Hear of a job's outcomes until it is gone.
async fn follow(broker: Arc<dyn Broker>, job: JobKey, heard: Arc<Heard>) {
    let mut from: Position = 0;
    loop {
        match broker.follow(job, from).await {
            Ok(events) => {
                if let Err(reason) = hear(&broker, job, &heard, events, &mut from).await {
                    return heard.tell(|told| told.broken = Some(reason));
                }
            }
            Err(error) if error.is_transient() => {}
            Err(error) => return heard.tell(|told| told.broken = Some(error.to_string())),
        }
        if let Ok(None) = broker.job(job).await {
            let reason = "the subtasks are gone from the broker".to_owned();
            return heard.tell(|told| told.broken = Some(reason));
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Hear of outcomes until the stream ends. An error, if no more will be heard.
async fn hear(
    broker: &Arc<dyn Broker>,
    job: JobKey,
    heard: &Heard,
    mut events: BoxStream<'static, Event>,
    from: &mut Position,
) -> Result<(), String> {
    loop {
        let Ok(event) = timeout(QUIET, events.next()).await else {
            if let Ok(unfinished) = broker.unfinished_tasks(job).await {
                heard.tell(|told| {
                    let lost = told.look(&unfinished);
                    let lost = lost.into_iter().map(|task| no_result(task, LOST));
                    told.hear(*from, &lost.collect::<Vec<_>>());
                });
            }
            continue;
        };
        match event {
            None => return Ok(()),
            Some(Event::Outcomes(position, outcomes)) => {
                *from = position + outcomes.len() as Position;
                heard.tell(|told| told.hear(position, &outcomes));
            }
            Some(Event::Unreadable { tasks, reason }) => {
                let outcomes = tasks.iter().map(|task| no_result(*task, &reason));
                let outcomes: Vec<Outcome> = outcomes.collect();
                heard.tell(|told| told.hear(*from, &outcomes));
            }
            Some(Event::CaughtUp(_)) => heard.tell(|told| told.is_caught_up = true),
            Some(Event::Cancelled) => return Err("the subtasks were cancelled".into()),
            Some(Event::Refused(error)) if error.is_transient() => return Ok(()),
            Some(Event::Refused(error)) => return Err(error.to_string()),
            Some(Event::Submitting | Event::Sealed(_)) => {}
        }
    }
}

/// Why a subtask has no result that is neither at the broker nor ended.
const LOST: &str = "the broker does not have the subtask any more";

impl Heard {
    /// Let those who wait look at what was told.
    fn tell(&self, told: impl FnOnce(&mut Told)) {
        told(&mut self.told.lock());
        self.more.notify_waiters();
    }
}

/// The outcome of a subtask that has none which this program can read.
fn no_result(task: TaskIndex, reason: &str) -> Outcome {
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
