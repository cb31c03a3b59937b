//! The error of all operations for front ends: who has to act, on which setting, and how.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt;

use sortie::protocol::Advice;

use crate::stop::Stopped;

/// Why an operation failed, in one line that names the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Who has to act.
    pub kind: Kind,
    /// The setting that is wrong, if it is one.
    pub setting: Option<Setting>,
    /// What is wrong, without the setting's name and without the advice.
    pub message: String,
    /// What could be done, if that is known.
    pub advice: Option<Advice>,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The caller: the request, or something that it names, is wrong.
    Usage,
    /// An operator: the machine, the broker, a store or Sortie itself failed.
    Platform,
    /// Nobody: the operation was stopped on request.
    Stopped,
}

/// A user's setting. Each front end has its own name for it, such as an option or a keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Where results go.
    Output,
    /// A file of inputs.
    Inputs,
    /// The argument of this parameter, the same for all tasks. Of a function that takes results of
    /// another the parameter is `FUNCTION.NAME`.
    Argument(String),
    /// The functions that results are handed on to.
    Then,
    /// The function that reduces all results to one.
    Reduce,
    /// The output store.
    Store,
    /// Disk space for inputs.
    InputDisk,
    /// The tenant.
    Tenant,
    /// The broker's servers.
    Broker,
    /// The credentials file for the broker.
    BrokerCredentials,
    /// The certificate authorities to trust.
    TlsAuthorities,
    /// The certificate to show.
    TlsCertificate,
    /// How long connecting may take.
    ConnectTime,
    /// How long requests are retried while the broker is unreachable.
    OutageTime,
}

impl Error {
    /// The request, or something that it names, is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message.into())
    }

    /// The machine, the broker, a store or Sortie itself failed.
    #[must_use]
    pub fn platform(message: impl Into<String>) -> Self {
        Self::new(Kind::Platform, message.into())
    }

    fn new(kind: Kind, message: String) -> Self {
        Self {
            kind,
            setting: None,
            message,
            advice: None,
        }
    }

    /// The same, about a setting.
    #[must_use]
    pub fn about(self, setting: Setting) -> Self {
        Self {
            setting: Some(setting),
            ..self
        }
    }

    /// The same, with advice.
    #[must_use]
    pub fn advised(self, advice: impl Into<Option<Advice>>) -> Self {
        Self {
            advice: advice.into(),
            ..self
        }
    }

    /// The same, with its location in front of the message.
    #[must_use]
    pub fn within(self, place: impl fmt::Display) -> Self {
        Self {
            message: format!("{place}: {}", self.message),
            ..self
        }
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        Self::new(Kind::Stopped, stopped.to_string())
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
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
