//! Memory and handles.

use std::hint::black_box;

use sortie_guest::{Failure, Object};

/// What one step of a growing guest takes.
const STEP_BYTES: usize = 1 << 20;

/// Allocates and touches memory until it is ended, or fails with `out-of-memory` when memory is
/// refused.
#[sortie_guest::function]
fn grows_memory() -> Result<(), Failure> {
    let mut blocks = Vec::new();
    loop {
        let mut block = Vec::new();
        if block.try_reserve_exact(STEP_BYTES).is_err() {
            return Err(Failure::new(
                "out-of-memory",
                format!("after {} MiB", blocks.len()),
            ));
        }
        block.resize(STEP_BYTES, 1u8);
        blocks.push(black_box(block));
    }
}

/// Allocates `bytes`, touches every page and returns how many were touched.
#[sortie_guest::function]
fn allocates(bytes: u64) -> Result<u64, Failure> {
    let len = usize::try_from(bytes).map_err(|error| Failure::new("out-of-memory", error))?;
    let mut block = Vec::new();
    block
        .try_reserve_exact(len)
        .map_err(|error| Failure::new("out-of-memory", error))?;
    block.resize(len, 1u8);
    Ok(black_box(block)
        .iter()
        .step_by(4096)
        .map(|&byte| u64::from(byte))
        .sum())
}

/// Opens readers of an object for ever and closes none.
#[sortie_guest::function]
fn leaks_handles(object: Object) {
    loop {
        std::mem::forget(object.reader());
    }
}
