//! What the guest's standard library finds of an operating system: almost nothing, and the same at
//! every run.
//!
//! Rust's `std` (and other languages' runtimes) import the WASI 0.2 interfaces for environment,
//! streams, clocks, randomness and files. They are provided so that such guests link, and answer so
//! that nothing leaks in: no arguments, no environment, no directory to open a file in, an
//! empty standard input. Sockets are refused, see `sockets`. HTTP is not provided at all; a
//! component that imports it is refused when it is loaded.
//!
//! Clocks and randomness depend on the task's grants:
//! - Without `clock`, time starts at [`VIRTUAL_EPOCH`] and moves by [`VIRTUAL_STEP`] whenever it is
//!   looked at; waiting moves it at once.
//! - Without `random`, random bytes are a BLAKE3 stream keyed by the task's content: equal for
//!   equal tasks, different for others.

use std::time::Duration;

use bytes::Bytes;
use sortie_protocol::Grants;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::{filesystem, io};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, InputStream, Pollable, StreamError, StreamResult,
    subscribe,
};

use super::State;
use super::log::LogStream;
use crate::clock;

/// Where virtual time starts: 2000-01-01T00:00:00Z, in seconds since the Unix epoch.
pub const VIRTUAL_EPOCH: u64 = 946_684_800;
/// How far virtual time moves when it is looked at: enough that loops which wait for time to pass
/// end.
pub const VIRTUAL_STEP: Duration = Duration::from_micros(1);
/// The most random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Everything of WASI that a guest may import.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    io::error::add_to_linker::<State, Table>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<State, Table>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<State, Table>(linker, |state| &mut state.table)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(linker, filesystem_view)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(linker, filesystem_view)?;
    wall_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    monotonic_clock::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    random::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    insecure::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    insecure_seed::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    environment::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    exit::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    stdin::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    stdout::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    stderr::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    terminal_input::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    terminal_output::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    terminal_stdin::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    terminal_stdout::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    terminal_stderr::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

fn filesystem_view(state: &mut State) -> WasiFilesystemCtxView<'_> {
    WasiFilesystemCtxView {
        ctx: &mut state.no_files,
        table: &mut state.table,
    }
}

/// The task's view of time and chance.
#[derive(Debug)]
pub(crate) struct Surroundings {
    grants: Grants,
    /// Virtual time since [`VIRTUAL_EPOCH`].
    elapsed: Duration,
    /// What the stream of random bytes follows from.
    seed: [u8; 32],
    stream: Option<blake3::OutputReader>,
}

impl Surroundings {
    pub(crate) fn new(grants: Grants, seed: [u8; 32]) -> Self {
        Self {
            grants,
            elapsed: Duration::ZERO,
            seed,
            stream: None,
        }
    }

    fn virtual_now(&mut self) -> Duration {
        self.elapsed = self.elapsed.saturating_add(VIRTUAL_STEP);
        self.elapsed
    }

    fn fill(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        if self.grants.random {
            rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
                .map_err(wasmtime::Error::new)?;
        } else {
            let seed = &self.seed;
            self.stream
                .get_or_insert_with(|| blake3::Hasher::new_keyed(seed).finalize_xof())
                .fill(bytes);
        }
        Ok(())
    }

    fn random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        wasmtime::ensure!(
            len <= RANDOM_BYTES_MAX,
            "asked for {len} random bytes at once; at most {RANDOM_BYTES_MAX} are given"
        );
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let since_epoch = if self.surroundings.grants.clock {
            clock::now().since(Default::default())
        } else {
            Duration::from_secs(VIRTUAL_EPOCH) + self.surroundings.virtual_now()
        };
        Ok(wall_clock::Datetime {
            seconds: since_epoch.as_secs(),
            nanoseconds: since_epoch.subsec_nanos(),
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime {
            seconds: 0,
            nanoseconds: VIRTUAL_STEP.subsec_nanos(),
        })
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let elapsed = if self.surroundings.grants.clock {
            clock::instant() - self.started
        } else {
            self.surroundings.virtual_now()
        };
        Ok(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(VIRTUAL_STEP.subsec_nanos()))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = monotonic_clock::Host::now(self)?;
        monotonic_clock::Host::subscribe_duration(self, when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let duration = Duration::from_nanos(duration);
        let timer = if self.surroundings.grants.clock {
            Timer {
                until: clock::instant().checked_add(duration),
                watch: Some(self.watch.clone()),
            }
        } else {
            self.surroundings.elapsed = self.surroundings.elapsed.saturating_add(duration);
            Timer {
                until: None,
                watch: None,
            }
        };
        let timer = self.table.push(timer)?;
        subscribe(&mut self.table, timer)
    }
}

/// A wait. Without a watch it is over already: virtual time has moved.
struct Timer {
    until: Option<std::time::Instant>,
    watch: Option<std::sync::Arc<super::limits::Watch>>,
}

#[async_trait::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let Some(watch) = &self.watch else { return };
        let until = self.until;
        let wait = async {
            match until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        // Ready early when the attempt must end: the next tick then stops the guest.
        let _ = watch.bound(wait).await;
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.surroundings.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.surroundings.random_u64()
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.surroundings.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.surroundings.random_u64()
    }
}

impl insecure_seed::Host for State {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((
            self.surroundings.random_u64()?,
            self.surroundings.random_u64()?,
        ))
    }
}

impl environment::Host for State {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl exit::Host for State {
    fn exit(&mut self, status: Result<(), ()>) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(I32Exit(i32::from(status.is_err()))))
    }

    fn exit_with_code(&mut self, code: u8) -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(I32Exit(code.into())))
    }
}

/// Standard input: at its end from the start.
struct Empty;

#[async_trait::async_trait]
impl Pollable for Empty {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for Empty {
    fn read(&mut self, _size: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

impl stdin::Host for State {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        Ok(self.table.push(Box::new(Empty) as DynInputStream)?)
    }
}

impl stdout::Host for State {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self
            .table
            .push(Box::new(LogStream(self.log.clone())) as DynOutputStream)?)
    }
}

impl stderr::Host for State {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        Ok(self
            .table
            .push(Box::new(LogStream(self.log.clone())) as DynOutputStream)?)
    }
}

impl terminal_input::Host for State {}
impl terminal_input::HostTerminalInput for State {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_output::Host for State {}
impl terminal_output::HostTerminalOutput for State {
    fn drop(
        &mut self,
        terminal: Resource<terminal_output::TerminalOutput>,
    ) -> wasmtime::Result<()> {
        self.table.delete(terminal)?;
        Ok(())
    }
}
impl terminal_stdin::Host for State {
    fn get_terminal_stdin(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}
impl terminal_stdout::Host for State {
    fn get_terminal_stdout(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
impl terminal_stderr::Host for State {
    fn get_terminal_stderr(
        &mut self,
    ) -> wasmtime::Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
