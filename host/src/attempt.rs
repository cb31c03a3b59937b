//! One attempt: from a task to how it ended.
//!
//! Open the inputs and pin their versions, look the task up in the memo, run it in a sandbox, keep what the function said. Nothing here retries
//! and nothing here decides over retries: a failure goes up as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sortie_protocol::job::Memo as MemoOption;
use sortie_protocol::memo::{Key, KeyBuilder};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Argument, Bill, ByteSize, Ending, Failure, Job, Limits, Log, ObjectRef, Output, Task};

use crate::clock;
use crate::component::Component;
use crate::engine::Engine;
use crate::memo::{self, Memo};
use crate::objects::{self, Location, Objects};
use crate::outputs;
use crate::sandbox::{self, Call, Cancel, Ended, Returned, Watch, Why};
use crate::store::Store;

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
    pub store: Option<Store>,
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
    /// The context of `job`, whose component is `component`. Without a tenant it is that of the default one.
    #[must_use]
    pub fn new(job: Arc<Job>, component: Component, tenant: Option<Arc<str>>) -> Self {
        let key = KeyBuilder::new(&job.function, &job.options.limits);
        let tenant = tenant.unwrap_or_else(|| memo::TENANT_DEFAULT.into());
        Self { job, component, key, tenant, habit: memo::Habit::default() }
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

/// An attempt that is over, but for what becomes of its result.
struct Settled {
    ending: Result<Returned, Why>,
    bill: Bill,
    log: Option<Box<Log>>,
}

/// A task's arguments, opened, and its key where its result follows from them.
struct Inputs {
    arguments: Vec<sandbox::Argument>,
    key: Key,
    keyed: bool,
    bytes: u64,
}

impl Host {
    /// Run `task` once, unless `cancel` ends it. Cancel safe: a dropped attempt leaves nothing behind.
    pub async fn attempt(&self, context: &JobContext, cancel: &Arc<Cancel>, task: &Task) -> Attempted {
        let options = &context.job.options;
        let watch = Arc::new(Watch::new(cancel.clone(), &options.limits));
        let began = clock::instant();
        let opened = match watch.bound_if_slow(self.open(context, task)).await {
            Ok(Ok(inputs)) => Ok(inputs),
            Ok(Err(error)) => Err(Why::Failed(input(error))),
            Err(stop) => Err(Why::from_stop(stop, &options.limits)),
        };
        let read_since = |is_reading: bool| if is_reading { clock::instant() - began } else { Duration::ZERO };
        let opening = read_since(has_objects(task));
        let inputs = match opened {
            Ok(inputs) => inputs,
            Err(why) => return Attempted { ending: ending(why), bill: Bill { fetch: opening, ..Bill::default() }, log: None },
        };
        let (key, bytes) = (inputs.key, inputs.bytes);
        let name = memo::Name { tenant: &context.tenant, key: &key };
        let memo = self.memo.as_ref().filter(|_| inputs.keyed);
        if let Some(memo) = memo {
            let looked = watch.bound_if_slow(self.known(memo, name, context)).await;
            let fetch = read_since(has_objects(task) || memo.is_shared());
            match looked {
                Ok(Some(entry)) => return entry.attempted(fetch),
                Ok(None) => {}
                Err(stop) => {
                    let why = Why::from_stop(stop, &options.limits);
                    return Attempted { ending: ending(why), bill: Bill { fetch, ..Bill::default() }, log: None };
                }
            }
        }
        let call = Call {
            function: &context.job.function.name,
            arguments: inputs.arguments,
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
        let trouble = input_error.map(input).or_else(|| output_error.map(outputs::unkept));
        let bill = bill(&ended, began, opening, bytes);
        let attempted = self.keep(settle(ended, trouble, bill), &watch, &options.limits).await;
        let cost = memo::Cost { run: bill.run, read: bill.fetch, has_objects: has_objects(task) };
        context.habit.ran(cost);
        if let Some(memo) = memo.filter(|_| sound && memo::is_word(&attempted.ending)) {
            memo.put(name, &memo::Entry { ending: attempted.ending.clone(), log: attempted.log.clone() }, cost);
        }
        attempted
    }

    /// What the memo has, unless the object that it speaks of has gone from the store.
    async fn known(&self, memo: &Memo, name: memo::Name<'_>, context: &JobContext) -> Option<memo::Entry> {
        let entry = memo.get(name, &context.job.options.limits, &context.habit).await?;
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

    /// Keep a large result in the store. If the store does not take it, there is no result.
    async fn keep(&self, settled: Settled, watch: &Watch, limits: &Limits) -> Attempted {
        let Settled { ending: settled, mut bill, log } = settled;
        let began = clock::instant();
        let ending = match settled {
            Ok(Returned::Object(object)) => Ending::Completed(Output::Object(object)),
            Ok(Returned::Value(value)) => match watch.bound_if_slow(outputs::keep(self.store.as_ref(), value.into())).await {
                Ok(Ok(output)) => Ending::Completed(output),
                Ok(Err(error)) => Ending::Failed(outputs::unkept(error)),
                Err(stop) => ending(Why::from_stop(stop, limits)),
            },
            Err(why) => ending(why),
        };
        if matches!(&ending, Ending::Completed(Output::Stored(_)) | Ending::Failed(Failure::Platform { .. })) {
            bill.store += clock::instant() - began;
        }
        Attempted { ending, bill, log }
    }

    /// Open the inputs and derive the key. Waits only for objects.
    async fn open(&self, context: &JobContext, task: &Task) -> Result<Inputs, objects::Error> {
        let options = &context.job.options;
        let mut keyed = self.memo.is_some() && options.memo == MemoOption::Use && options.grants.deterministic();
        let (mut key, mut bytes) = (context.key.clone(), 0);
        let mut arguments = Vec::with_capacity(task.arguments.len());
        for argument in &task.arguments {
            arguments.push(match argument {
                Argument::Value(value) => {
                    key.value(value);
                    bytes += value.len() as u64;
                    sandbox::Argument::Value(value.clone())
                }
                Argument::Object(ObjectRef { url, pin: _ }) => {
                    let object = self.open_object(url).await?;
                    let info = object.info();
                    keyed &= info.etag.is_some();
                    key.object(url, info.etag.as_deref().unwrap_or_default(), info.size);
                    sandbox::Argument::Object(Arc::new(object))
                }
                Argument::Stored(stored) => {
                    let value = outputs::fetch(&self.objects, self.store.as_ref(), stored, options.limits.memory.as_u64()).await?;
                    key.value(&value);
                    bytes += value.len() as u64;
                    sandbox::Argument::Value(value)
                }
                Argument::Prefix(url) => {
                    // What lies below it can change without anybody noticing.
                    keyed = false;
                    sandbox::Argument::Prefix(self.objects.prefix(url).await?)
                }
            });
        }
        Ok(Inputs { arguments, key: key.finish(), keyed, bytes })
    }

    async fn open_object(&self, url: &str) -> Result<objects::Object, objects::Error> {
        let malformed = |error: objects::Malformed| objects::Error { fault: InputFault::Malformed, message: error.to_string() };
        let location = Location::parse(url, std::path::Path::new("/")).map_err(malformed)?;
        self.objects.open(&location).await
    }
}

impl memo::Entry {
    /// The task's ending, which was known.
    fn attempted(self, fetch: Duration) -> Attempted {
        let bill = Bill { fetch, bytes_out: size_of_ending(&self.ending), cached: true, ..Bill::default() };
        Attempted { ending: self.ending, bill, log: self.log }
    }
}

fn has_objects(task: &Task) -> bool {
    task.arguments.iter().any(|argument| matches!(argument, Argument::Object(_) | Argument::Stored(_)))
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

/// The ending, as whoever reads it should understand it: a function that could not read its input, or write
/// its output, is not to blame for what it made of that.
fn settle(ended: Ended, trouble: Option<Failure>, bill: Bill) -> Settled {
    let ending = match (ended.result, trouble) {
        (Err(Why::Failed(Failure::Answer { .. } | Failure::Trapped { .. })), Some(trouble)) => Err(Why::Failed(trouble)),
        (result, _) => result,
    };
    Settled { ending, bill, log: ended.log }
}

fn ending(why: Why) -> Ending {
    match why {
        Why::Failed(failure) => Ending::Failed(failure),
        Why::Cancelled => Ending::Cancelled,
    }
}

fn input(error: objects::Error) -> Failure {
    Failure::Input { fault: error.fault, message: error.message }
}

fn size_of_ending(ending: &Ending) -> ByteSize {
    match ending {
        Ending::Completed(output) => ByteSize(output.size()),
        Ending::Failed(_) | Ending::Cancelled => ByteSize(0),
    }
}
