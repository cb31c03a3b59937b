//! The option that says how progress is shown.

use clap::ValueEnum;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar if standard error is a terminal, else lines; nothing if results are written to the
    /// same terminal
    Auto,
    /// A bar; lines if standard error is not a terminal
    Bar,
    /// A line every five seconds
    Lines,
    /// No progress; the summary at the end is still shown
    Off,
}
