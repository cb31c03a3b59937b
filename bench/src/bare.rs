//! The floor: wasmtime alone, instantiating, calling and dropping the same guest on a number of threads.
//!
//! The engine is configured for speed as a careful embedder would (pooling, copy-on-write, page-map scanning, epochs that never fire), with
//! wasmtime-wasi's own linker and a fresh WASI context per instance. No queue, no limits, no bill.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod generated {
    wasmtime::component::bindgen!({ path: "../wit/sortie-task", world: "task" });
}

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Run `function`, which takes nothing, for `duration` on `threads` threads; says how many calls were made and how long they took.
pub fn run(component: &[u8], function: &str, threads: usize, duration: Duration) -> Result<(u64, Duration)> {
    let engine = Engine::new(&config(threads))?;
    let component = Component::from_binary(&engine, component)?;
    let mut linker = Linker::<State>::new(&engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    // The measured function calls none of the contract's imports.
    linker.define_unknown_imports_as_traps(&component)?;
    let pre = generated::TaskPre::new(linker.instantiate_pre(&component)?)?;
    let calls = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let one = || -> Result<()> {
            while began.elapsed() < duration {
                let state = State { table: ResourceTable::new(), wasi: WasiCtx::builder().build() };
                let mut store = Store::new(&engine, state);
                store.set_epoch_deadline(u64::MAX / 2);
                let task = pre.instantiate(&mut store)?;
                let answer = task.sortie_task_handler().call_call(&mut store, function, &[])?;
                answer.map_err(|failure| anyhow::anyhow!("the function failed: {}", failure.message))?;
                calls.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for thread in running {
            thread.join().ok().context("a measuring thread panicked")??;
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
    config.concurrency_support(false).epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
