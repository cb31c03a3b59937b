//! Counts how tasks end while a job runs, and words the summary at its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use sortie::protocol::Advice;
use sortie::{Bill, Blame, ByteSize};
use sortie_frontend::results::{Reason, Status};
use sortie_frontend::session::Keeps;

use super::units::{megabytes, per_second, seconds};
use crate::ending::{Ending, failure_advice};

/// How many failure codes are counted separately: functions may use any number of codes.
const GROUPS_MAX: usize = 64;
/// How many failure codes are shown.
const GROUPS_SHOWN: usize = 5;
/// How much of a message or input is shown.
const TEXT_BYTES_SHOWN: usize = 200;

/// Counters of a job.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    completed: u64,
    failed: u64,
    /// Those of the failures that the platform is to blame for.
    platform_failed: u64,
    cancelled: u64,
    cached: u64,
    cpu: Duration,
    bytes_in: u64,
    groups: BTreeMap<String, Group>,
}

/// Failures with the same code.
#[derive(Debug)]
struct Group {
    count: u64,
    blame: Blame,
    /// Input of the first failure.
    input: String,
    message: String,
    advice: Option<Advice>,
}

impl Summary {
    /// Count a task.
    pub(crate) fn count(&mut self, status: &Status<'_>, bill: &Bill, shown: &Value) {
        match status {
            Status::Completed => self.completed += 1,
            Status::Cancelled => self.cancelled += 1,
            Status::Failed(reason) => {
                self.failed += 1;
                self.platform_failed += u64::from(reason.blame == Blame::Platform);
                self.group(reason, shown);
            }
        }
        self.cached += u64::from(bill.cached);
        self.cpu += bill.cpu;
        self.bytes_in = self.bytes_in.saturating_add(bill.bytes_in.as_u64());
    }

    fn group(&mut self, reason: &Reason<'_>, shown: &Value) {
        if let Some(group) = self.groups.get_mut(&*reason.code) {
            group.count += 1;
        } else if self.groups.len() < GROUPS_MAX {
            let input = shown
                .as_str()
                .map_or_else(|| shown.to_string(), ToOwned::to_owned);
            let group = Group {
                count: 1,
                blame: reason.blame,
                input: cut(&input),
                message: cut(&reason.message),
                advice: reason.advice.clone(),
            };
            self.groups.insert(reason.code.clone().into_owned(), group);
        }
    }

    /// Tasks that have ended, successfully or not.
    pub(crate) fn ended(&self) -> u64 {
        self.completed + self.failed + self.cancelled
    }

    /// Tasks that completed.
    pub(crate) fn completed(&self) -> u64 {
        self.completed
    }

    /// Tasks that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// How the command ends if nothing but its tasks can have failed.
    pub(crate) fn ending(&self) -> Ending {
        match (self.failed, self.platform_failed) {
            (0, _) => Ending::Completed,
            (_, 0) => Ending::TasksFailed,
            (..) => Ending::PlatformFailure,
        }
    }

    /// Tasks whose outcome came from the cache.
    pub(crate) fn cached(&self) -> u64 {
        self.cached
    }

    /// The lines of the summary, with the duration if it is known. Each failure code is followed by
    /// advice.
    pub(crate) fn lines(&self, elapsed: Option<Duration>, keeps: Keeps) -> Vec<String> {
        let mut lines = vec![self.totals(elapsed)];
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        for (code, group) in groups.iter().take(GROUPS_SHOWN) {
            let Group {
                count,
                blame,
                input,
                message,
                advice,
            } = group;
            lines.push(format!(
                "  {count} x {code} (blame: {}), such as {input}: {message}",
                blame.as_str()
            ));
            if let Some(text) = failure_advice(advice.as_ref(), keeps) {
                lines.push(format!("    {text}"));
            }
        }
        let shown: u64 = groups
            .iter()
            .take(GROUPS_SHOWN)
            .map(|(_, group)| group.count)
            .sum();
        if shown < self.failed {
            lines.push(format!(
                "  {} more failures of other kinds",
                self.failed - shown
            ));
        }
        lines
    }

    fn totals(&self, elapsed: Option<Duration>) -> String {
        let ended = self.ended();
        if ended > 0 && self.cached == ended {
            let known = if ended == 1 {
                "the 1 result was known".into()
            } else {
                format!("all {ended} results were known")
            };
            let failed = if self.failed > 0 {
                format!(" ({} of them failures)", self.failed)
            } else {
                String::new()
            };
            let elapsed = elapsed
                .map(|elapsed| format!("; {}", seconds(elapsed)))
                .unwrap_or_default();
            return format!("nothing ran: {known}{failed}{elapsed}");
        }
        let mut text = format!(
            "{ended} {}: {} completed",
            if ended == 1 { "task" } else { "tasks" },
            self.completed
        );
        for (count, what) in [(self.failed, "failed"), (self.cancelled, "cancelled")] {
            if count > 0 {
                // Writing to a `String` cannot fail.
                let _ = write!(text, ", {count} {what}");
            }
        }
        if self.cached > 0 {
            let _ = write!(text, " ({} known before)", self.cached);
        }
        if let Some(elapsed) = elapsed {
            let _ = write!(
                text,
                "; {}, {:.1}/s",
                seconds(elapsed),
                per_second(ended, elapsed)
            );
        }
        let (cpu, read) = (seconds(self.cpu), megabytes(ByteSize(self.bytes_in)));
        let _ = write!(
            text,
            "{} {cpu} on cores, {read} read",
            if elapsed.is_some() { "," } else { ";" }
        );
        text
    }
}

fn cut(text: &str) -> String {
    sortie::protocol::outcome::cut(text.into(), TEXT_BYTES_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(cached: bool) -> Bill {
        Bill {
            cached,
            cpu: Duration::from_millis(500),
            bytes_in: ByteSize(1_500_000),
            ..Bill::default()
        }
    }

    fn reason(code: &'static str) -> Status<'static> {
        Status::Failed(Reason {
            code: code.into(),
            message: "no pages".into(),
            blame: Blame::Guest,
            attempts: 1,
            advice: None,
        })
    }

    #[test]
    fn failures_are_grouped_by_code_with_the_first_as_example() {
        let mut summary = Summary::default();
        summary.count(&Status::Completed, &bill(false), &"ok.pdf".into());
        for (code, input) in [
            ("damaged", "a.pdf"),
            ("scanned", "b.pdf"),
            ("scanned", "c.pdf"),
        ] {
            summary.count(&reason(code), &bill(false), &input.into());
        }
        assert_eq!(
            summary.lines(Some(Duration::from_secs(2)), Keeps::Results),
            [
                "4 tasks: 1 completed, 3 failed; 2.0 s, 2.0/s, 2.0 s on cores, 6.0 MB read",
                "  2 x scanned (blame: guest), such as b.pdf: no pages",
                "  1 x damaged (blame: guest), such as a.pdf: no pages",
            ]
        );
    }

    #[test]
    fn one_failure_of_the_platform_is_one_of_the_command() {
        let mut summary = Summary::default();
        assert_eq!(summary.ending(), Ending::Completed);
        summary.count(&reason("damaged"), &bill(false), &Value::Null);
        assert_eq!(summary.ending(), Ending::TasksFailed);
        let Status::Failed(mut lost) = reason("store-unusable") else {
            panic!("no failure")
        };
        lost.blame = Blame::Platform;
        summary.count(&Status::Failed(lost), &bill(false), &Value::Null);
        assert_eq!(summary.ending(), Ending::PlatformFailure);
    }

    #[test]
    fn advice_stands_once_below_its_kind_of_failure() {
        let mut summary = Summary::default();
        for input in ["a.pdf", "b.pdf"] {
            let reason = Reason {
                code: "worker-lost".into(),
                message: "no worker finished this task".into(),
                blame: Blame::Platform,
                attempts: 1,
                advice: Some(Advice::ListDeadLetters),
            };
            summary.count(&Status::Failed(reason), &bill(false), &input.into());
        }
        let failures = |keeps| summary.lines(None, keeps).split_off(1);
        let failure =
            "  2 x worker-lost (blame: platform), such as a.pdf: no worker finished this task";
        assert_eq!(
            failures(Keeps::Job),
            [failure, "    `sortie dlq list` shows it"]
        );
        assert_eq!(failures(Keeps::Results), [failure]);
    }

    #[test]
    fn codes_without_end_take_bounded_memory() {
        let mut summary = Summary::default();
        for n in 0..1000 {
            let reason = Reason {
                code: format!("code-{n}").into(),
                message: String::new(),
                blame: Blame::Guest,
                attempts: 1,
                advice: None,
            };
            summary.count(&Status::Failed(reason), &bill(false), &Value::from(n));
        }
        assert_eq!(summary.groups.len(), GROUPS_MAX);
        assert_eq!(
            summary
                .lines(Some(Duration::ZERO), Keeps::Results)
                .last()
                .unwrap(),
            "  995 more failures of other kinds"
        );
    }

    #[test]
    fn a_run_in_which_nothing_ran_says_so() {
        let mut summary = Summary::default();
        for _ in 0..88 {
            summary.count(&Status::Completed, &bill(true), &Value::Null);
        }
        assert_eq!(
            summary.lines(Some(Duration::from_secs(1)), Keeps::Results),
            ["nothing ran: all 88 results were known; 1.0 s"]
        );
    }
}
