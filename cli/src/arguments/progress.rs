//! The option that says how progress is shown.

use clap::ValueEnum;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar where standard error is a terminal, else lines; nothing where results go to the same
    /// terminal
    Auto,
    /// A bar; where there is no terminal, lines
    Bar,
    /// A line every five seconds
    Lines,
    /// None; the summary at the end stays
    Off,
}
