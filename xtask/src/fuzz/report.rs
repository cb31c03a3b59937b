//! Reads what libFuzzer says while it runs.

/// How many lines are kept of what a target said when it failed.
const REASONS_MAX: usize = 12;

/// What a run said so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Inputs that were tried.
    pub(super) executions: u64,
    /// Edges of the project's code that they reached.
    pub(super) coverage: u64,
    /// The first lines of what a failure said.
    pub(super) reasons: Vec<String>,
    /// The file with the input that made the target fail.
    pub(super) input: Option<String>,
}

impl Report {
    /// Takes in one line.
    pub(super) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(path.to_owned());
        } else if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or(self.executions);
        } else if let Some((count, rest)) = progress(line) {
            self.executions = count;
            self.coverage = coverage(rest).unwrap_or(self.coverage);
        } else if is_reason(line) || !self.reasons.is_empty() {
            // The stack that follows says where.
            if self.reasons.len() < REASONS_MAX && !line.is_empty() {
                self.reasons.push(line.to_owned());
            }
        }
    }
}

/// A line such as `#8192 NEW    cov: 540 ft: 1000 corp: 20/3Kb`: how many inputs, and the rest.
fn progress(line: &str) -> Option<(u64, &str)> {
    let (count, rest) = line.strip_prefix('#')?.split_once(char::is_whitespace)?;
    rest.contains("cov: ")
        .then_some((count.parse().ok()?, rest))
}

fn coverage(progress: &str) -> Option<u64> {
    let (_, rest) = progress.split_once("cov: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// Whether a line is the first of a failure's: a panic, or what the fuzzer calls an error.
fn is_reason(line: &str) -> bool {
    line.contains("' panicked at ")
        || line.contains(") panicked at ")
        || line.contains("ERROR: libFuzzer:")
        || line.contains("has overflowed its stack")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Report {
        let mut report = Report::default();
        lines.iter().for_each(|line| report.read(line));
        report
    }

    #[test]
    fn a_run_says_what_it_tried_and_reached() {
        let report = read(&[
            "INFO: Seed: 1\n",
            "#2\tINITED cov: 10 ft: 11 corp: 1/1b exec/s: 0 rss: 30Mb\n",
            "#8192\tNEW    cov: 540 ft: 1000 corp: 20/3Kb lim: 48 exec/s: 900 rss: 40Mb\n",
            "stat::number_of_executed_units: 9000\n",
        ]);
        assert_eq!((report.executions, report.coverage), (9000, 540));
        assert_eq!((report.reasons, report.input), (Vec::new(), None));
    }

    #[test]
    fn a_failure_says_why_and_where_its_input_is() {
        let report = read(&[
            "#8192\tNEW    cov: 540 ft: 1000 corp: 20/3Kb lim: 48\n",
            "\n",
            "thread '<unnamed>' (7) panicked at fuzz/src/envelope.rs:20:9:\n",
            "assertion failed\n",
            "artifact_prefix='f/'; Test unit written to f/envelope-crash-1\n",
        ]);
        assert_eq!(report.reasons.len(), 2);
        assert_eq!(report.input.as_deref(), Some("f/envelope-crash-1"));
        assert_eq!(report.executions, 8192);
    }
}
