//! Opens a task's inputs: pins their versions, looks the task up in the memo, fetches what its
//! function reads first.
//!
//! A task that needs nothing from outside of this process is ready at once, without a timer and
//! without a switch of tasks.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::FuturesOrdered;
use sortie_objects::{self as objects, values};
use sortie_protocol::job::Memo as MemoOption;
use sortie_protocol::memo::{Key, KeyBuilder};
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{
    Address, Argument, Bill, BrokerRef, ByteSize, Ending, Failure, ObjectRef, Output, Place,
    StoredRef, Task,
};
use tracing::Instrument as _;

use super::attempted::Attempted;
use super::context::{Attempt, Host, JobContext};
use super::place::placed;
use crate::clock;
use crate::kept;
use crate::memo::{self, Memo};
use crate::sandbox::{self, Watch, Why};

/// How many objects of one list are opened at the same time.
const OPENED_AT_ONCE: usize = 16;

/// A task that can run without waiting, or that need not run at all.
#[derive(Debug)]
pub(crate) enum Prepared {
    /// Its inputs are open, and the first blocks that were asked for ahead are here.
    Ready(Ready),
    /// It ended while it was prepared: its result is known, an input cannot be opened, or it was
    /// cancelled.
    Ended(Box<Attempted>),
}

impl Prepared {
    /// A task that is not run any more.
    pub(crate) fn cancelled() -> Self {
        Self::ended(Why::Cancelled, Duration::ZERO)
    }

    /// A task whose inputs cannot be read.
    pub(crate) fn failed(host: &Host, error: objects::Error) -> Self {
        Self::ended(Why::Failed(host.unread(error)), Duration::ZERO)
    }

    fn ended(why: Why, fetch: Duration) -> Self {
        Self::Ended(Box::new(Attempted::before_run(why, fetch)))
    }
}

/// A task whose inputs are open.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(super) inputs: Inputs,
    /// How long opening them took.
    pub(super) fetch: Duration,
}

impl Ready {
    /// Whether all that was asked for ahead is here.
    pub(crate) fn is_ripe(&self) -> bool {
        self.objects().all(objects::Object::is_prefetched)
    }

    fn objects(&self) -> impl Iterator<Item = &objects::Object> {
        self.inputs
            .arguments
            .iter()
            .flat_map(sandbox::Argument::objects)
    }
}

/// A task's arguments, opened, and its key where its result follows from them.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) arguments: Vec<sandbox::Argument>,
    pub(super) key: Key,
    /// Whether all that the task does follows from the key.
    pub(super) is_settled: bool,
    /// Whether its result may be kept under the key.
    pub(super) keyed: bool,
    pub(super) bytes: u64,
    pub(super) has_objects: bool,
}

/// Do what a task needs before it computes: open its inputs, look it up in the memo, ask for what
/// its function reads first, and wait for the first of that. Cancel safe.
pub(crate) async fn prepare(host: &Host, attempt: &Attempt, task: &Task) -> Prepared {
    let limits = &attempt.context.options().limits;
    let watch = Watch::new(attempt.cancel.clone(), limits);
    let began = clock::instant();
    let since = |waits: bool| {
        if waits {
            clock::instant() - began
        } else {
            Duration::ZERO
        }
    };
    let fetch = || since(waits_for(host, &attempt.context, task));
    let span = tracing::debug_span!(parent: &attempt.span, "fetch");
    let gathering = pin!(gather(host, &attempt.context, task));
    match watch.bound_if_slow(gathering.instrument(span)).await {
        // A lookup in the memo that found nothing is not billed to the task.
        Ok(Ok(Gathered::Inputs(inputs))) => Prepared::Ready(Ready {
            inputs,
            fetch: since(has_objects(task)),
        }),
        Ok(Ok(Gathered::Known(entry))) => Prepared::Ended(Box::new(known(entry, fetch()))),
        Ok(Err(failure)) => Prepared::ended(Why::Failed(failure), fetch()),
        Err(stop) => Prepared::ended(Why::from_stop(stop, limits), fetch()),
    }
}

/// Whether preparing a task may wait for something outside of this process.
pub(crate) fn waits_for(host: &Host, context: &JobContext, task: &Task) -> bool {
    let is_shared = host.memo.as_ref().is_some_and(Memo::is_shared);
    has_objects(task) || (is_shared && !context.costs.are_cheap())
}

/// Wait until all that was asked for ahead is here. Cancel safe.
pub(crate) async fn ripen(host: &Host, attempt: &Attempt, ready: Ready) -> Prepared {
    let limits = &attempt.context.options().limits;
    let watch = Watch::after(ready.fetch, attempt.cancel.clone(), limits);
    let began = clock::instant();
    let span = tracing::debug_span!(parent: &attempt.span, "fetch");
    let fetching = futures::future::try_join_all(ready.objects().map(objects::Object::prefetched));
    let fetched = watch.bound_if_slow(fetching.instrument(span)).await;
    let fetch = ready.fetch + (clock::instant() - began);
    match fetched {
        Ok(Ok(_)) => Prepared::Ready(Ready { fetch, ..ready }),
        Ok(Err(error)) => Prepared::ended(Why::Failed(host.unread(error)), fetch),
        Err(stop) => Prepared::ended(Why::from_stop(stop, limits), fetch),
    }
}

/// A task's inputs, or its result.
enum Gathered {
    Known(memo::Entry),
    Inputs(Inputs),
}

/// An argument that is open.
enum Opened<'a> {
    Value(Bytes),
    /// With the address that it was named by.
    Object(&'a Address, objects::Object),
    /// With the place that it was named by.
    Prefix(&'a Place, objects::Prefix),
    /// Each with the reference that names it.
    Objects(&'a [ObjectRef], Vec<objects::Object>),
}

/// Open the inputs, derive the key, look it up; where nothing is known, ask for what is read first.
/// Waits only for objects and the memo.
async fn gather(host: &Host, context: &JobContext, task: &Task) -> Result<Gathered, Failure> {
    let options = context.options();
    let handles = task.arguments.iter().map(handles).sum();
    if handles >= options.limits.handles() {
        return Err(too_many(handles, options.limits.handles()));
    }
    let mut is_settled = options.grants.deterministic();
    let mut key = context.key.clone();
    let mut bytes = 0;
    let mut opened = Vec::with_capacity(task.arguments.len());
    for argument in &task.arguments {
        let argument = open(host, context, argument, options.limits.memory).await?;
        match &argument {
            Opened::Value(value) => {
                key.value(value);
                bytes += value.len() as u64;
            }
            Opened::Object(address, object) => is_settled &= add_to_key(&mut key, address, object),
            Opened::Objects(named, objects) => {
                key.list(objects.len());
                for (named, object) in named.iter().zip(objects) {
                    is_settled &= add_to_key(&mut key, &named.address, object);
                }
            }
            // The objects below it can change without a change of its name.
            Opened::Prefix(place, _) => {
                is_settled = false;
                key.prefix(place);
            }
        }
        opened.push(argument);
    }
    let key = key.finish();
    let keyed = is_settled && host.memo.is_some() && options.memo == MemoOption::Use;
    if keyed && let Some(mut entry) = look_up(host, context, &key).await {
        if let Ending::Completed(Output::Value(value)) = entry.ending {
            entry.ending = Ending::Completed(placed(host, context, task.index, value).await?);
        }
        return Ok(Gathered::Known(entry));
    }
    let mut arguments = Vec::with_capacity(opened.len());
    for opened in opened {
        arguments.push(match opened {
            Opened::Value(value) => sandbox::Argument::Value(value),
            Opened::Object(_, mut object) => {
                prefetch(host, &mut object).await?;
                sandbox::Argument::Object(object)
            }
            Opened::Prefix(_, prefix) => sandbox::Argument::Prefix(prefix),
            Opened::Objects(_, mut objects) => {
                // Which of them are read at once is not known: most often the first.
                if let Some(first) = objects.first_mut() {
                    prefetch(host, first).await?;
                }
                sandbox::Argument::Objects(objects)
            }
        });
    }
    Ok(Gathered::Inputs(Inputs {
        arguments,
        key,
        is_settled,
        keyed,
        bytes,
        has_objects: has_objects(task),
    }))
}

/// Ask for what is read first of an object.
async fn prefetch(host: &Host, object: &mut objects::Object) -> Result<(), Failure> {
    let asked = object.prefetch().await;
    asked.map(drop).map_err(|error| host.unread(error))
}

/// Add an object to the key. Whether a result can be kept under it: not if the store does not say
/// which version it is.
fn add_to_key(key: &mut KeyBuilder, address: &Address, object: &objects::Object) -> bool {
    let info = object.info();
    key.object(address, info.etag.as_deref().unwrap_or_default(), info.size);
    info.etag.is_some()
}

/// The memo's entry of this key, unless the object that it names has gone from the store.
async fn look_up(host: &Host, context: &JobContext, key: &Key) -> Option<memo::Entry> {
    let memo = host.memo.as_ref()?;
    let name = memo::Name {
        tenant: context.job.key.tenant,
        key,
    };
    let limits = &context.options().limits;
    let found = match memo.get(name, limits, &context.costs).await {
        Some((entry, tier)) if is_stored(context, &entry).await => Some((entry, tier)),
        Some(_) | None => None,
    };
    host.metrics.memo(found.as_ref().map(|(_, tier)| *tier));
    found.map(|(entry, _)| entry)
}

/// Whether the object that an entry names, if it names one, is still in the store.
async fn is_stored(context: &JobContext, entry: &memo::Entry) -> bool {
    let stored = match &entry.ending {
        Ending::Completed(output) => output.stored(),
        Ending::Failed(_) | Ending::Cancelled => None,
    };
    match (stored, &context.store) {
        (None, _) => true,
        (Some(stored), Some(store)) => store.holds(stored).await,
        (Some(_), None) => false,
    }
}

/// Open an argument. A stored value may have `value_max` bytes.
async fn open<'a>(
    host: &Host,
    context: &JobContext,
    argument: &'a Argument,
    value_max: ByteSize,
) -> Result<Opened<'a>, Failure> {
    Ok(match argument {
        Argument::Value(value) => Opened::Value(value.clone()),
        Argument::Object(named) => Opened::Object(&named.address, open_object(host, named).await?),
        Argument::Objects(list) => Opened::Objects(list, open_list(host, list).await?),
        Argument::Stored(stored) => {
            let store = context.store.as_ref();
            let fetched = values::fetch(&host.objects, store, stored, value_max.as_u64()).await;
            let value = fetched.map_err(|error| values::unfetched("an argument", &error))?;
            Opened::Value(value)
        }
        Argument::AtBroker(kept) => {
            let tenant = context.job.key.tenant;
            let value = kept::value(host.values.as_ref(), tenant, *kept, value_max).await?;
            Opened::Value(value)
        }
        Argument::Prefix(place) => {
            let opened = host.objects.prefix(place).await;
            Opened::Prefix(place, opened.map_err(|error| host.unread(error))?)
        }
    })
}

async fn open_object(host: &Host, named: &ObjectRef) -> Result<objects::Object, Failure> {
    let opening = host.objects.open(&named.address, named.pin.as_ref());
    opening.await.map_err(|error| host.unread(error))
}

/// The objects of a list, some of them at a time.
async fn open_list(host: &Host, list: &[ObjectRef]) -> Result<Vec<objects::Object>, Failure> {
    let mut objects = Vec::with_capacity(list.len());
    let mut opening = FuturesOrdered::new();
    for named in list {
        if opening.len() >= OPENED_AT_ONCE {
            objects.extend(opening.try_next().await?);
        }
        opening.push_back(open_object(host, named));
    }
    while let Some(object) = opening.try_next().await? {
        objects.push(object);
    }
    Ok(objects)
}

/// How many handles an argument becomes.
fn handles(argument: &Argument) -> usize {
    match argument {
        Argument::Prefix(_) => 1,
        argument => argument.objects().len(),
    }
}

/// The failure of a task whose memory limit does not pay for the objects that it is given.
fn too_many(given: usize, allowed: usize) -> Failure {
    Failure::Input {
        fault: InputFault::Malformed,
        message: format!(
            "the arguments have {given} objects, which need as many handles; with this memory \
             limit a task has {allowed}, and some are for reading"
        ),
    }
}

/// The bytes of a task's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sizes {
    /// Of those that came with the task.
    pub(crate) inline: u64,
    /// Of those that are fetched as a whole before it runs.
    pub(crate) stored: u64,
}

/// How large a task's arguments are, as the task says. What is fetched is checked against that.
pub(crate) fn sizes(task: &Task) -> Sizes {
    let mut sizes = Sizes::default();
    for argument in &task.arguments {
        match argument {
            Argument::Value(value) => sizes.inline += value.len() as u64,
            Argument::Stored(StoredRef { size, .. })
            | Argument::AtBroker(BrokerRef { size, .. }) => {
                sizes.stored = sizes.stored.saturating_add(*size);
            }
            Argument::Object(_) | Argument::Objects(_) | Argument::Prefix(_) => {}
        }
    }
    sizes
}

fn has_objects(task: &Task) -> bool {
    task.arguments.iter().any(|argument| match argument {
        Argument::Object(_)
        | Argument::Objects(_)
        | Argument::Stored(_)
        | Argument::AtBroker(_) => true,
        Argument::Value(_) | Argument::Prefix(_) => false,
    })
}

/// How a task ended whose result was known after `fetch` of looking it up.
fn known(entry: memo::Entry, fetch: Duration) -> Attempted {
    let size = match &entry.ending {
        Ending::Completed(output) => output.size(),
        Ending::Failed(_) | Ending::Cancelled => 0,
    };
    Attempted {
        ending: entry.ending,
        bill: Bill {
            fetch,
            bytes_out: ByteSize(size),
            cached: true,
            ..Bill::default()
        },
        log: entry.log,
    }
}
