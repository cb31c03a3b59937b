//! One attempt: from a task to how it ended.
//!
//! Open the inputs and pin their versions, look the task up in the memo, fetch what it reads first;
//! then, on a core, run it in a sandbox; then keep what the function said. The three parts are
//! apart so that inputs come, and large results go, while other tasks compute. Nothing here retries
//! and nothing here decides over retries: a failure goes up as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sortie_protocol::job::Memo as MemoOption;
use sortie_protocol::memo::{Key, KeyBuilder};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{
    Argument, Bill, ByteSize, Ending, Failure, Job, Log, ObjectRef, Output, Task,
};

use crate::clock;
use crate::component::Component;
use crate::engine::Engine;
use crate::memo::{self, Memo};
use crate::sandbox::{self, Call, Cancel, Ended, Returned, Watch, Why};
use sortie_objects::OutputStore;
use sortie_objects::values;
use sortie_objects::{self as objects, Address, Objects};

/// What all attempts on a host share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where inputs come from.
    pub objects: Objects,
    /// Where results are kept, if anywhere.
    pub memo: Option<Memo>,
    /// Where large outputs go, if anywhere.
    pub store: Option<OutputStore>,
}

/// What all attempts of a job on a host share.
#[derive(Debug)]
pub struct JobContext {
    job: Arc<Job>,
    component: Component,
    key: KeyBuilder,
    tenant: Arc<str>,
    habit: memo::Habit,
}

impl JobContext {
    /// The context of `job`, whose component is `component`. Without a tenant it is that of the
    /// default one.
    #[must_use]
    pub fn new(job: Arc<Job>, component: Component, tenant: Option<Arc<str>>) -> Self {
        let key = KeyBuilder::new(&job.function, &job.options.limits);
        let tenant = tenant.unwrap_or_else(|| memo::TENANT_DEFAULT.into());
        Self {
            job,
            component,
            key,
            tenant,
            habit: memo::Habit::default(),
        }
    }

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Arc<Job> {
        &self.job
    }
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Attempted {
    /// The result, the failure, or the cancellation.
    pub ending: Ending,
    /// What it cost; the time in the queue is not known here.
    pub bill: Bill,
    /// What the function printed.
    pub log: Option<Box<Log>>,
}

/// A task that can run without waiting, or that need not run at all.
#[derive(Debug)]
pub enum Prepared {
    /// Its inputs are open, and the first of what they were asked for ahead is here.
    Ready(Ready),
    /// It ended while it was prepared: its result is known, an input cannot be opened, or it was
    /// cancelled.
    Ended(Box<Attempted>),
}

impl Prepared {
    /// A task that is not run any more.
    pub(crate) fn cancelled() -> Self {
        unprepared(Why::Cancelled, Duration::ZERO)
    }

    /// A task whose inputs could not be had.
    pub(crate) fn failed(error: objects::Error) -> Self {
        unprepared(Why::Failed(input(error)), Duration::ZERO)
    }
}

/// A task whose inputs are open.
#[derive(Debug)]
pub struct Ready {
    inputs: Inputs,
    /// How long that took.
    fetch: Duration,
}

impl Ready {
    /// Whether all that was asked for ahead is here.
    #[must_use]
    pub fn is_ripe(&self) -> bool {
        self.objects().all(objects::Object::is_prefetched)
    }

    fn objects(&self) -> impl Iterator<Item = &objects::Object> {
        self.inputs
            .arguments
            .iter()
            .filter_map(|argument| match argument {
                sandbox::Argument::Object(object) => Some(object),
                sandbox::Argument::Value(_) | sandbox::Argument::Prefix(_) => None,
            })
    }
}

/// A task that ran, but for what becomes of its result.
#[derive(Debug)]
pub struct Computed {
    ending: Result<Returned, Why>,
    bill: Bill,
    log: Option<Box<Log>>,
    /// Goes on until the result is kept.
    watch: Arc<Watch>,
    /// What it cost to compute.
    cost: memo::Cost,
    /// The task's key, if what it said may be kept under it.
    key: Option<Key>,
}

/// A task's arguments, opened, and its key where its result follows from them.
#[derive(Debug)]
struct Inputs {
    arguments: Vec<sandbox::Argument>,
    key: Key,
    keyed: bool,
    bytes: u64,
    has_objects: bool,
}

impl Host {
    /// Run `task` once, unless `cancel` ends it. Cancel safe: a dropped attempt leaves nothing
    /// behind.
    pub async fn attempt(
        &self,
        context: &JobContext,
        cancel: &Arc<Cancel>,
        task: &Task,
    ) -> Attempted {
        match self.prepare(context, cancel, task).await {
            Prepared::Ready(ready) => {
                self.keep(context, self.compute(context, cancel, ready).await)
                    .await
            }
            Prepared::Ended(attempted) => *attempted,
        }
    }

    /// Do what a task needs before it computes: open its inputs, look it up in the memo, ask for
    /// what it will read first, and wait for the first of that. Cancel safe.
    pub async fn prepare(
        &self,
        context: &JobContext,
        cancel: &Arc<Cancel>,
        task: &Task,
    ) -> Prepared {
        let limits = &context.job.options.limits;
        let watch = Watch::new(cancel.clone(), limits);
        let began = clock::instant();
        let since = |waits: bool| {
            if waits {
                clock::instant() - began
            } else {
                Duration::ZERO
            }
        };
        let fetch = || since(self.waits_for(task));
        match watch.bound_if_slow(self.gather(context, task)).await {
            // A look into the memo that was in vain is nobody's cost but the memo's.
            Ok(Ok(Gathered::Inputs(inputs))) => Prepared::Ready(Ready {
                inputs,
                fetch: since(has_objects(task)),
            }),
            Ok(Ok(Gathered::Known(entry))) => Prepared::Ended(Box::new(entry.attempted(fetch()))),
            Ok(Err(failure)) => unprepared(Why::Failed(failure), fetch()),
            Err(stop) => unprepared(Why::from_stop(stop, limits), fetch()),
        }
    }

    /// Whether preparing a task may wait for something outside of this process.
    #[must_use]
    pub fn waits_for(&self, task: &Task) -> bool {
        has_objects(task) || self.memo.as_ref().is_some_and(Memo::is_shared)
    }

    /// Wait until all that was asked for ahead is here. Cancel safe.
    pub async fn ripen(
        &self,
        context: &JobContext,
        cancel: &Arc<Cancel>,
        ready: Ready,
    ) -> Prepared {
        let limits = &context.job.options.limits;
        let watch = Watch::after(ready.fetch, cancel.clone(), limits);
        let began = clock::instant();
        let waiting =
            futures::future::try_join_all(ready.objects().map(objects::Object::prefetched));
        let waited = watch.bound_if_slow(waiting).await;
        let fetch = ready.fetch + (clock::instant() - began);
        match waited {
            Ok(Ok(_)) => Prepared::Ready(Ready { fetch, ..ready }),
            Ok(Err(error)) => unprepared(Why::Failed(input(error)), fetch),
            Err(stop) => unprepared(Why::from_stop(stop, limits), fetch),
        }
    }

    /// Run a task that is prepared, without keeping its result. Cancel safe: a dropped run leaves
    /// nothing behind.
    pub async fn compute(
        &self,
        context: &JobContext,
        cancel: &Arc<Cancel>,
        ready: Ready,
    ) -> Computed {
        let Ready {
            inputs:
                Inputs {
                    arguments,
                    key,
                    keyed,
                    bytes,
                    has_objects,
                },
            fetch,
        } = ready;
        let options = &context.job.options;
        // Waiting for inputs is part of a task's time; waiting for a core after that is not.
        let watch = Arc::new(Watch::after(fetch, cancel.clone(), &options.limits));
        let call = Call {
            function: &context.job.function.name,
            arguments,
            limits: &options.limits,
            grants: options.grants,
            seed: *key.as_bytes(),
            watch: watch.clone(),
            store: self.store.clone(),
        };
        let began = clock::instant();
        let mut ended = sandbox::run(&self.engine, context.component.prepared(), call).await;
        let (input_error, output_error) = (ended.input_error.take(), ended.output_error.take());
        let sound = input_error.is_none() && output_error.is_none();
        let trouble = input_error
            .map(input)
            .or_else(|| output_error.map(values::unkept));
        let bill = bill(&ended, began, fetch, bytes);
        // Time on a core: what passes while others have it, or while the store is waited for, is no
        // work that keeping the result would save.
        let cost = memo::Cost {
            run: bill.cpu,
            read: bill.fetch,
            has_objects,
        };
        context.habit.ran(cost);
        let (ending, log) = (settle(ended.result, trouble), ended.log);
        Computed {
            ending,
            bill,
            log,
            watch,
            cost,
            key: (keyed && sound).then_some(key),
        }
    }

    /// How many bytes of a result the store is going to be given, before [`Self::keep`] has done
    /// it.
    #[must_use]
    pub fn stored_bytes(&self, computed: &Computed) -> usize {
        match (&computed.ending, &self.store) {
            (Ok(Returned::Value(value)), Some(_)) if value.len() > INLINE_BYTES_MAX => value.len(),
            (Ok(_) | Err(_), _) => 0,
        }
    }

    /// Keep what a task said: a large result in the store, and in the memo what may be there. If
    /// the store does not take it, there is no result. Waits for the store only, within the
    /// task's time. Cancel safe: a dropped call leaves at most an object that nothing names.
    pub async fn keep(&self, context: &JobContext, computed: Computed) -> Attempted {
        let Computed {
            ending: returned,
            mut bill,
            log,
            watch,
            cost,
            key,
        } = computed;
        let began = clock::instant();
        let ending = match returned {
            Ok(Returned::Object(object)) => Ending::Completed(Output::Object(object)),
            Ok(Returned::Value(value)) => match watch
                .bound_if_slow(values::keep(self.store.as_ref(), value.into()))
                .await
            {
                Ok(Ok(output)) => Ending::Completed(output),
                Ok(Err(error)) => Ending::Failed(values::unkept(error)),
                Err(stop) => ending(Why::from_stop(stop, &context.job.options.limits)),
            },
            Err(why) => ending(why),
        };
        if matches!(
            &ending,
            Ending::Completed(Output::Stored(_)) | Ending::Failed(Failure::Platform { .. })
        ) {
            bill.store += clock::instant() - began;
        }
        if let (Some(memo), Some(key)) =
            (self.memo.as_ref().filter(|_| memo::is_word(&ending)), &key)
        {
            let name = memo::Name {
                tenant: &context.tenant,
                key,
            };
            memo.put(
                name,
                &memo::Entry {
                    ending: ending.clone(),
                    log: log.clone(),
                },
                cost,
            );
        }
        Attempted { ending, bill, log }
    }

    /// What the memo has, unless the object that it speaks of has gone from the store.
    async fn known(
        &self,
        memo: &Memo,
        name: memo::Name<'_>,
        context: &JobContext,
    ) -> Option<memo::Entry> {
        let entry = memo
            .get(name, &context.job.options.limits, &context.habit)
            .await?;
        let stored = match &entry.ending {
            Ending::Completed(output) => output.stored(),
            Ending::Failed(_) | Ending::Cancelled => None,
        };
        match (stored, &self.store) {
            (None, _) => Some(entry),
            (Some(stored), Some(store)) if store.holds(stored).await => Some(entry),
            (Some(_), _) => None,
        }
    }

    /// Open the inputs, derive the key, look it up; where nothing is known, ask for what is read
    /// first. Waits only for objects and the memo.
    async fn gather(&self, context: &JobContext, task: &Task) -> Result<Gathered, Failure> {
        let options = &context.job.options;
        let mut keyed = self.memo.is_some()
            && options.memo == MemoOption::Use
            && options.grants.deterministic();
        let mut key = context.key.clone();
        let mut bytes = 0;
        let mut opened = Vec::with_capacity(task.arguments.len());
        for argument in &task.arguments {
            let argument = self.open_argument(argument, options.limits.memory).await?;
            match &argument {
                Opened::Value(value) => {
                    key.value(value);
                    bytes += value.len() as u64;
                }
                Opened::Object(url, object) => {
                    let info = object.info();
                    keyed &= info.etag.is_some();
                    key.object(url, info.etag.as_deref().unwrap_or_default(), info.size);
                }
                // What lies below it can change without anybody noticing.
                Opened::Prefix(_) => keyed = false,
            }
            opened.push(argument);
        }
        let key = key.finish();
        if let Some(memo) = self.memo.as_ref().filter(|_| keyed) {
            let name = memo::Name {
                tenant: &context.tenant,
                key: &key,
            };
            if let Some(entry) = self.known(memo, name, context).await {
                return Ok(Gathered::Known(entry));
            }
        }
        let mut arguments = Vec::with_capacity(opened.len());
        for opened in opened {
            arguments.push(match opened {
                Opened::Value(value) => sandbox::Argument::Value(value),
                Opened::Object(_, mut object) => {
                    object.prefetch().await.map_err(input)?;
                    sandbox::Argument::Object(object)
                }
                Opened::Prefix(prefix) => sandbox::Argument::Prefix(prefix),
            });
        }
        Ok(Gathered::Inputs(Inputs {
            arguments,
            key,
            keyed,
            bytes,
            has_objects: has_objects(task),
        }))
    }

    /// Open an argument. A stored value may have `value_max` bytes.
    async fn open_argument(
        &self,
        argument: &Argument,
        value_max: ByteSize,
    ) -> Result<Opened, Failure> {
        Ok(match argument {
            Argument::Value(value) => Opened::Value(value.clone()),
            Argument::Object(named) => {
                let object = self.open_object(named).await.map_err(input)?;
                Opened::Object(named.url.clone(), object)
            }
            Argument::Stored(stored) => {
                let store = self.store.as_ref();
                let fetched = values::fetch(&self.objects, store, stored, value_max.as_u64()).await;
                let value = fetched.map_err(|error| values::unfetched("an argument", &error))?;
                Opened::Value(value)
            }
            Argument::Prefix(url) => Opened::Prefix(self.objects.prefix(url).await.map_err(input)?),
        })
    }

    async fn open_object(
        &self,
        ObjectRef { url, pin }: &ObjectRef,
    ) -> Result<objects::Object, objects::Error> {
        let malformed = |error: objects::Malformed| objects::Error {
            fault: InputFault::Malformed,
            message: error.to_string(),
            advice: None,
        };
        let address = Address::parse(url, std::path::Path::new("/")).map_err(malformed)?;
        self.objects.open(&address, pin.as_ref()).await
    }
}

impl memo::Entry {
    /// The task's ending, which was known.
    fn attempted(self, fetch: Duration) -> Attempted {
        let bill = Bill {
            fetch,
            bytes_out: size_of_ending(&self.ending),
            cached: true,
            ..Bill::default()
        };
        Attempted {
            ending: self.ending,
            bill,
            log: self.log,
        }
    }
}

/// What is there once a task's inputs were looked at.
enum Gathered {
    Known(memo::Entry),
    Inputs(Inputs),
}

/// An argument that was looked at.
enum Opened {
    Value(Bytes),
    /// With the address that it was named by.
    Object(Arc<str>, objects::Object),
    Prefix(objects::Prefix),
}

/// A task that ended before it could run.
fn unprepared(why: Why, fetch: Duration) -> Prepared {
    Prepared::Ended(Box::new(Attempted {
        ending: ending(why),
        bill: Bill {
            fetch,
            ..Bill::default()
        },
        log: None,
    }))
}

fn has_objects(task: &Task) -> bool {
    task.arguments
        .iter()
        .any(|argument| matches!(argument, Argument::Object(_) | Argument::Stored(_)))
}

fn bill(ended: &Ended, began: Instant, opening: Duration, bytes: u64) -> Bill {
    Bill {
        queue: Duration::ZERO,
        fetch: opening + ended.fetch,
        run: (clock::instant() - began).saturating_sub(ended.fetch + ended.store),
        cpu: ended.cpu,
        memory_peak: ended.memory_peak,
        bytes_in: ByteSize(bytes + ended.bytes_in),
        bytes_out: ByteSize(ended.result.as_ref().map_or(0, Returned::value_bytes) + ended.written),
        cached: false,
        store: ended.store,
    }
}

/// The ending, as whoever reads it should understand it: a function that could not read its input,
/// or write its output, is not to blame for what it made of that.
fn settle(result: Result<Returned, Why>, trouble: Option<Failure>) -> Result<Returned, Why> {
    match (result, trouble) {
        (Err(Why::Failed(Failure::Answer { .. } | Failure::Trapped { .. })), Some(trouble)) => {
            Err(Why::Failed(trouble))
        }
        (result, _) => result,
    }
}

fn ending(why: Why) -> Ending {
    match why {
        Why::Failed(failure) => Ending::Failed(failure),
        Why::Cancelled => Ending::Cancelled,
    }
}

fn input(error: objects::Error) -> Failure {
    Failure::Input {
        fault: error.fault,
        message: error.message,
    }
}

fn size_of_ending(ending: &Ending) -> ByteSize {
    match ending {
        Ending::Completed(output) => ByteSize(output.size()),
        Ending::Failed(_) | Ending::Cancelled => ByteSize(0),
    }
}
