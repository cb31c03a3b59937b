//! Sockets: linked, because C libraries for WASI import them whether used or not, and refused.
//!
//! The context allows no use of the network, and wasmtime-wasi asks it before it makes a socket or
//! resolves a name: a function that tries gets `access-denied`, which its standard library reports
//! as "permission denied".

use wasmtime::component::ResourceTable;
use wasmtime_wasi::sockets::{WasiSocketsCtx, WasiSocketsCtxView};

/// A task's network: none.
#[derive(Default)]
pub(in crate::sandbox) struct SocketsCtx {
    /// The context that denies everything, made when a function first asks: hardly any does.
    denied: Option<WasiSocketsCtx>,
}

impl SocketsCtx {
    pub(in crate::sandbox) fn view<'a>(
        &'a mut self,
        table: &'a mut ResourceTable,
    ) -> WasiSocketsCtxView<'a> {
        WasiSocketsCtxView {
            ctx: self.denied.get_or_insert_default(),
            table,
        }
    }
}
