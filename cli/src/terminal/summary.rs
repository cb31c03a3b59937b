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
    counts: Counts,
    completed: u64,
    failed: u64,
    /// Those of the failures that the platform is to blame for.
    platform_failed: u64,
    cancelled: u64,
    cached: u64,
    cpu: Duration,
    bytes_in: u64,
    groups: BTreeMap<Kind, Group>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Counts {
    /// Tasks.
    #[default]
    Tasks,
    /// Inputs, each of which is several tasks.
    Inputs,
    /// Inputs whose results are reduced to one.
    Reduced(Reduction),
}

/// How a reduction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    /// It did not, or was cancelled.
    Pending,
    /// With a result that was known before, as all others were.
    Known,
    /// With a result.
    Completed,
    /// Without one.
    Failed,
}

/// Failures that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    code: String,
    /// The function, where there are several.
    function: Option<String>,
}

/// Failures of the same kind.
#[derive(Debug)]
struct Group {
    count: u64,
    blame: Blame,
    /// Input of the first failure, if it is one of an input.
    input: Option<String>,
    message: String,
    advice: Option<Advice>,
}

impl Summary {
    /// Counters of what is not tasks.
    pub(crate) fn of(counts: Counts) -> Self {
        Self {
            counts,
            ..Self::default()
        }
    }

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
        self.add(bill);
    }

    /// Count an input whose result is reduced.
    pub(crate) fn through(&mut self, cached: bool) {
        self.completed += 1;
        self.cached += u64::from(cached);
    }

    /// Count the end of a reduction. A failure may be that of an input.
    pub(crate) fn reduced(&mut self, status: &Status<'_>, bill: &Bill, shown: &Value) {
        let reduction = match status {
            Status::Completed if bill.cached => Reduction::Known,
            Status::Completed => Reduction::Completed,
            Status::Cancelled => Reduction::Pending,
            Status::Failed(reason) => {
                self.failed += u64::from(!shown.is_null());
                self.platform_failed += u64::from(reason.blame == Blame::Platform);
                self.group(reason, shown);
                Reduction::Failed
            }
        };
        self.counts = Counts::Reduced(reduction);
        self.add(bill);
    }

    /// Whether results were reduced to one, or cannot be, if they are to be.
    pub(crate) fn is_reduced(&self) -> Option<bool> {
        match self.counts {
            Counts::Tasks | Counts::Inputs => None,
            Counts::Reduced(reduction) => Some(reduction != Reduction::Pending),
        }
    }

    fn add(&mut self, bill: &Bill) {
        self.cpu = self.cpu.saturating_add(bill.cpu);
        self.bytes_in = self.bytes_in.saturating_add(bill.bytes_in.as_u64());
    }

    fn group(&mut self, reason: &Reason<'_>, shown: &Value) {
        let kind = Kind {
            code: reason.code.clone().into_owned(),
            function: reason.function.clone().map(std::borrow::Cow::into_owned),
        };
        if let Some(group) = self.groups.get_mut(&kind) {
            group.count += 1;
        } else if self.groups.len() < GROUPS_MAX {
            let input = match shown {
                Value::Null => None,
                Value::String(text) => Some(cut(text)),
                other => Some(cut(&other.to_string())),
            };
            let group = Group {
                count: 1,
                blame: reason.blame,
                input,
                message: cut(&reason.message),
                advice: reason.advice.clone(),
            };
            self.groups.insert(kind, group);
        }
    }

    /// Whether anything failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed > 0 || self.counts == Counts::Reduced(Reduction::Failed)
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
        match self.platform_failed {
            _ if !self.has_failed() => Ending::Completed,
            0 => Ending::TasksFailed,
            _ => Ending::PlatformFailure,
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
        for (kind, group) in groups.iter().take(GROUPS_SHOWN) {
            let Group {
                count,
                blame,
                input,
                message,
                advice,
            } = group;
            let mut line = format!("  {count} x {} (blame: {})", kind.code, blame.as_str());
            // Writing to a `String` cannot fail.
            if let Some(input) = input {
                let _ = write!(line, ", such as {input}");
            }
            if let Some(function) = &kind.function {
                let _ = write!(line, ", in `{function}`");
            }
            let _ = write!(line, ": {message}");
            lines.push(line);
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
        if ended > 0 && self.cached == ended && self.counts.may_all_be_known() {
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
            "{ended} {}{}: {} completed",
            self.counts.noun(),
            if ended == 1 { "" } else { "s" },
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
        text.push_str(self.counts.ending());
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

impl Counts {
    fn noun(self) -> &'static str {
        match self {
            Self::Tasks => "task",
            Self::Inputs | Self::Reduced(_) => "input",
        }
    }

    /// Whether nothing ran if all inputs were known before.
    fn may_all_be_known(self) -> bool {
        match self {
            Self::Tasks | Self::Inputs | Self::Reduced(Reduction::Known) => true,
            Self::Reduced(Reduction::Pending | Reduction::Completed | Reduction::Failed) => false,
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Tasks | Self::Inputs => "",
            Self::Reduced(Reduction::Known | Reduction::Completed) => ", reduced to one result",
            Self::Reduced(Reduction::Pending | Reduction::Failed) => ", not reduced",
        }
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
            backtrace: &[],
            function: None,
            advice: None,
        })
    }

    fn reason_in(function: &'static str, code: &'static str) -> Status<'static> {
        match reason(code) {
            Status::Failed(reason) => Status::Failed(Reason {
                function: Some(function.into()),
                ..reason
            }),
            other => other,
        }
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
                backtrace: &[],
                function: None,
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
                backtrace: &[],
                function: None,
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
    fn of_several_functions_the_failures_of_each_are_counted() {
        let mut summary = Summary::of(Counts::Inputs);
        summary.count(&Status::Completed, &bill(false), &"ok".into());
        for (function, input) in [("f", "a"), ("g", "b"), ("g", "c")] {
            summary.count(&reason_in(function, "bad"), &bill(false), &input.into());
        }
        assert!(summary.has_failed() && summary.is_reduced().is_none());
        assert_eq!(
            summary.lines(None, Keeps::Results),
            [
                "4 inputs: 1 completed, 3 failed; 2.0 s on cores, 6.0 MB read",
                "  2 x bad (blame: guest), such as b, in `g`: no pages",
                "  1 x bad (blame: guest), such as a, in `f`: no pages",
            ]
        );
    }

    #[test]
    fn a_reduction_is_said_with_its_inputs_or_with_why_there_is_none() {
        let reduction = |cached: &[bool]| {
            let mut summary = Summary::of(Counts::Reduced(Reduction::Pending));
            cached.iter().for_each(|cached| summary.through(*cached));
            summary
        };
        let lines = |summary: &Summary| summary.lines(None, Keeps::Results);
        let mut summary = reduction(&[true, false]);
        let pending = "2 inputs: 2 completed (1 known before), not reduced; 0 ms on cores, 0.0 MB \
                       read";
        assert_eq!(
            (lines(&summary), summary.is_reduced()),
            (vec![pending.into()], Some(false))
        );
        summary.reduced(&Status::Completed, &bill(false), &Value::Null);
        assert_eq!(
            lines(&summary),
            [
                "2 inputs: 2 completed (1 known before), reduced to one result; 500 ms on cores, \
              1.5 MB read"
            ]
        );
        assert!(!summary.has_failed());
        let mut known = reduction(&[true, true]);
        known.reduced(&Status::Completed, &bill(true), &Value::Null);
        assert_eq!(lines(&known), ["nothing ran: all 2 results were known"]);
        // Results that were known, and a reduction that was not.
        let mut known = reduction(&[true, true]);
        known.reduced(&Status::Completed, &bill(false), &Value::Null);
        assert!(lines(&known)[0].contains("reduced to one result"));
        let mut failed = reduction(&[false]);
        failed.reduced(&reason_in("f", "bad"), &bill(false), &"a".into());
        assert_eq!(
            lines(&failed),
            [
                "2 inputs: 1 completed, 1 failed, not reduced; 500 ms on cores, 1.5 MB read",
                "  1 x bad (blame: guest), such as a, in `f`: no pages",
            ]
        );
        let mut failed = reduction(&[false]);
        failed.reduced(&reason_in("r", "bad"), &bill(false), &Value::Null);
        assert_eq!(
            lines(&failed),
            [
                "1 input: 1 completed, not reduced; 500 ms on cores, 1.5 MB read",
                "  1 x bad (blame: guest), in `r`: no pages",
            ]
        );
        assert!(failed.has_failed() && failed.is_reduced() == Some(true));
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
