//! Measures how much memory a decoder allocates at once.

/// The result of `run`, and the most bytes that it had allocated at the same time. While a buffer
/// grows, the old one and the new one count.
pub(crate) fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let mut result = None;
    let allocated = allocation_counter::measure(|| result = Some(run()));
    let bytes = usize::try_from(allocated.bytes_max).unwrap_or(usize::MAX);
    (result.expect("the closure was called"), bytes)
}

/// Panics unless so many bytes are within a multiple of the input, with some room for errors and
/// buffers.
#[track_caller]
pub(crate) fn at_most(bytes: usize, input: &[u8], factor: usize) {
    const ROOM: usize = 64 << 10;
    let max = factor * input.len() + ROOM;
    assert!(
        bytes <= max,
        "{bytes} bytes were allocated for an input of {} bytes; at most {max} are expected",
        input.len()
    );
}
