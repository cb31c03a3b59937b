//! Exit codes of commands, and error messages that name options and commands.

#![warn(clippy::wildcard_enum_match_arm)]

use sortie::protocol::Advice;
use sortie_frontend::Kind;
use sortie_frontend::advice::{command_line, flag};
use sortie_frontend::session::Keeps;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything was done, and every task completed.
    Completed,
    /// Everything was done, and some tasks failed, none of them for the platform's fault.
    TasksFailed,
    /// The command line, or something that it names, is wrong.
    WrongUsage,
    /// The machine, a store or Sortie itself failed, for the command or for some of its tasks.
    PlatformFailure,
    /// Everything that is known was done, and there may be more: the job was never submitted to its
    /// end.
    Incomplete,
    /// A signal stopped it.
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
            Self::Incomplete => 4,
            // As shells report a process that SIGINT ended.
            Self::Interrupted => 130,
        }
    }
}

/// Why a command failed: one line for the user, which names the cause and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The command, or what it names, is wrong.
    #[error("{0}")]
    Usage(String),
    /// The machine or Sortie failed.
    #[error("{0}")]
    Platform(String),
    /// A signal stopped it before it had results to keep.
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

impl From<sortie_frontend::Error> for Error {
    fn from(error: sortie_frontend::Error) -> Self {
        let setting = error
            .setting
            .as_ref()
            .map(|setting| format!("{}: ", flag(setting)));
        let text = format!(
            "{}{}{}",
            setting.unwrap_or_default(),
            error.message,
            advised(error.advice)
        );
        match error.kind {
            Kind::Usage => Self::Usage(text),
            Kind::Platform => Self::Platform(text),
            Kind::Stopped => Self::Interrupted,
        }
    }
}

/// Convert a library's error, and word its advice as options and commands.
pub(crate) fn refused(error: impl Into<sortie_frontend::Error>) -> Error {
    error.into().into()
}

/// The advice as a suffix for a message.
pub(crate) fn advised(advice: Option<Advice>) -> String {
    advice
        .map(|advice| format!("; {}", command_line(&advice)))
        .unwrap_or_default()
}

/// The advice shown below a task's failure. Only a broker has dead letters to list.
pub(crate) fn failure_advice(advice: Option<&Advice>, keeps: Keeps) -> Option<String> {
    advice
        .filter(|advice| keeps == Keeps::Job || **advice != Advice::ListDeadLetters)
        .map(command_line)
}

#[cfg(test)]
mod tests {
    use sortie_frontend::Setting;

    use super::*;

    #[test]
    fn an_error_has_its_flag_in_front_and_its_advice_behind() {
        let error = sortie_frontend::Error::usage("nothing works")
            .about(Setting::Tenant)
            .advised(Advice::InitBroker);
        assert_eq!(
            Error::from(error).to_string(),
            "--tenant: nothing works; an operator does that with `sortie broker init`"
        );
    }
}
