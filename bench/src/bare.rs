//! The floor: wasmtime alone, instantiating, calling and dropping the same guest on a number of
//! threads.
//!
//! The engine is configured for speed as a careful embedder would (pooling, copy-on-write, page-map
//! scanning, epochs that never fire), with wasmtime-wasi's own linker and a fresh WASI context per
//! instance. No queue, no limits, no bill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wasmtime::component::{Component, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/sortie-task",
        world: "task",
        imports: { default: trappable },
    });
}

use generated::sortie::task::{log, objects, tasks};

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// The contract's imports, for linking only: the measured function calls none of them.
fn not_called<T>() -> wasmtime::Result<T> {
    wasmtime::bail!("the measured function must not use the host")
}

impl objects::Host for State {
    fn create(
        &mut self,
        _: Option<String>,
    ) -> wasmtime::Result<Result<Resource<objects::Writer>, objects::WriteError>> {
        not_called()
    }
}

impl objects::HostPrefix for State {
    fn name(&mut self, _prefix: Resource<objects::Prefix>) -> wasmtime::Result<String> {
        not_called()
    }

    fn list(
        &mut self,
        _prefix: Resource<objects::Prefix>,
        _: String,
    ) -> wasmtime::Result<Result<Resource<objects::Listing>, objects::Error>> {
        not_called()
    }

    fn open(
        &mut self,
        _prefix: Resource<objects::Prefix>,
        _: String,
    ) -> wasmtime::Result<Result<Resource<objects::Object>, objects::Error>> {
        not_called()
    }

    fn drop(&mut self, _prefix: Resource<objects::Prefix>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl objects::HostListing for State {
    fn next(
        &mut self,
        _listing: Resource<objects::Listing>,
    ) -> wasmtime::Result<Result<Vec<objects::Entry>, objects::Error>> {
        not_called()
    }

    fn drop(&mut self, _listing: Resource<objects::Listing>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl objects::HostWriter for State {
    fn write(
        &mut self,
        _writer: Resource<objects::Writer>,
        _: Vec<u8>,
    ) -> wasmtime::Result<Result<(), objects::WriteError>> {
        not_called()
    }

    fn finish(
        &mut self,
        _writer: Resource<objects::Writer>,
    ) -> wasmtime::Result<Result<Resource<objects::Output>, objects::WriteError>> {
        not_called()
    }

    fn drop(&mut self, _writer: Resource<objects::Writer>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl objects::HostOutput for State {
    fn digest(&mut self, _output: Resource<objects::Output>) -> wasmtime::Result<String> {
        not_called()
    }

    fn size(&mut self, _output: Resource<objects::Output>) -> wasmtime::Result<u64> {
        not_called()
    }

    fn drop(&mut self, _output: Resource<objects::Output>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl objects::HostObject for State {
    fn info(&mut self, _object: Resource<objects::Object>) -> wasmtime::Result<objects::Info> {
        not_called()
    }

    fn read_at(
        &mut self,
        _object: Resource<objects::Object>,
        _: u64,
        _: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, objects::Error>> {
        not_called()
    }

    fn read(
        &mut self,
        _object: Resource<objects::Object>,
        _: u64,
    ) -> wasmtime::Result<Resource<objects::Reader>> {
        not_called()
    }

    fn drop(&mut self, _object: Resource<objects::Object>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl objects::HostReader for State {
    fn next(
        &mut self,
        _reader: Resource<objects::Reader>,
        _: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, objects::Error>> {
        not_called()
    }

    fn drop(&mut self, _reader: Resource<objects::Reader>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl tasks::Host for State {}

impl tasks::HostGroup for State {
    fn new(&mut self) -> wasmtime::Result<Resource<tasks::Group>> {
        not_called()
    }

    fn spawn(
        &mut self,
        _group: Resource<tasks::Group>,
        _calls: Vec<tasks::Call>,
    ) -> wasmtime::Result<Result<u32, tasks::SpawnError>> {
        not_called()
    }

    fn wait_all(&mut self, _group: Resource<tasks::Group>) -> wasmtime::Result<()> {
        not_called()
    }

    fn next(&mut self, _group: Resource<tasks::Group>) -> wasmtime::Result<Option<u32>> {
        not_called()
    }

    fn result(
        &mut self,
        _group: Resource<tasks::Group>,
        _number: u32,
    ) -> wasmtime::Result<Result<tasks::Answer, tasks::Failure>> {
        not_called()
    }

    fn cancel(&mut self, _group: Resource<tasks::Group>) -> wasmtime::Result<()> {
        not_called()
    }

    fn drop(&mut self, _group: Resource<tasks::Group>) -> wasmtime::Result<()> {
        not_called()
    }
}

impl log::Host for State {
    fn emit(
        &mut self,
        _level: log::Level,
        _target: String,
        _message: String,
    ) -> wasmtime::Result<()> {
        not_called()
    }
}

/// Run `function`, which takes nothing, for `duration` on `threads` threads; says how many calls
/// were made and how long they took.
pub fn run(
    component: &[u8],
    function: &str,
    threads: usize,
    duration: Duration,
) -> Result<(u64, Duration)> {
    let engine = Engine::new(&config(threads))?;
    let component = Component::from_binary(&engine, component)?;
    let mut linker = Linker::<State>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    objects::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    tasks::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    log::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    let pre = generated::TaskPre::new(linker.instantiate_pre(&component)?)?;
    let calls = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let one = || -> Result<()> {
            // At least one call, however late this thread begins.
            loop {
                let state = State {
                    table: ResourceTable::new(),
                    wasi: WasiCtx::builder().build(),
                };
                let mut store = Store::new(&engine, state);
                store.set_epoch_deadline(u64::MAX / 2);
                let task = pre.instantiate(&mut store)?;
                let answer = task
                    .sortie_task_handler()
                    .call_call(&mut store, function, &[])?;
                answer.map_err(|failure| {
                    anyhow::anyhow!("the function failed: {}", failure.message)
                })?;
                calls.fetch_add(1, Ordering::Relaxed);
                if began.elapsed() >= duration {
                    return Ok(());
                }
            }
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for thread in running {
            thread
                .join()
                .ok()
                .context("a measuring thread panicked")??;
        }
        Ok(())
    })?;
    Ok((calls.into_inner(), began.elapsed()))
}

fn config(threads: usize) -> Config {
    let instances = u32::try_from(threads).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * 16)
        .total_memories(instances * 2)
        .total_tables(instances * 8)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_that_is_measured_runs_without_the_host() {
        let guest = std::fs::read(sortie_harness::component("behaviours")).unwrap();
        let (calls, _) = run(&guest, "empty", 2, Duration::from_millis(1)).unwrap();
        assert!(calls > 0);
    }
}
