//! Classifies the error that ended a call: the function's answer, a trap, a limit, a cancellation,
//! or a fault of the host.
//!
//! What a limit or the host did comes first: a guest whose memory could not grow traps, too, and
//! the trap is reported as the limit that it came from.

use std::time::Duration;

use sortie_objects::shortage::has_shortage;
use sortie_protocol::outcome::{CODE_BYTES_MAX, MESSAGE_BYTES_MAX, PlatformFault, cut};
use sortie_protocol::{Backtrace, ByteSize, Failure, Limit, Limits};
use wasmtime::Trap;

use super::bindings::handler::{self, Retry};
use super::imports::tasks::NotMade;
use super::imports::wasi::cli::Exit;
use super::limits::Stop;
use super::state::State;
use crate::engine::STACK_BYTES;
use crate::engine::compile::one_line;

/// How wasmtime's error starts when one call brings more than the host takes. Its type is private
/// there; a test checks the text.
const TOO_MUCH_COPIED: &str = "too much data is being copied";
/// Functions of the guest that a trap's message names, from the innermost.
const NAMED_MAX: usize = 3;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Why {
    Failed(Failure),
    Cancelled,
    /// It is run again when its subtasks have ended.
    Suspended,
}

impl Why {
    /// What a stop means under `limits`.
    pub(crate) fn from_stop(stop: Stop, limits: &Limits) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::WallTime => Self::at(Limit::WallTime(limits.wall_time)),
            Stop::CpuTime => Self::at(Limit::CpuTime(limits.cpu_time)),
            Stop::OutputBytes => Self::at(Limit::OutputBytes(limits.output_bytes)),
            Stop::Suspended => Self::Suspended,
        }
    }

    /// Stopped at a limit.
    pub(super) fn at(limit: Limit) -> Self {
        Self::Failed(Failure::stopped(limit))
    }

    /// The function answered that it failed.
    pub(super) fn answered(failure: handler::Failure) -> Self {
        let retry = match failure.retry {
            Retry::Never => None,
            Retry::After(millis) => Some(Duration::from_millis(millis)),
        };
        Self::Failed(Failure::Answer {
            code: cut(failure.code, CODE_BYTES_MAX),
            message: cut(failure.message, MESSAGE_BYTES_MAX),
            retry,
        })
    }

    /// What an error that ended a call means, and where it was.
    pub(super) fn from_error(error: &wasmtime::Error, state: &State, limits: &Limits) -> Self {
        match Self::classified(error, state, limits) {
            Self::Failed(failure) => Self::Failed(failure.at(backtrace(error))),
            other => other,
        }
    }

    fn classified(error: &wasmtime::Error, state: &State, limits: &Limits) -> Self {
        if let Some(stop) = error.downcast_ref::<Stop>() {
            return Self::from_stop(*stop, limits);
        }
        if let Some(not_made) = error.downcast_ref::<NotMade>() {
            return Self::Failed(Failure::Platform {
                fault: PlatformFault::Host,
                message: not_made.to_string(),
            });
        }
        if is_shortage(error) {
            let text = one_line(error);
            return Self::Failed(Failure::Platform {
                fault: PlatformFault::Host,
                message: format!("this machine is short of something: {text}"),
            });
        }
        if let Some(Trap::StackOverflow) = error.downcast_ref::<Trap>() {
            return Self::at(Limit::Stack(ByteSize(STACK_BYTES as u64)));
        }
        if state.limiter.refused {
            return Self::at(Limit::Memory(limits.memory));
        }
        if error.root_cause().to_string().starts_with(TOO_MUCH_COPIED) {
            return Self::at(Limit::Result(limits.result));
        }
        let message = match error.downcast_ref::<Exit>() {
            Some(exit) => exit.to_string(),
            None => {
                let panic = state.log.last_panic();
                cut(
                    panic.unwrap_or_else(|| trap_message(error)),
                    MESSAGE_BYTES_MAX,
                )
            }
        };
        Self::Failed(Failure::trapped(message))
    }
}

/// Whether an error comes from a shortage of this machine, or of the engine's pool, and not from
/// the guest.
pub(super) fn is_shortage(error: &wasmtime::Error) -> bool {
    error
        .downcast_ref::<wasmtime::PoolConcurrencyLimitError>()
        .is_some()
        || has_shortage(error.chain())
}

/// The root of the error, and the innermost guest functions where they are known.
fn trap_message(error: &wasmtime::Error) -> String {
    use std::fmt::Write as _;
    let mut message = error.root_cause().to_string();
    let calls = backtrace(error);
    for (i, name) in calls.frames().iter().take(NAMED_MAX).enumerate() {
        let _ = write!(message, "{}`{name}`", if i == 0 { " in " } else { " < " });
    }
    message
}

/// The guest's functions that the error went through, as far as their names are known.
fn backtrace(error: &wasmtime::Error) -> Backtrace {
    let frames = error
        .downcast_ref::<wasmtime::WasmBacktrace>()
        .map_or(&[][..], wasmtime::WasmBacktrace::frames);
    let names = frames.iter().filter_map(|frame| frame.func_name());
    Backtrace::of(names.map(|name| format!("{:#}", rustc_demangle::demangle(name))))
}
