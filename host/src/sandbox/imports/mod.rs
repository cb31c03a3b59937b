//! The interfaces that a component may import, what each needs, and how it is linked.
//!
//! Each interface has a context (what one task has of it), a view (finds the context in the data of
//! a store) and an entry in the table of [`all`]. Only the interfaces that a component imports are
//! linked, and contexts are made when they are first used where making them costs anything: a
//! component does not pay for what it does not import.
//!
//! An interface that is not in the table is refused when the component is loaded. One that needs a
//! grant is linked, and refused for a job that does not give it: see [`Needs`].

pub(super) mod handles;
pub(super) mod log;
mod objects;
mod outputs;
mod prefixes;
pub(super) mod sockets;
pub(super) mod tasks;
pub(super) mod wasi;

use sortie_protocol::Grant;
use wasmtime::component::Linker;
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use wasmtime_wasi::p2::bindings::{cli, filesystem, io};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

pub(crate) use self::outputs::Returned;
pub(crate) use self::tasks::Makes;
use self::wasi::cli::{CliView, HasCli};
use self::wasi::clocks::{ClocksView, HasClocks};
use self::wasi::random::{HasRandom, RandomView};
use self::wasi::{HasTable, TableView};

/// What a task needs so that its component may import an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every task has it. The interface gives no power beyond the arguments, or what it
    /// gives depends on the grants at each call, as with clocks and randomness.
    Nothing,
    /// This grant.
    Grant(Grant),
}

/// An interface that a component may import.
pub(super) struct Import<T: 'static> {
    /// Its name without the version, as in `wasi:io/poll`.
    pub(super) interface: &'static str,
    pub(super) needs: Needs,
    /// Adds its host functions to a linker.
    pub(super) link: Link<T>,
}

type Link<T> = fn(&mut Linker<T>) -> wasmtime::Result<()>;

/// The data of a store in which every interface of the table works.
pub(super) trait Views:
    TableView
    + handles::ObjectsView
    + log::LogView
    + tasks::TasksView
    + ClocksView
    + RandomView
    + CliView
    + WasiFilesystemView
    + WasiSocketsView
    + 'static
{
}

/// Every interface that a component may import. What is not here is never provided.
pub(super) fn all<T: Views>() -> impl Iterator<Item = Import<T>> {
    contract()
        .into_iter()
        .chain(system())
        .chain(command())
        .chain(network_denied())
}

/// An interface that every task has.
const fn free<T: 'static>(interface: &'static str, link: Link<T>) -> Import<T> {
    Import {
        interface,
        needs: Needs::Nothing,
        link,
    }
}

fn contract<T: Views>() -> [Import<T>; 3] {
    [
        free("sortie:task/objects", objects::add_to_linker),
        free("sortie:task/tasks", tasks::add_to_linker),
        free("sortie:task/log", log::add_to_linker),
    ]
}

/// Streams, files, clocks and randomness. Clocks and randomness are virtual without a grant, so
/// importing them needs none.
fn system<T: Views>() -> [Import<T>; 10] {
    [
        free("wasi:io/error", |linker| {
            io::error::add_to_linker::<T, HasTable>(linker, T::table)
        }),
        free("wasi:io/poll", |linker| {
            io::poll::add_to_linker::<T, HasTable>(linker, T::table)
        }),
        free("wasi:io/streams", |linker| {
            io::streams::add_to_linker::<T, HasTable>(linker, T::table)
        }),
        free("wasi:filesystem/types", |linker| {
            filesystem::types::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)
        }),
        free("wasi:filesystem/preopens", |linker| {
            filesystem::preopens::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)
        }),
        free("wasi:clocks/wall-clock", |linker| {
            wall_clock::add_to_linker::<T, HasClocks>(linker, T::clocks)
        }),
        free("wasi:clocks/monotonic-clock", |linker| {
            monotonic_clock::add_to_linker::<T, HasClocks>(linker, T::clocks)
        }),
        free("wasi:random/random", |linker| {
            random::add_to_linker::<T, HasRandom>(linker, T::random)
        }),
        free("wasi:random/insecure", |linker| {
            insecure::add_to_linker::<T, HasRandom>(linker, T::random)
        }),
        free("wasi:random/insecure-seed", |linker| {
            insecure_seed::add_to_linker::<T, HasRandom>(linker, T::random)
        }),
    ]
}

/// Arguments, environment and standard streams.
fn command<T: Views>() -> [Import<T>; 10] {
    [
        free("wasi:cli/environment", |linker| {
            cli::environment::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/exit", |linker| {
            cli::exit::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/stdin", |linker| {
            cli::stdin::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/stdout", |linker| {
            cli::stdout::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/stderr", |linker| {
            cli::stderr::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/terminal-input", |linker| {
            cli::terminal_input::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/terminal-output", |linker| {
            cli::terminal_output::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/terminal-stdin", |linker| {
            cli::terminal_stdin::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/terminal-stdout", |linker| {
            cli::terminal_stdout::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
        free("wasi:cli/terminal-stderr", |linker| {
            cli::terminal_stderr::add_to_linker::<T, HasCli>(linker, T::cli)
        }),
    ]
}

/// Sockets. Every call is denied, so importing them needs no grant.
fn network_denied<T: Views>() -> [Import<T>; 7] {
    [
        free("wasi:sockets/network", |linker| {
            let options = network::LinkOptions::default();
            network::add_to_linker::<T, WasiSockets>(linker, &options, T::sockets)
        }),
        free("wasi:sockets/instance-network", |linker| {
            instance_network::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
        free("wasi:sockets/ip-name-lookup", |linker| {
            ip_name_lookup::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
        free("wasi:sockets/tcp", |linker| {
            tcp::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
        free("wasi:sockets/tcp-create-socket", |linker| {
            tcp_create_socket::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
        free("wasi:sockets/udp", |linker| {
            udp::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
        free("wasi:sockets/udp-create-socket", |linker| {
            udp_create_socket::add_to_linker::<T, WasiSockets>(linker, T::sockets)
        }),
    ]
}
