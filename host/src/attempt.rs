//! One attempt: from a task to how it ended.
//!
//! Open the inputs and pin their versions, look the task up in the memo, run it in a sandbox, keep what the function said. Nothing here retries
//! and nothing here decides over retries: a failure goes up as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sortie_protocol::job::Memo as MemoOption;
use sortie_protocol::memo::{Key, KeyBuilder};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Argument, Bill, ByteSize, Ending, Failure, Job, Log, ObjectRef, Pin, Task};

use crate::clock;
use crate::component::Component;
use crate::engine::Engine;
use crate::memo::{self, Memo};
use crate::objects::{self, Address, Objects};
use crate::sandbox::{self, Call, Cancel, Ended, Watch, Why};

/// What all attempts on a host share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where inputs come from.
    pub objects: Objects,
    /// Where results are kept, if anywhere.
    pub memo: Option<Memo>,
}

/// What all attempts of a job on a host share.
#[derive(Debug)]
pub struct JobContext {
    job: Arc<Job>,
    component: Component,
    key: KeyBuilder,
}

impl JobContext {
    /// The context of `job`, whose component is `component`.
    #[must_use]
    pub fn new(job: Arc<Job>, component: Component) -> Self {
        let key = KeyBuilder::new(&job.function, &job.options.limits);
        Self { job, component, key }
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
        let opening = if has_objects(task) { clock::instant() - began } else { Duration::ZERO };
        let inputs = match opened {
            Ok(inputs) => inputs,
            Err(why) => return Attempted { ending: ending(why), bill: Bill { fetch: opening, ..Bill::default() }, log: None },
        };
        let memo = self.memo.as_ref().filter(|_| inputs.keyed);
        if let Some(entry) = memo.and_then(|memo| memo.get(&inputs.key)) {
            let bill = Bill { fetch: opening, bytes_out: size_of_ending(&entry.ending), cached: true, ..Bill::default() };
            return Attempted { ending: entry.ending, bill, log: entry.log };
        }
        let (key, bytes) = (inputs.key, inputs.bytes);
        let call = Call {
            function: &context.job.function.name,
            arguments: inputs.arguments,
            limits: &options.limits,
            grants: options.grants,
            seed: *key.as_bytes(),
            watch,
        };
        let began = clock::instant();
        let mut ended = sandbox::run(&self.engine, context.component.prepared(), call).await;
        let (input_error, bill) = (ended.input_error.take(), bill(&ended, began, opening, bytes));
        let sound = input_error.is_none();
        let attempted = settle(ended, input_error, bill);
        let worth_keeping = has_objects(task) || bill.run >= memo::WORTH_KEEPING;
        if let Some(memo) = memo.filter(|_| sound && worth_keeping && memo::is_word(&attempted.ending)) {
            memo.put(&key, &memo::Entry { ending: attempted.ending.clone(), log: attempted.log.clone() });
        }
        attempted
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
                Argument::Object(ObjectRef { url, pin }) => {
                    let object = self.open_object(url, pin.as_ref()).await?;
                    let info = object.info();
                    keyed &= info.etag.is_some();
                    key.object(url, info.etag.as_deref().unwrap_or_default(), info.size);
                    info.content_type.iter().for_each(|media_type| key.media_type(media_type));
                    sandbox::Argument::Object(Arc::new(object))
                }
            });
        }
        Ok(Inputs { arguments, key: key.finish(), keyed, bytes })
    }

    async fn open_object(&self, url: &str, pin: Option<&Pin>) -> Result<objects::Object, objects::Error> {
        let malformed = |error: objects::Malformed| objects::Error { fault: InputFault::Malformed, message: error.to_string() };
        let address = Address::parse(url, std::path::Path::new("/")).map_err(malformed)?;
        self.objects.open(&address, pin).await
    }
}

fn has_objects(task: &Task) -> bool {
    task.arguments.iter().any(|argument| matches!(argument, Argument::Object(_)))
}

fn bill(ended: &Ended, began: Instant, opening: Duration, bytes: u64) -> Bill {
    Bill {
        queue: Duration::ZERO,
        fetch: opening + ended.fetch,
        run: (clock::instant() - began).saturating_sub(ended.fetch),
        cpu: ended.cpu,
        memory_peak: ended.memory_peak,
        bytes_in: ByteSize(bytes + ended.bytes_in),
        bytes_out: ByteSize(ended.result.as_ref().map_or(0, Vec::len) as u64),
        cached: false,
    }
}

/// The ending, as whoever reads it should understand it: a function that could not read its input is not to blame for what it made of that.
fn settle(ended: Ended, input_error: Option<objects::Error>, bill: Bill) -> Attempted {
    let ending = match (ended.result, input_error) {
        (Ok(result), _) => Ending::Completed(result.into()),
        (Err(Why::Failed(Failure::Answer { .. } | Failure::Trapped { .. })), Some(error)) => Ending::Failed(input(error)),
        (Err(why), _) => ending(why),
    };
    Attempted { ending, bill, log: ended.log }
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
        Ending::Completed(result) => ByteSize(result.len() as u64),
        Ending::Failed(_) | Ending::Cancelled => ByteSize(0),
    }
}
