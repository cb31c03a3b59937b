//! Runs one call of a function: makes its store and instance, hands over its arguments, and says
//! how it ended and what it used.
//!
//! What an instance can use is bounded by `limits`, by the pool it comes from, and by the constants
//! here. What the guest did wrong comes back as an [`Ended`] value; a fault of the host is possible
//! only where the pool is exhausted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sortie_objects::{self as objects, TenantStore};
use sortie_protocol::{ByteSize, Grants, Limit, Limits, Log};
use tracing::Instrument as _;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

use super::bindings::handler;
use super::failure::Why;
use super::imports::handles::{Handle, ObjectsCtx, ObjectsView as _, OutputsCtx, Prefix};
use super::imports::log::LogBuffer;
use super::imports::sockets::SocketsCtx;
use super::imports::tasks::TasksCtx;
use super::imports::wasi::clocks::ClocksCtx;
use super::imports::wasi::random::RandomCtx;
use super::imports::{Makes, Returned};
use super::limits::{MemoryLimiter, Watch};
use super::link::Linked;
use super::state::{State, VirtualEnv};
use crate::engine::Engine;

/// Entries in a task's resource table: streams, pollables, handles.
const TABLE_ENTRIES_MAX: usize = 4096;
/// What arguments of one host call may weigh: a write of 8 MiB is the largest.
const HOSTCALL_BYTES_MAX: usize = 8 << 20;
/// What an answer may weigh beyond the bytes of its result.
const RESULT_OVERHEAD_BYTES: usize = 64 << 10;

/// One argument as the sandbox takes it.
#[derive(Debug)]
pub(crate) enum Argument {
    Value(Bytes),
    Object(objects::Object),
    Prefix(objects::Prefix),
    Objects(Vec<objects::Object>),
}

impl Argument {
    /// The objects in it.
    pub(crate) fn objects(&self) -> &[objects::Object] {
        match self {
            Self::Object(object) => std::slice::from_ref(object),
            Self::Objects(objects) => objects,
            Self::Value(_) | Self::Prefix(_) => &[],
        }
    }
}

/// One call to be made.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) function: &'a str,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) limits: &'a Limits,
    pub(crate) grants: &'a Grants,
    /// What randomness follows from, where it is not granted.
    pub(crate) seed: [u8; 32],
    /// Ends the call early, and measures it.
    pub(crate) watch: Arc<Watch>,
    /// Where the objects go that it makes, if anywhere.
    pub(crate) output_store: Option<TenantStore>,
    /// Whether it makes subtasks.
    pub(crate) makes: Makes,
}

/// How a call ended, and what it used.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: Result<Returned, Why>,
    pub(crate) cpu: Duration,
    /// Waiting for objects during the call.
    pub(crate) fetch: Duration,
    pub(crate) memory_peak: ByteSize,
    pub(crate) bytes_in: u64,
    pub(crate) log: Option<Box<Log>>,
    /// An object could not be read, whatever the guest made of it.
    pub(crate) input_error: Option<objects::Error>,
    /// Waiting for the output store during the call.
    pub(crate) store: Duration,
    /// Bytes of the objects that it made.
    pub(crate) output_bytes: u64,
    /// An object could not be made, whatever the guest made of it.
    pub(crate) output_error: Option<objects::WriteError>,
    /// It made subtasks.
    pub(crate) has_made: bool,
    /// It could not make any, or did not hear of them: its failure says nothing of this machine.
    pub(crate) is_not_made: bool,
}

/// Run one call in an instance of its own.
pub(crate) async fn run(engine: &Engine, linked: &Linked, call: Call<'_>) -> Ended {
    let watch = call.watch.clone();
    let limits = call.limits;
    let mut store = new_store(engine, &call);
    let outcome = {
        let entering = pin!(enter(&mut store, linked, call));
        watch.metered(entering).await
    };
    let mut result =
        outcome.unwrap_or_else(|error| Err(Why::from_error(&error, store.data(), limits)));
    if matches!(&result, Ok(Returned::Value(bytes)) if bytes.len() as u64 > limits.result.as_u64())
    {
        result = Err(Why::at(Limit::Result(limits.result)));
    }
    let state = store.data_mut();
    Ended {
        result,
        cpu: watch.cpu(),
        fetch: state.objects.fetch,
        memory_peak: state.limiter.peak(),
        bytes_in: state.objects.bytes_in,
        log: state.log.take(),
        input_error: state.objects.error.take(),
        store: state.outputs.waited,
        output_bytes: state.outputs.bytes,
        output_error: state.outputs.error.take(),
        has_made: state.tasks.has_made(),
        is_not_made: state.tasks.is_not_made,
    }
}

/// The store of one call.
pub(super) fn new_store(engine: &Engine, call: &Call<'_>) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(TABLE_ENTRIES_MAX);
    let state = State {
        table,
        limiter: MemoryLimiter::new(call.limits.memory),
        watch: call.watch.clone(),
        objects: ObjectsCtx::new(call.limits),
        outputs: OutputsCtx::new(call.output_store.clone(), call.limits.output_bytes),
        tasks: TasksCtx::new(call.makes.clone()),
        log: LogBuffer::new(call.limits.log),
        virtual_env: VirtualEnv {
            clocks: ClocksCtx::new(call.grants),
            random: RandomCtx::new(call.grants, call.seed),
            filesystem: WasiFilesystemCtx::default(),
            sockets: SocketsCtx::default(),
        },
    };
    let mut store = Store::new(&engine.inner, state);
    store.limiter(|state| &mut state.limiter);
    let result_bytes = call.limits.result.as_usize();
    let result_bytes = result_bytes.saturating_add(RESULT_OVERHEAD_BYTES);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX.max(result_bytes));
    store.set_max_component_handles(TABLE_ENTRIES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(on_tick);
    store
}

/// On every tick: end the attempt if it must end, else yield, so that other tasks get the core.
/// Reads nothing but the state.
fn on_tick(context: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    context.data().watch.check().map_err(wasmtime::Error::new)?;
    Ok(UpdateDeadline::Yield(1))
}

/// The call itself. Its time on a core is charged to the task.
async fn enter(
    store: &mut Store<State>,
    linked: &Linked,
    call: Call<'_>,
) -> wasmtime::Result<Result<Returned, Why>> {
    let task = linked
        .pre
        .instantiate_async(&mut *store)
        .instrument(tracing::debug_span!("instantiate"))
        .await?;
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in call.arguments {
        arguments.push(hand_over(store.data_mut(), argument)?);
    }
    let answer = task
        .sortie_task_handler()
        .call_call(&mut *store, call.function, &arguments)
        .instrument(tracing::debug_span!("run"))
        .await?;
    match answer {
        Ok(returned) => {
            let returned = store.data_mut().objects().returned(returned).await?;
            Ok(returned.map_err(Why::Failed))
        }
        Err(failure) => Ok(Err(Why::answered(failure))),
    }
}

/// An argument as the function takes it; objects and prefixes become handles.
fn hand_over(state: &mut State, argument: Argument) -> wasmtime::Result<handler::Argument> {
    Ok(match argument {
        Argument::Value(bytes) => handler::Argument::Value(bytes.into()),
        Argument::Object(object) => handler::Argument::Object(handle(state, object)?),
        Argument::Objects(objects) => {
            let handles = objects.into_iter().map(|object| handle(state, object));
            handler::Argument::Objects(handles.collect::<wasmtime::Result<_>>()?)
        }
        Argument::Prefix(prefix) => {
            state.objects.admit()?;
            handler::Argument::Prefix(state.table.push(Prefix::new(prefix))?)
        }
    })
}

fn handle(state: &mut State, object: objects::Object) -> wasmtime::Result<Resource<Handle>> {
    state.objects.admit()?;
    Ok(state.table.push(Handle::new(object))?)
}
