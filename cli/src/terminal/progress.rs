//! Shows progress while a job runs, on stderr: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sortie_frontend::settings::Terminal;

use super::clock;
use super::summary::Summary;
use super::text;
use super::units::per_second;
use crate::arguments::progress::ProgressKind;

/// How often the bar is redrawn.
const BAR_PERIOD: Duration = Duration::from_millis(100);
/// A terminal with fewer columns shows no bar: the text beside it takes up to 60.
const BAR_COLUMNS_MIN: u16 = 80;
/// How often a line is said.
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
    /// Progress in the way that was asked for.
    pub(crate) fn start(kind: ProgressKind, results: Results, terminal: Terminal) -> Self {
        let moves = std::io::stderr().is_terminal() && terminal != Terminal::Dumb;
        let how = match (kind, results, moves) {
            (ProgressKind::Off, _, _) | (ProgressKind::Auto, Results::OnTerminal, _) => How::Off,
            (ProgressKind::Auto | ProgressKind::Bar, _, true) => How::Bar(bar(width())),
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

    /// Show how far the job is, if that is due. `total` is how many tasks there are, where it is
    /// known.
    pub(crate) fn show(&mut self, summary: &Summary, total: Option<u64>, workers: Option<usize>) {
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
                let elapsed = now.duration_since(self.started);
                bar.set_message(line(summary, total, workers, elapsed));
            }
            How::Lines => {
                let elapsed = now.duration_since(self.started);
                text::say(&line(summary, total, workers, elapsed));
            }
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

/// The columns of the terminal, if it says so.
fn width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

fn bar(width: Option<u16>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    // Where there is no room for both, what the bar shows is in the text, too; that is cut.
    let template = match width {
        Some(columns) if columns < BAR_COLUMNS_MIN => "{wide_msg}",
        Some(_) | None => "[{wide_bar}] {msg}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// `120/880 done, 24.0/s, 2 failed, 31 s left`.
fn line(
    summary: &Summary,
    total: Option<u64>,
    workers: Option<usize>,
    elapsed: Duration,
) -> String {
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
    if workers == Some(0) {
        text.push_str(", no worker");
        return text;
    }
    if let Some(left) = total.and_then(|total| left(total.saturating_sub(ended), rate)) {
        text.push_str(&format!(", {} left", humantime::format_duration(left)));
    }
    text
}

/// Time for `count` more tasks; unknown while there is no rate.
pub(crate) fn left(count: u64, rate: f64) -> Option<Duration> {
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
            line(&Summary::default(), Some(3), None, Duration::from_secs(9)),
            "0/3 done"
        );
        assert_eq!(
            line(
                &Summary::default(),
                Some(3),
                Some(0),
                Duration::from_secs(9)
            ),
            "0/3 done, no worker"
        );
    }
}
