//! Holds the term of a job: says to others that this process coordinates it.
//!
//! The claim is repeated every [`RENEW_INTERVAL`]. Where it was not for [`TERM`], as others see it,
//! one of them takes the job over, see [`coordinate`](crate::coordinate).

use std::sync::Arc;
use std::time::Duration;

use sortie_broker::{Broker, Claimed, Error};
use sortie_protocol::{JobKey, JobState, Term, WorkerId};

/// How long a claim holds that is not repeated: longer than most connections are lost for. Whoever
/// is away for longer takes its job back.
pub(crate) const TERM: Duration = Duration::from_secs(8);
/// How often a claim is repeated: three may be lost.
const RENEW_INTERVAL: Duration = Duration::from_secs(2);

/// What a holder does when somebody else has claimed the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// It submits to the job, so nobody knows more of it: it takes the job back.
    Submitter,
    /// It leaves the job to the other.
    Coordinator,
}

/// Whether a job could be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Held,
    /// Somebody else has it, or it is over.
    Lost,
}

/// The term of one job.
#[derive(Debug)]
pub(crate) struct HeldTerm {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) job: JobKey,
    pub(crate) rank: Rank,
    pub(crate) term: Term,
    /// The version of the last claim, if there is one.
    pub(crate) version: Option<u64>,
}

impl HeldTerm {
    /// The term of a job's submitter. Nobody else knows the job yet.
    pub(crate) fn first(broker: Arc<dyn Broker>, job: JobKey, holder: WorkerId) -> Self {
        let term = Term {
            number: 1,
            holder,
            holds: true,
        };
        Self {
            broker,
            job,
            rank: Rank::Submitter,
            term,
            version: None,
        }
    }

    /// Claim the job, again and again. Returns when somebody else coordinates it, or has brought it
    /// to its end. A broker that does not answer is asked again; where it does not allow claims
    /// there are none, and should this process end, nobody goes on with the job.
    pub(crate) async fn keep(&mut self) {
        loop {
            match self.claim().await {
                Ok(Claim::Lost) => return,
                Ok(Claim::Held) => {}
                Err(error) if error.is_transient() => {
                    tracing::debug!(job = %self.job, %error, "the claim to the job is not stored");
                }
                Err(error) => {
                    tracing::warn!(
                        job = %self.job,
                        %error,
                        "should this process end, nobody goes on with the tasks that wait in it"
                    );
                    return std::future::pending().await;
                }
            }
            tokio::time::sleep(RENEW_INTERVAL).await;
        }
    }

    /// Claim a job that was left, if it is still as it was seen. Whether that succeeded.
    pub(crate) async fn take_over(
        broker: Arc<dyn Broker>,
        job: JobKey,
        holder: WorkerId,
        seen: Claimed,
    ) -> Result<Option<Self>, Error> {
        let term = Term {
            number: seen.term.number.saturating_add(1),
            holder,
            holds: true,
        };
        let version = broker.claim(job, term, Some(seen.version)).await?;
        Ok(version.map(|version| Self {
            broker,
            job,
            rank: Rank::Coordinator,
            term,
            version: Some(version),
        }))
    }

    /// Leave the job to whoever wants it. Should that fail, the term lapses.
    pub(crate) async fn resign(self) {
        let term = Term {
            holds: false,
            ..self.term
        };
        if let Err(error) = self.broker.claim(self.job, term, self.version).await {
            tracing::debug!(job = %self.job, %error, "the job could not be handed over");
        }
    }

    /// Claim the job once.
    async fn claim(&mut self) -> Result<Claim, Error> {
        loop {
            let claiming = self.broker.claim(self.job, self.term, self.version);
            if let Some(version) = claiming.await? {
                self.version = Some(version);
                return Ok(Claim::Held);
            }
            let Some(Claimed { term, version }) = self.broker.claimed(self.job).await? else {
                return Ok(Claim::Lost);
            };
            if term.holder != self.term.holder {
                if self.rank == Rank::Coordinator {
                    return Ok(Claim::Lost);
                }
                let record = self.broker.job(self.job).await?;
                if record.is_none_or(|record| record.state != JobState::Open) {
                    return Ok(Claim::Lost);
                }
                tracing::info!(job = %self.job, "taking the job back");
                self.term.number = term.number.saturating_add(1);
            }
            self.version = Some(version);
        }
    }
}
