//! The data of a store: what one task has of each interface, its limits, and the table of its
//! handles.
//!
//! Each interface finds its context here through a view. To add an interface, add its context as a
//! field, made when it is first used if that costs anything, and implement its view.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView, WasiFilesystemView};
use wasmtime_wasi::sockets::{WasiSocketsCtxView, WasiSocketsView};

use super::imports::Views;
use super::imports::handles::{ObjectsCtx, ObjectsCtxView, ObjectsView, OutputsCtx};
use super::imports::log::{LogBuffer, LogView};
use super::imports::sockets::SocketsCtx;
use super::imports::tasks::{TasksCtx, TasksCtxView, TasksView};
use super::imports::wasi::TableView;
use super::imports::wasi::cli::{CliCtxView, CliView};
use super::imports::wasi::clocks::{ClocksCtx, ClocksCtxView, ClocksView};
use super::imports::wasi::random::{RandomCtx, RandomView};
use super::limits::{MemoryLimiter, Watch};

/// The data of a task's store.
pub(super) struct State {
    pub(super) table: ResourceTable,
    pub(super) limiter: MemoryLimiter,
    pub(super) watch: Arc<Watch>,
    pub(super) objects: ObjectsCtx,
    pub(super) outputs: OutputsCtx,
    pub(super) tasks: TasksCtx,
    pub(super) log: LogBuffer,
    pub(super) virtual_env: VirtualEnv,
}

/// What stands in for an operating system.
pub(super) struct VirtualEnv {
    pub(super) clocks: ClocksCtx,
    pub(super) random: RandomCtx,
    /// Has no directory.
    pub(super) filesystem: WasiFilesystemCtx,
    pub(super) sockets: SocketsCtx,
}

impl Views for State {}

impl TableView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl ObjectsView for State {
    fn objects(&mut self) -> ObjectsCtxView<'_> {
        ObjectsCtxView {
            objects: &mut self.objects,
            outputs: &mut self.outputs,
            memory: &mut self.limiter,
            watch: &self.watch,
            table: &mut self.table,
        }
    }
}

impl TasksView for State {
    fn tasks(&mut self) -> TasksCtxView<'_> {
        TasksCtxView {
            tasks: &mut self.tasks,
            objects: &mut self.objects,
            memory: &mut self.limiter,
            watch: &self.watch,
            table: &mut self.table,
        }
    }
}

impl LogView for State {
    fn log(&mut self) -> &mut LogBuffer {
        &mut self.log
    }
}

impl ClocksView for State {
    fn clocks(&mut self) -> ClocksCtxView<'_> {
        ClocksCtxView {
            ctx: &mut self.virtual_env.clocks,
            watch: &self.watch,
            table: &mut self.table,
        }
    }
}

impl RandomView for State {
    fn random(&mut self) -> &mut RandomCtx {
        &mut self.virtual_env.random
    }
}

impl CliView for State {
    fn cli(&mut self) -> CliCtxView<'_> {
        CliCtxView {
            log: &self.log,
            table: &mut self.table,
        }
    }
}

impl WasiFilesystemView for State {
    fn filesystem(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView {
            ctx: &mut self.virtual_env.filesystem,
            table: &mut self.table,
        }
    }
}

impl WasiSocketsView for State {
    fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        self.virtual_env.sockets.view(&mut self.table)
    }
}
