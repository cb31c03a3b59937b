//! The settings of the WebAssembly engine: the only place that makes a `wasmtime::Config`.
//!
//! Compiling and running use the same configuration, so that what one process compiled another can
//! load. What it decides:
//! - Instances come from a pool, with copy-on-write memory images, so that a fresh instance for
//!   every task costs tens of microseconds. The pool has an instance for every task that computes
//!   and for every task that waits for other tasks ([`Settings`]): its size is address space, and a
//!   place that is never used costs no memory.
//! - Epochs interrupt guests: compiled code compares a counter at loops and calls, and a clock
//!   thread raises it. Unlike fuel this costs a few percent.
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

use std::num::NonZeroU32;

use sortie_protocol::Limits;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The guest's call stack. Deep enough for recursive parsers (about 10 000 small frames), shallow
/// enough to keep many stacks in memory.
pub const STACK_BYTES: usize = 1 << 20;
/// What a fiber's stack holds beyond the guest's: host functions run there.
const HOST_STACK_BYTES: usize = 512 << 10;
/// Elements in one table; a Rust guest has a few thousand.
const TABLE_ELEMENTS: usize = 100_000;
/// Memory kept by an idle pool slot instead of being given back to the kernel.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;

/// Instances for tasks that wait for tasks of their own, for each task that may compute. One: a
/// worker whose tasks all wait still has an instance for each slot. A waiting instance keeps its
/// memory and its place in the pool, so that more of them need more memory in the worker, too.
const WAITING_PER_RUNNING: u32 = 1;
/// Instances in which components describe themselves while all others are taken.
const DESCRIBING: u32 = 1;

/// Sizes of an engine's instance pool.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Instances for tasks that compute: as many as a worker has slots.
    pub running: NonZeroU32,
    /// Instances for tasks that wait for tasks of their own. They come on top of those that
    /// compute: if both shared a number, tasks that all wait would leave none for what they wait
    /// for, and the worker would stand still.
    pub waiting: u32,
    /// How pooled memories are reset.
    pub paging: Paging,
}

impl Settings {
    /// The settings of an engine for `running` tasks at once, with as many instances again for
    /// tasks that wait.
    #[must_use]
    pub fn of(running: NonZeroU32, paging: Paging) -> Self {
        Self {
            running,
            waiting: running.get().saturating_mul(WAITING_PER_RUNNING),
            paging,
        }
    }

    /// Instances that may live at once. Each reserves about 8 GiB of address space, not memory.
    #[must_use]
    pub fn instances(&self) -> u32 {
        let tasks = self.running.get().saturating_add(self.waiting);
        tasks.saturating_add(DESCRIBING)
    }
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

/// The configuration of every engine that runs functions.
pub(super) fn config(settings: Settings) -> Config {
    let mut config = compiling();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
    config
}

/// The configuration of an engine that only compiles: what shapes code, and no pool, which takes
/// more address space than a compiler may have.
pub(super) fn compiling() -> Config {
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
        .generate_address_map(true);
    config
}

fn pool(settings: Settings) -> PoolingAllocationConfig {
    let instances = settings.instances();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_an_instance_for_every_task_even_if_all_slots_wait() {
        let running = NonZeroU32::new(4).unwrap();
        let settings = Settings::of(running, Paging::Discard);
        assert_eq!(settings.instances(), 4 + 4 + 1);
        let largest = Settings::of(NonZeroU32::MAX, Paging::Discard);
        assert_eq!(largest.instances(), u32::MAX);
    }
}
