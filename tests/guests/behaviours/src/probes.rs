//! What can be seen of the world outside.

use std::hash::{BuildHasher as _, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Returns the wall clock in seconds since 1970 and the monotonic clock in nanoseconds that it
/// advanced over a little work.
#[sortie_guest::function]
#[expect(
    clippy::disallowed_methods,
    reason = "it shows what a function sees of the clocks"
)]
fn reads_clock() -> (u64, u64) {
    let start = Instant::now();
    black_box((0..1000u64).fold(0, |sum, n| black_box(sum + n)));
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    (
        wall,
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
    )
}

/// Returns 64 bits of what the standard library takes for randomness.
#[sortie_guest::function]
fn reads_random() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// Returns the bits of a NaN that arithmetic makes of a NaN with a payload; canonical is
/// 0x7ff8000000000000.
#[sortie_guest::function]
fn makes_nan() -> u64 {
    let payload = f64::from_bits(black_box(0x7ff4_0000_dead_beef));
    (payload + black_box(1.0)).to_bits()
}

/// Sleeps for `ms` milliseconds.
#[sortie_guest::function]
fn sleeps(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Says whether a file can be opened.
#[sortie_guest::function]
fn opens_file(path: String) -> bool {
    std::fs::File::open(path).is_ok()
}

/// Says what comes of connecting to a TCP address: `connected`, or the kind of error.
#[sortie_guest::function]
fn connects(address: String) -> String {
    std::net::TcpStream::connect(address).map_or_else(
        |error| format!("{:?}", error.kind()),
        |_| "connected".to_owned(),
    )
}

/// Returns the environment's variables, as `NAME=value`.
#[sortie_guest::function]
fn reads_environment() -> Vec<String> {
    std::env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect()
}
