//! Counts tests by reading what the test runners print about themselves.
//!
//! Only their summary lines are read: `test result: ...` of cargo's own runner, `Summary [...] ...`
//! of nextest. A runner that prints no summary adds nothing, so that a number shown is always one
//! that a runner gave.

use std::ops::AddAssign;

/// Tests that ran, and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that succeeded.
    pub(crate) passed: u64,
    /// Tests that failed, were stopped at their time limit, or could not start.
    pub(crate) failed: u64,
}

impl Tally {
    /// Adds what this line of a runner's output says.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colours(line);
        // nextest repeats what a failed test printed, cargo's summary of that one test included,
        // but indented.
        let summary = line
            .strip_prefix("test result: ")
            .or_else(|| line.trim_start().strip_prefix("Summary ["));
        let counts = summary.and_then(|rest| rest.trim_end().split_once([':', '.']));
        let Some((_, counts)) = counts else { return };
        // nextest's time has a full stop too, and a colon before its counts.
        let counts = counts
            .split_once("run: ")
            .map_or(counts, |(_, counts)| counts);
        for count in counts.split([',', ';']) {
            self.count(count.trim());
        }
    }

    fn count(&mut self, count: &str) {
        let Some((number, word)) = count.split_once(' ') else {
            return;
        };
        let Ok(number) = number.parse::<u64>() else {
            return;
        };
        // The word may have an addition, as in `3 passed (1 slow)`.
        match word.split(" (").next().unwrap_or_default() {
            "passed" => self.passed += number,
            "failed" | "timed out" | "exec failed" => self.failed += number,
            _ => {}
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Drops terminal colour sequences, which start with an escape and end with `m`.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + part.split_once('m').map_or(part, |(_, rest)| rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(line: &str) -> (u64, u64) {
        let mut tally = Tally::default();
        tally.read(line);
        (tally.passed, tally.failed)
    }

    #[test]
    fn summaries_of_cargo_are_counted() {
        assert_eq!(
            tally(
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; \
                 finished in 0.10s\n"
            ),
            (12, 0)
        );
        assert_eq!(
            tally(
                "test result: \x1b[31mFAILED\x1b[m. 3 passed; 2 failed; 0 ignored; 0 measured; 0 \
                 filtered out"
            ),
            (3, 2)
        );
    }

    #[test]
    fn summaries_of_nextest_are_counted() {
        assert_eq!(
            tally("     Summary [   0.006s] 3 tests run: 3 passed, 0 skipped\n"),
            (3, 0)
        );
        assert_eq!(
            tally(
                "     Summary [ 180.006s] 5/9 tests run: 2 passed (1 slow), 1 failed, 1 timed \
                 out, 1 exec failed, 4 skipped"
            ),
            (2, 3)
        );
        assert_eq!(
            tally(
                "\x1b[32;1m     Summary\x1b[0m [   0.004s] \x1b[1m1\x1b[0m test \
                 run: \x1b[1m1\x1b[0m \x1b[32;1mpassed\x1b[0m, \x1b[1m0\x1b[0m skipped"
            ),
            (1, 0)
        );
    }

    #[test]
    fn what_nextest_repeats_of_a_failed_test_counts_nothing() {
        assert_eq!(
            tally(
                "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 13 filtered \
                 out; finished in 0.86s"
            ),
            (0, 0)
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(tally("running 3 tests"), (0, 0));
        assert_eq!(
            tally("test lease::tests::expired_lease_is_redelivered_once ... ok"),
            (0, 0)
        );
        assert_eq!(tally("3 passed, 4 failed"), (0, 0));
    }
}
