//! Sockets: linked, because C libraries for WASI import them whether used or not, and refused.
//!
//! The context allows no use of the network, and wasmtime-wasi asks it before it makes a socket or
//! resolves a name: a guest that tries gets `access-denied`, which its standard library reports as
//! "permission denied".

use wasmtime::component::Linker;
use wasmtime_wasi::p2::bindings::sockets::{
    instance_network, ip_name_lookup, network, tcp, tcp_create_socket, udp, udp_create_socket,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView};

use super::State;

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    network::add_to_linker::<State, WasiSockets>(linker, &network::LinkOptions::default(), view)?;
    instance_network::add_to_linker::<State, WasiSockets>(linker, view)?;
    ip_name_lookup::add_to_linker::<State, WasiSockets>(linker, view)?;
    tcp::add_to_linker::<State, WasiSockets>(linker, view)?;
    tcp_create_socket::add_to_linker::<State, WasiSockets>(linker, view)?;
    udp::add_to_linker::<State, WasiSockets>(linker, view)?;
    udp_create_socket::add_to_linker::<State, WasiSockets>(linker, view)
}

/// The context that denies everything, made when a guest first asks: hardly any does.
fn view(state: &mut State) -> WasiSocketsCtxView<'_> {
    WasiSocketsCtxView {
        ctx: state.no_sockets.get_or_insert_default(),
        table: &mut state.table,
    }
}
