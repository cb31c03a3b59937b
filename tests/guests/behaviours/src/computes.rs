//! Processor time and stack.

use std::hint::black_box;

/// Loops for ever without calling the host.
#[sortie_guest::function]
fn spins_forever() {
    let mut round = 0u64;
    loop {
        round = black_box(round.wrapping_add(1));
    }
}

/// Does `iterations` rounds of arithmetic and returns the result.
#[sortie_guest::function]
fn spins_for(iterations: u64) -> u64 {
    // A linear congruential generator: each round needs the one before. The compiler knows how to
    // take several at once, unless told not to look.
    (0..iterations).fold(1, |state: u64, _| {
        black_box(
            state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407),
        )
    })
}

/// Calls itself until the stack of calls ends. The frames hold nothing that lies in memory.
#[sortie_guest::function]
fn overflows_stack() -> u64 {
    deeper(0, black_box(u64::MAX))
}

/// Calls itself until the part of memory that holds frames ends, which a host sees as an access out
/// of bounds.
#[sortie_guest::function]
fn overflows_stack_memory() -> u64 {
    wider(0, black_box(u64::MAX))
}

/// The result is used in a way that cannot be turned into a loop.
#[inline(never)]
fn deeper(depth: u64, bottom: u64) -> u64 {
    if depth == bottom {
        0
    } else {
        (deeper(depth + 1, bottom) ^ depth).rotate_left(1)
    }
}

/// As `deeper`, and every frame holds an array that must exist.
#[inline(never)]
fn wider(depth: u64, bottom: u64) -> u64 {
    let frame = black_box([depth; 512]);
    if depth == bottom {
        0
    } else {
        wider(depth + 1, bottom) ^ frame.iter().fold(0u64, |sum, n| n ^ sum.rotate_left(1))
    }
}
