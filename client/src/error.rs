//! Errors of submitting and following jobs.

use std::time::Duration;

use sortie_protocol::grants::Ungranted;
use sortie_protocol::{Advice, Failure, Gathered, JobId};

use crate::api::function::CallError;

/// A task could not be submitted, or a job could not be followed to its end.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The call is wrong.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An argument is too large for a message, and could not be stored.
    #[error("{0}")]
    Store(Failure),
    /// An argument is a future of another client.
    #[error(
        "an argument is a future of another client: only tasks of this client can be waited for; \
         wait for its result, and give that"
    )]
    Foreign,
    /// The result of a task in an earlier job of the client, which an argument takes, is not there.
    #[error("{0}")]
    Upstream(Failure),
    /// The broker did not accept it, or does not answer.
    #[error("the broker did not carry out the request")]
    Broker(#[from] sortie_broker::Error),
    /// Another client had the broker forget the job.
    #[error("{0} was forgotten by another client")]
    Forgotten(JobId),
    /// The broker does not have all outcomes of a job, and will not get them.
    #[error(
        "{missing} outcomes are missing, although no task is unfinished: {}outcomes that a \
         newer program wrote cannot be read here",
        keeps(*kept)
    )]
    Lost {
        /// The number of tasks without an outcome.
        missing: u64,
        /// The broker's retention time of unread outcomes, if they are not kept as long as the job.
        kept: Option<Duration>,
    },
    /// The function's component needs grants that the function does not have.
    #[error("the component {0}")]
    Ungranted(#[from] Ungranted),
    /// The process is ending.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The system provides no random bytes for the job's id.
    #[error("failed to get random bytes")]
    Random(#[source] std::io::Error),
}

fn keeps(kept: Option<Duration>) -> String {
    kept.map_or_else(String::new, |kept| {
        let days = kept.as_secs() / (24 * 3600);
        format!("the broker keeps unread outcomes for {days} days, and ")
    })
}

impl SubmitError {
    /// An argument cannot be given, for this reason.
    pub(crate) fn argument(why: String) -> Self {
        Self::Call(CallError::Argument(why))
    }

    /// What could be done, if that is known.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::Broker(error) => error.advice(),
            Self::Lost { .. } => Some(Advice::ListDeadLetters),
            Self::Upstream(failure) => failure.advice(),
            Self::Call(_)
            | Self::Store(_)
            | Self::Foreign
            | Self::Ungranted(_)
            | Self::Forgotten(_)
            | Self::ShuttingDown
            | Self::Random(_) => None,
        }
    }

    /// Whether the broker was unreachable: the request may have been carried out, and a later retry
    /// can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_transient(),
            Self::Call(_)
            | Self::Store(_)
            | Self::Foreign
            | Self::Upstream(_)
            | Self::Lost { .. }
            | Self::Ungranted(_)
            | Self::Forgotten(_)
            | Self::ShuttingDown
            | Self::Random(_) => false,
        }
    }
}

/// A job could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The broker does not know it.
    #[error(
        "there is no job `{0}`; it is another tenant's, or was forgotten when its outcomes were \
         read"
    )]
    NoSuchJob(JobId),
    /// Its outcomes were gathered before, and are not kept any longer.
    #[error(
        "the results of `{job}` were gathered before, and the broker does not have them any more"
    )]
    Gathered {
        /// The job.
        job: JobId,
        /// When, and how it had ended.
        gathered: Gathered,
    },
    /// The system has no randomness for the reader's name.
    #[error("the system gives no random bytes")]
    Random(#[from] std::io::Error),
    /// The broker did not answer as it should.
    #[error(transparent)]
    Broker(sortie_broker::Error),
}

impl From<sortie_broker::Error> for AttachError {
    fn from(error: sortie_broker::Error) -> Self {
        match error {
            sortie_broker::Error::NoSuchJob(job) => Self::NoSuchJob(job),
            other => Self::Broker(other),
        }
    }
}
