//! How a command ends, and what the shell is told.

#![warn(clippy::wildcard_enum_match_arm)]

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything was done, and every task completed.
    Completed,
    /// Everything was done, and some tasks have no result.
    TasksFailed,
    /// The command cannot be carried out as it is written.
    WrongUsage,
    /// The machine, or Sortie itself, failed.
    PlatformFailure,
    /// Somebody stopped it.
    Interrupted,
}

impl Ending {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::TasksFailed => 1,
            Self::WrongUsage => 2,
            Self::PlatformFailure => 3,
            // As shells report a process that SIGINT ended.
            Self::Interrupted => 130,
        }
    }
}

/// Why a command could not do what it was asked: one line for whoever typed it, which names the
/// thing and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The command, or what it names, is wrong.
    #[error("{0}")]
    Usage(String),
    /// The machine or Sortie failed.
    #[error("{0}")]
    Platform(String),
    /// Somebody stopped it before it had results to keep.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// How a command ends with this error.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Usage(_) => Ending::WrongUsage,
            Self::Platform(_) => Ending::PlatformFailure,
            Self::Interrupted => Ending::Interrupted,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    for cause in causes.map(ToString::to_string) {
        // Some errors repeat their cause in their own text.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
