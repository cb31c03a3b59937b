//! The wall round every task.
//!
//! A task gets a fresh `State` and a fresh instance, runs one call, and both are dropped: nothing
//! that one task wrote is there for the next. What an instance can see is what `contract` and
//! `wasi` link and nothing else; what it can use is bounded by `limits`, by the pool it comes from,
//! and by the constants here. After a trap, a timeout or a cancellation the store is never entered
//! again.
//!
//! What the guest did wrong comes back as an `Ended` value. A host error is possible only where the
//! pool is exhausted.

mod contract;
mod limits;
mod log;
mod sockets;
mod wasi;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sortie_protocol::outcome::{CODE_BYTES_MAX, LimitKind, MESSAGE_BYTES_MAX, PlatformFault, cut};
use sortie_protocol::{ByteSize, Failure, Grants, Kind, Limits, Log, Parameter, Signature};
use tracing::Instrument as _;
use wasmtime::component::{Component, ResourceTable};
use wasmtime::{Store, StoreContextMut, Trap, UpdateDeadline};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::sockets::WasiSocketsCtx;

use self::contract::Outputs;
pub(crate) use self::contract::Returned;
pub use self::limits::Cancel;
use self::limits::MemoryLimiter;
pub(crate) use self::limits::{Stop, Watch};
use self::log::LogBuffer;
use self::wasi::Surroundings;
pub use self::wasi::{VIRTUAL_EPOCH, VIRTUAL_STEP};
use crate::clock;
use crate::component::LoadError;
use crate::engine::{Engine, STACK_BYTES};
use sortie_objects as objects;

/// Entries in a task's resource table: streams, pollables, handles.
const TABLE_ENTRIES_MAX: usize = 4096;
/// What arguments of one host call may weigh: a log line, the most.
const HOSTCALL_BYTES_MAX: usize = 8 << 20;

/// How wasmtime's error starts when one call brings more than the host takes. Its type is private
/// there; a test watches the text.
const TOO_MUCH_COPIED: &str = "too much data is being copied";

/// The linker of all components.
pub(crate) type Linker = wasmtime::component::Linker<State>;

/// Everything that a component may import.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)?;
    sockets::add_to_linker(&mut linker)?;
    contract::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// A component linked and checked, ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Prepared {
    pre: contract::TaskPre<State>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// Link a component.
pub(crate) fn prepare(engine: &Engine, component: &Component) -> Result<Prepared, LoadError> {
    let missing = missing_imports(engine, component);
    if !missing.is_empty() {
        return Err(LoadError::Imports(missing));
    }
    let linked = engine
        .linker
        .instantiate_pre(component)
        .map_err(|error| LoadError::Imports(vec![one_line(&error)]))?;
    let pre = contract::TaskPre::new(linked).map_err(|_| LoadError::NoHandler)?;
    Ok(Prepared { pre })
}

/// The imports that no linker entry serves, found one by one so that all are named.
fn missing_imports(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .imports(&engine.inner)
        .filter(|(name, _)| {
            let interface = name.split('@').next().unwrap_or_default();
            !PROVIDED.contains(&interface)
        })
        .map(|(name, _)| format!("`{name}`"))
        .collect()
}

/// The interfaces that [`linker`] serves.
const PROVIDED: [&str; 29] = [
    "sortie:task/objects",
    "sortie:task/log",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:filesystem/types",
    "wasi:filesystem/preopens",
    "wasi:clocks/wall-clock",
    "wasi:clocks/monotonic-clock",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:sockets/network",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What a store holds: the task's view of the world, and what it used.
pub(crate) struct State {
    table: ResourceTable,
    no_files: WasiFilesystemCtx,
    no_sockets: Option<WasiSocketsCtx>,
    limiter: MemoryLimiter,
    surroundings: Surroundings,
    log: LogBuffer,
    watch: Arc<Watch>,
    started: Instant,
    handles: usize,
    fetch: Duration,
    bytes_in: u64,
    input_error: Option<objects::Error>,
    outputs: Outputs,
}

impl State {
    /// Room for one more handle.
    fn admit_handle(&mut self) -> wasmtime::Result<()> {
        wasmtime::ensure!(
            self.handles < contract::HANDLES_MAX,
            "more than {} objects, readers, prefixes, listings and writers at once",
            contract::HANDLES_MAX
        );
        self.handles += 1;
        Ok(())
    }
}

/// One argument as the sandbox takes it.
#[derive(Debug)]
pub(crate) enum Argument {
    Value(Bytes),
    Object(objects::Object),
    Prefix(objects::Prefix),
}

/// One call to be made.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) function: &'a str,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) limits: &'a Limits,
    pub(crate) grants: Grants,
    /// What randomness follows from, where it is not granted.
    pub(crate) seed: [u8; 32],
    /// Ends the call early, and measures it.
    pub(crate) watch: Arc<Watch>,
    /// Where the objects go that it makes, if anywhere.
    pub(crate) store: Option<sortie_objects::OutputStore>,
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
    /// Waiting for the store during the call.
    pub(crate) store: Duration,
    /// Bytes of the objects that it made.
    pub(crate) written: u64,
    /// An object could not be made, whatever the guest made of it.
    pub(crate) output_error: Option<objects::WriteError>,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Why {
    Failed(Failure),
    Cancelled,
}

impl Why {
    /// What a stop means under `limits`.
    pub(crate) fn from_stop(stop: Stop, limits: &Limits) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::WallTime => stopped(LimitKind::WallTime, humane(limits.wall_time)),
            Stop::CpuTime => stopped(LimitKind::CpuTime, humane(limits.cpu_time)),
            Stop::Written => stopped(LimitKind::Written, limits.written.to_string()),
        }
    }
}

/// Run one call in an instance of its own.
pub(crate) async fn run(engine: &Engine, prepared: &Prepared, call: Call<'_>) -> Ended {
    let (watch, limits) = (call.watch.clone(), call.limits);
    let mut store = new_store(engine, &call);
    let outcome = watch.metered(enter(&mut store, prepared, call)).await;
    let mut result = outcome.unwrap_or_else(|error| Err(why(&error, store.data(), limits)));
    if matches!(&result, Ok(Returned::Value(bytes)) if bytes.len() as u64 > limits.result.as_u64())
    {
        result = Err(stopped(LimitKind::Result, limits.result.to_string()));
    }
    let state = store.data_mut();
    Ended {
        result,
        cpu: watch.cpu(),
        fetch: state.fetch,
        memory_peak: state.limiter.peak(),
        bytes_in: state.bytes_in,
        log: state.log.take(),
        input_error: state.input_error.take(),
        store: state.outputs.waited,
        written: state.outputs.written,
        output_error: state.outputs.error.take(),
    }
}

fn new_store(engine: &Engine, call: &Call<'_>) -> Store<State> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(TABLE_ENTRIES_MAX);
    let state = State {
        table,
        no_files: WasiFilesystemCtx::default(),
        no_sockets: None,
        limiter: MemoryLimiter::new(call.limits.memory),
        surroundings: Surroundings::new(call.grants, call.seed),
        log: LogBuffer::new(call.limits.log),
        watch: call.watch.clone(),
        started: clock::instant(),
        handles: 0,
        fetch: Duration::ZERO,
        bytes_in: 0,
        input_error: None,
        outputs: Outputs::new(call.store.clone(), call.limits.written),
    };
    let mut store = Store::new(&engine.inner, state);
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(
        HOSTCALL_BYTES_MAX.max(call.limits.result.as_usize().saturating_add(1 << 16)),
    );
    store.set_max_component_handles(TABLE_ENTRIES_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(on_tick);
    store
}

/// On every tick: end the attempt if it must end, else let others have the core for a moment.
/// Touches nothing but the state.
fn on_tick(context: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    context.data().watch.check().map_err(wasmtime::Error::new)?;
    Ok(UpdateDeadline::Yield(1))
}

/// The call itself: everything here runs on the guest's account.
async fn enter(
    store: &mut Store<State>,
    prepared: &Prepared,
    call: Call<'_>,
) -> wasmtime::Result<Result<Returned, Why>> {
    let instantiating = prepared.pre.instantiate_async(&mut *store);
    let task = instantiating
        .instrument(tracing::debug_span!("instantiate"))
        .await?;
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in call.arguments {
        arguments.push(match argument {
            Argument::Value(bytes) => contract::handler::Argument::Value(bytes.into()),
            Argument::Object(object) => {
                let state = store.data_mut();
                state.admit_handle()?;
                contract::handler::Argument::Object(
                    state.table.push(contract::Handle::new(object))?,
                )
            }
            Argument::Prefix(prefix) => {
                let state = store.data_mut();
                state.admit_handle()?;
                contract::handler::Argument::Prefix(
                    state.table.push(contract::Prefix::new(prefix))?,
                )
            }
        });
    }
    let answer = task
        .sortie_task_handler()
        .call_call(&mut *store, call.function, &arguments)
        .instrument(tracing::debug_span!("run"))
        .await?;
    match answer {
        Ok(returned) => Ok(Ok(store.data_mut().returned(returned)?)),
        Err(failure) => Ok(Err(Why::Failed(answered(failure)))),
    }
}

fn answered(failure: contract::handler::Failure) -> Failure {
    use contract::handler::Retry;
    let retry = match failure.retry {
        Retry::Never => None,
        Retry::After(millis) => Some(Duration::from_millis(millis)),
    };
    Failure::Answer {
        code: cut(failure.code, CODE_BYTES_MAX),
        message: cut(failure.message, MESSAGE_BYTES_MAX),
        retry,
    }
}

fn stopped(limit: LimitKind, allowed: String) -> Why {
    Why::Failed(Failure::Stopped { limit, allowed })
}

/// What an error that ended a call means.
fn why(error: &wasmtime::Error, state: &State, limits: &Limits) -> Why {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return Why::from_stop(*stop, limits);
    }
    if error
        .downcast_ref::<wasmtime::PoolConcurrencyLimitError>()
        .is_some()
    {
        let message = "the worker has no instance free".into();
        return Why::Failed(Failure::Platform {
            fault: PlatformFault::Host,
            message,
        });
    }
    if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
        return stopped(LimitKind::Stack, ByteSize(STACK_BYTES as u64).to_string());
    }
    if state.limiter.refused {
        return stopped(LimitKind::Memory, limits.memory.to_string());
    }
    if error.root_cause().to_string().starts_with(TOO_MUCH_COPIED) {
        return stopped(LimitKind::Result, limits.result.to_string());
    }
    let message = match error.downcast_ref::<I32Exit>() {
        Some(I32Exit(code)) => format!("the function exited with code {code} instead of returning"),
        None => cut(
            state
                .log
                .last_panic()
                .unwrap_or_else(|| trap_message(error)),
            MESSAGE_BYTES_MAX,
        ),
    };
    Why::Failed(Failure::Trapped { message })
}

/// The root of the error, and the innermost guest functions where they are known.
fn trap_message(error: &wasmtime::Error) -> String {
    use std::fmt::Write as _;
    let mut message = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<wasmtime::WasmBacktrace>() {
        let names = backtrace
            .frames()
            .iter()
            .filter_map(|frame| frame.func_name())
            .take(3);
        for (i, name) in names.enumerate() {
            let _ = write!(
                message,
                "{}`{:#}`",
                if i == 0 { " in " } else { " < " },
                rustc_demangle::demangle(name)
            );
        }
    }
    message
}

fn humane(duration: Duration) -> String {
    if duration.subsec_millis() == 0 && duration.as_secs() > 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// An error and its causes in one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let text = error
        .chain()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    cut(text.split_whitespace().collect::<Vec<_>>().join(" "), 500)
}

/// Ask a component what functions it has.
pub(crate) async fn describe(
    engine: &Engine,
    prepared: &Prepared,
) -> Result<Vec<Signature>, String> {
    let limits = crate::component::describe_limits();
    let watch = Arc::new(Watch::new(Arc::default(), &limits));
    let call = Call {
        function: "",
        arguments: Vec::new(),
        limits: &limits,
        grants: Grants::default(),
        seed: [0; 32],
        watch: watch.clone(),
        store: None,
    };
    let mut store = new_store(engine, &call);
    let asking = async {
        let task = prepared.pre.instantiate_async(&mut store).await?;
        task.sortie_task_handler().call_describe(&mut store).await
    };
    let described = watch
        .metered(asking)
        .await
        .map_err(|error| one_line(&error))?;
    let signatures: Vec<Signature> = described.into_iter().map(signature).collect();
    crate::component::check_description(&signatures)?;
    Ok(signatures)
}

fn signature(described: contract::handler::Signature) -> Signature {
    use contract::handler::Kind as K;
    let parameter = |parameter: contract::handler::Parameter| Parameter {
        name: parameter.name,
        kind: match parameter.kind {
            K::Value => Kind::Value,
            K::Object => Kind::Object,
            K::Prefix => Kind::Prefix,
        },
        type_name: parameter.type_name,
    };
    Signature {
        name: described.name,
        doc: described.doc,
        parameters: described.parameters.into_iter().map(parameter).collect(),
        returns: described.returns,
    }
}
