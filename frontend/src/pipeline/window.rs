//! Bounds how many inputs are on their way through the functions, by number and by bytes.
//!
//! Results that wait for the next function are in this process, and how large they are is known
//! only when they come. So few inputs are taken at first, and one more with each that ends, up to
//! [`TASKS_MAX`] tasks; but never more than [`BYTES_MAX`] holds of results of the usual size.
//!
//! A call of a reduction counts for as many inputs as it takes results, until it ends: it holds
//! them. What no call takes yet does not count, as only further inputs complete it.

/// How many tasks may be on their way: sixteen of the largest bundles for each of two functions.
/// At about a kilobyte for each task these are 32 MiB.
pub(super) const TASKS_MAX: usize = 32 << 10;
/// How many inputs are taken before one has ended. As many results of 256 KiB, the largest that
/// travel in messages, are [`BYTES_MAX`].
const START: usize = 256;
/// How many bytes of results may be expected to be here at once: as much as arguments may take that
/// wait to be sent.
const BYTES_MAX: u64 = 64 << 20;
/// How much of the mean the latest input makes: one part in so many.
const SMOOTHING: u64 = 16;

/// How many inputs may be on their way.
#[derive(Debug)]
pub(super) struct Window {
    inputs_max: usize,
    out: usize,
    ended: usize,
    /// The mean size of what an input's results take.
    bytes: u64,
}

impl Window {
    /// For inputs that go through so many functions.
    pub(super) fn new(functions: usize) -> Self {
        Self {
            inputs_max: (TASKS_MAX / functions.max(1)).max(1),
            out: 0,
            ended: 0,
            bytes: 0,
        }
    }

    /// Whether another input may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.out < self.limit()
    }

    /// So many inputs, or results that a call takes, are on their way from now on.
    pub(super) fn begin(&mut self, count: usize) {
        self.out = self.out.saturating_add(count);
    }

    /// An input ended, whose results took so many bytes.
    pub(super) fn end(&mut self, bytes: u64) {
        self.ended = self.ended.saturating_add(1);
        let before = if self.ended == 1 { bytes } else { self.bytes };
        let sum = before.saturating_mul(SMOOTHING - 1).saturating_add(bytes);
        self.bytes = sum / SMOOTHING;
        self.end_call(1);
    }

    /// A call ended that took so many results.
    pub(super) fn end_call(&mut self, count: usize) {
        self.out = self.out.saturating_sub(count);
    }

    fn limit(&self) -> usize {
        let by_bytes = usize::try_from(BYTES_MAX / self.bytes.max(1)).unwrap_or(usize::MAX);
        let grown = START.saturating_add(self.ended);
        grown.min(self.inputs_max).min(by_bytes).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many inputs are on their way when all room is taken, after so many ended.
    fn filled(window: &mut Window) -> usize {
        while window.has_room() {
            window.begin(1);
        }
        window.out
    }

    #[test]
    fn the_window_grows_with_what_ended_up_to_its_bound() {
        let mut window = Window::new(2);
        assert_eq!(filled(&mut window), START);
        for _ in 0..100 {
            window.end(10);
        }
        assert_eq!(filled(&mut window), START + 100);
        for _ in 0..1_000_000 {
            window.end(10);
            window.begin(1);
        }
        assert_eq!(filled(&mut window), TASKS_MAX / 2);
    }

    #[test]
    fn large_results_leave_room_for_few_inputs_and_small_ones_give_it_back() {
        let mut window = Window::new(1);
        for _ in 0..10_000 {
            window.begin(1);
            window.end(1 << 20);
        }
        assert_eq!(filled(&mut window), 64);
        for _ in 0..1000 {
            window.end(100);
            window.begin(1);
        }
        assert!(filled(&mut window) > 9000);
        // However large they are, one is on its way.
        for _ in 0..20_000 {
            window.end(u64::MAX);
        }
        assert_eq!((window.out, filled(&mut window)), (0, 1));
    }

    #[test]
    fn a_call_counts_for_what_it_takes_until_it_ends() {
        let mut window = Window::new(1);
        window.begin(START);
        window.begin(1024);
        for _ in 0..START {
            window.end(1);
        }
        assert!(!window.has_room());
        window.end_call(1024);
        assert!(window.has_room());
    }
}
