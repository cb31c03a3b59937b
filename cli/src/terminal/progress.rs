//! Shows progress while a job runs, on stderr: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::clock;
use super::summary::Summary;
use super::text;
use super::units::per_second;
use crate::arguments::progress::ProgressKind;

/// How often the bar is redrawn.
const BAR_PERIOD: Duration = Duration::from_millis(100);
/// How often a progress line is printed.
const LINE_PERIOD: Duration = Duration::from_secs(5);

/// Shows a job's progress.
#[derive(Debug)]
pub(crate) struct Progress {
    how: How,
    started: Instant,
    shown: Instant,
}

#[derive(Debug)]
enum How {
    Bar(ProgressBar),
    Lines,
    Off,
}

/// Whether results are written to the terminal that shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    Elsewhere,
    OnTerminal,
}

impl Progress {
    /// Start showing progress of this kind.
    pub(crate) fn start(kind: ProgressKind, results: Results) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let how = match (kind, results, terminal) {
            (ProgressKind::Off, _, _) | (ProgressKind::Auto, Results::OnTerminal, _) => How::Off,
            (ProgressKind::Auto | ProgressKind::Bar, _, true) => How::Bar(bar()),
            (ProgressKind::Auto | ProgressKind::Bar, _, false) | (ProgressKind::Lines, _, _) => {
                How::Lines
            }
        };
        let now = clock::now();
        Self {
            how,
            started: now,
            shown: now,
        }
    }

    /// When the job started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// How often to call `show`.
    pub(crate) fn period(&self) -> Duration {
        match self.how {
            How::Bar(_) => BAR_PERIOD,
            How::Lines | How::Off => LINE_PERIOD,
        }
    }

    /// Show the job's progress if an update is due. `total` is the number of tasks, if known.
    pub(crate) fn show(&mut self, summary: &Summary, total: Option<u64>) {
        let now = clock::now();
        // Slightly early is better than skipping a period.
        if now.duration_since(self.shown) + BAR_PERIOD / 10 < self.period() {
            return;
        }
        self.shown = now;
        match &self.how {
            How::Bar(bar) => {
                if let Some(total) = total {
                    bar.set_length(total);
                }
                bar.set_position(summary.ended());
                bar.set_message(line(summary, total, now.duration_since(self.started)));
            }
            How::Lines => text::say(&line(summary, total, now.duration_since(self.started))),
            How::Off => {}
        }
    }

    /// Run code that writes to the same terminal, with the bar hidden.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.how {
            How::Bar(bar) => bar.suspend(write),
            How::Lines | How::Off => write(),
        }
    }

    /// Remove the bar from the terminal.
    pub(crate) fn finish(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("[{wide_bar}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// `120/880 done, 24.0/s, 2 failed, 31 s left`.
fn line(summary: &Summary, total: Option<u64>, elapsed: Duration) -> String {
    let ended = summary.ended();
    let rate = per_second(ended, elapsed);
    let mut text = match total {
        Some(total) => format!("{ended}/{total} done"),
        None => format!("{ended} done"),
    };
    if ended > 0 {
        text.push_str(&format!(", {rate:.1}/s"));
    }
    for (count, what) in [
        (summary.failed(), "failed"),
        (summary.cached(), "known before"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(left) = total.and_then(|total| left(total.saturating_sub(ended), rate)) {
        text.push_str(&format!(", {} left", humantime::format_duration(left)));
    }
    text
}

/// Estimated time for `count` more tasks; `None` while there is no rate.
fn left(count: u64, rate: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seconds = count as f64 / rate;
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_from_the_rate() {
        assert_eq!(left(30, 2.0), Some(Duration::from_secs(15)));
        assert_eq!(left(30, 0.0), None);
        assert_eq!(
            line(&Summary::default(), Some(3), Duration::from_secs(9)),
            "0/3 done"
        );
    }
}
