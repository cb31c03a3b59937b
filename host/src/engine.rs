//! The one wasmtime engine of a process.
//!
//! `config` is the only constructor of a `wasmtime::Config`; compiling and running use the same.
//! What it decides:
//! - Instances come from a pool, with copy-on-write memory images, so that a fresh instance for
//!   every task costs tens of microseconds.
//! - Epochs interrupt guests: compiled code compares a counter at loops and calls, and a thread of
//!   its own raises the counter every [`TICK`]. Unlike fuel this costs a few percent, and a guest
//!   that never calls the host is still stopped within two ticks.
//! - NaNs are canonical and relaxed SIMD is deterministic, so equal tasks have equal results on
//!   every machine.
//! - Proposals that functions do not need (threads, garbage collection, exceptions, 64-bit
//!   memories, component-model async) are off: most of wasmtime's security advisories of 2026 are
//!   in them. Their crate features stay compiled in, because builds without them have had bugs of
//!   their own.
//!
//! Resetting a pooled memory by the kernel's page map (`PAGEMAP_SCAN`) makes a task several times
//! cheaper, but in this version of wasmtime it misses pages that were swapped out, and the next
//! task would see them. It is used only where swap is impossible: see [`Paging`].
//!
//! One engine per process: artifacts and types of two engines must not meet.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use sortie_protocol::Limits;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::sandbox::Linker;

/// How often guests are looked at: a timeout or a cancellation stops one within two ticks.
pub const TICK: Duration = Duration::from_millis(10);
/// The guest's call stack. Deep enough for recursive parsers (about 10 000 small frames), shallow
/// enough to keep many stacks in memory.
pub const STACK_BYTES: usize = 1 << 20;
/// What a fiber's stack holds beyond the guest's: host functions run there.
const HOST_STACK_BYTES: usize = 512 << 10;
/// Elements in one table; a Rust guest has a few thousand.
const TABLE_ELEMENTS: usize = 100_000;
/// Memory kept by an idle pool slot instead of being given back to the kernel.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// What an engine is made for.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Instances that may live at once. Each reserves about 8 GiB of address space, not memory.
    pub instances: NonZeroU32,
    /// How pooled memories are reset.
    pub paging: Paging,
}

/// How pooled memories are reset between tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// By the kernel's list of touched pages, where the kernel has it (Linux 6.7): fast, sound only
    /// where no page can be swapped out.
    Scan,
    /// By giving all pages back: slower, always sound.
    Discard,
}

impl Paging {
    /// The fastest way that is sound here: [`Paging::Scan`] where the kernel has it and neither the
    /// system nor this process's control group can swap. What cannot be found out counts as
    /// swap. Adding swap to a system while a host runs on it is not noticed: restart the host.
    #[must_use]
    pub fn detect() -> Self {
        let swaps = std::fs::read_to_string("/proc/swaps")
            .map(|text| text.lines().count() > 1)
            .unwrap_or(true);
        let group_swaps = || {
            let group = std::fs::read_to_string("/proc/self/cgroup").ok()?;
            let path = group.lines().find_map(|line| line.strip_prefix("0::"))?;
            let max =
                std::fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.swap.max")).ok()?;
            Some(max.trim() != "0")
        };
        let swap_possible = swaps && group_swaps().unwrap_or(true);
        if swap_possible {
            Self::Discard
        } else {
            Self::Scan
        }
    }
}

/// The engine, its clock thread and its linker. Dropping it stops the clock.
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) linker: Linker,
    paging: Paging,
    /// Closes when dropped, which the clock thread takes as the end.
    stop: Option<mpsc::Sender<()>>,
    clock: Option<JoinHandle<()>>,
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// wasmtime refused the configuration, usually because the system lacks address space.
    #[error("failed to make the WebAssembly engine")]
    Engine(#[source] wasmtime::Error),
    /// No thread for the clock.
    #[error("failed to start the engine's clock thread")]
    Clock(#[source] std::io::Error),
}

impl Engine {
    /// Make the engine and start its clock.
    ///
    /// # Errors
    /// When the system denies the address space or the thread.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        tracing::info!(paging = ?settings.paging, instances = settings.instances, "making the WebAssembly engine");
        let inner = wasmtime::Engine::new(&config(settings)).map_err(Error::Engine)?;
        let linker = crate::sandbox::linker(&inner).map_err(Error::Engine)?;
        let (stop, stopped) = mpsc::channel();
        let weak = inner.weak();
        let tick = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                let Some(engine) = weak.upgrade() else { return };
                engine.increment_epoch();
            }
        };
        let clock = std::thread::Builder::new()
            .name("sortie-clock".into())
            .spawn(tick)
            .map_err(Error::Clock)?;
        Ok(Self {
            inner,
            linker,
            paging: settings.paging,
            stop: Some(stop),
            clock: Some(clock),
        })
    }

    /// Whether its clock runs. Without it no guest is interrupted.
    #[must_use]
    pub fn ticks(&self) -> bool {
        self.clock
            .as_ref()
            .is_some_and(|clock| !clock.is_finished())
    }

    /// How pooled memories are reset.
    #[must_use]
    pub fn paging(&self) -> Paging {
        self.paging
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(clock) = self.clock.take() {
            // The thread only ticks; should it have panicked there is nothing to undo.
            let _ = clock.join();
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("paging", &self.paging)
            .finish_non_exhaustive()
    }
}

/// The configuration of every engine.
fn config(settings: Settings) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .shared_memory(false)
        .wasm_memory64(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(STACK_BYTES)
        .async_stack_size(STACK_BYTES + HOST_STACK_BYTES)
        .memory_init_cow(true)
        .memory_guaranteed_dense_image_size(64 << 20)
        .native_unwind_info(false)
        .generate_address_map(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    config
}

fn pool(settings: Settings) -> PoolingAllocationConfig {
    let instances = settings.instances.get();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        // A Rust component is four core instances, one memory and two tables; a Python component up
        // to 200, 1 and 64.
        .total_core_instances(instances.saturating_mul(32).saturating_add(200))
        .total_memories(instances.saturating_mul(2).saturating_add(32))
        .total_tables(instances.saturating_mul(8).saturating_add(64))
        .max_core_instances_per_component(200)
        .max_memories_per_component(32)
        .max_tables_per_component(64)
        .max_memories_per_module(1)
        .max_tables_per_module(2)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(Limits::MEMORY_MAX.as_usize())
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(match settings.paging {
            Paging::Scan => Enabled::Auto,
            Paging::Discard => Enabled::No,
        });
    pool
}
