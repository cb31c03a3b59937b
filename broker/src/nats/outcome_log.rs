//! What a job's stream of reports says, read in order.
//!
//! Workers may report on a task more than once; the stream keeps every report, and whoever reads it
//! from the start takes the first outcome of each task and nothing after the marker of a cancelled
//! job. So all readers agree, at any time, and no server has to look into a report. Positions count
//! the outcomes that are taken.

use sortie_protocol::Outcome;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::seen::{First, Seen};

use super::Core;
use super::batch_read::{End, Read};
use super::names::JobKey;
use crate::broker::{Error, Position};

/// How far somebody has read, and what he took.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    seen: Seen,
    position: Position,
    /// The last message that was read: its sequence in the stream.
    last: u64,
    cancelled: bool,
}

/// What one message added.
#[derive(Debug)]
pub(super) enum Taken {
    /// These outcomes, the first at this position.
    Outcomes(Position, Vec<Outcome>),
    /// The end: the job was cancelled.
    Cancelled,
    /// Nothing new.
    Nothing,
}

impl Ledger {
    /// The sequence of the last message that was read.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whether nothing that comes counts any more.
    pub(super) fn is_over(&self) -> bool {
        self.cancelled
    }

    /// Take in a message. One that was read before adds nothing.
    pub(super) fn take(&mut self, sequence: u64, payload: &[u8]) -> Taken {
        if sequence <= self.last || self.cancelled {
            return Taken::Nothing;
        }
        self.last = sequence;
        match envelope::decode(payload) {
            Ok(Message::Outcomes(outcomes)) => self.take_outcomes(outcomes),
            Ok(Message::Cancelled) => {
                self.cancelled = true;
                Taken::Cancelled
            }
            Ok(_) => {
                tracing::warn!(
                    sequence,
                    "among a job's outcomes is a message of another kind; it is skipped"
                );
                Taken::Nothing
            }
            Err(error) => {
                tracing::warn!(sequence, %error, "among a job's outcomes is a message that cannot be read; it is skipped");
                Taken::Nothing
            }
        }
    }

    fn take_outcomes(&mut self, mut outcomes: Vec<Outcome>) -> Taken {
        outcomes.retain(|outcome| self.seen.insert(outcome.index) == First::Yes);
        if outcomes.is_empty() {
            return Taken::Nothing;
        }
        let first = self.position;
        self.position += outcomes.len() as Position;
        Taken::Outcomes(first, outcomes)
    }
}

impl Core {
    /// The sequence of a job's newest report, as the leader knows it. 0 if there is none.
    pub(super) async fn newest_report(&self, key: &JobKey) -> Result<u64, Error> {
        let (stream, subject) = (
            self.names.outcomes_stream(&key.tenant),
            self.names.outcomes(key),
        );
        let last = self
            .link
            .patiently(|| self.link.last(&stream, &subject))
            .await?;
        Ok(last.map_or(0, |kept| kept.sequence))
    }

    /// The next reports after what was read, as far as they are there.
    pub(super) async fn reports_after(
        &self,
        key: &JobKey,
        last: u64,
    ) -> Result<(Vec<Read>, End), Error> {
        let (stream, subject) = (
            self.names.outcomes_stream(&key.tenant),
            self.names.outcomes(key),
        );
        let batch = self
            .link
            .patiently(|| self.link.read(&stream, &subject, last + 1))
            .await?;
        Ok((batch.messages, batch.end))
    }

    /// Read all there is, for whoever only wants to know which tasks ended.
    pub(super) async fn catch_up(&self, key: &JobKey, ledger: &mut Ledger) -> Result<(), Error> {
        let newest = self.newest_report(key).await?;
        while ledger.last() < newest && !ledger.is_over() {
            let (reports, end) = self.reports_after(key, ledger.last()).await?;
            for report in &reports {
                ledger.take(report.sequence, &report.payload);
            }
            if reports.is_empty() && end == End::Reached {
                // A copy that is behind; the leader has more.
                tokio::time::sleep(super::feed::BEHIND_PAUSE).await;
                if self.newest_report(key).await? < newest {
                    // It was purged meanwhile.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sortie_protocol::{Bill, Ending};

    use super::*;

    fn report(indices: &[u64], word: &'static [u8]) -> Bytes {
        let outcome = |index: &u64| Outcome {
            index: *index,
            attempts: 1,
            ending: Ending::Completed(Bytes::from_static(word).into()),
            bill: Bill::default(),
            log: None,
        };
        envelope::outcomes(&indices.iter().map(outcome).collect::<Vec<_>>())
    }

    fn taken(taken: Taken) -> Option<(Position, Vec<u64>)> {
        match taken {
            Taken::Outcomes(first, outcomes) => Some((
                first,
                outcomes.iter().map(|outcome| outcome.index).collect(),
            )),
            Taken::Cancelled | Taken::Nothing => None,
        }
    }

    #[test]
    fn the_first_outcome_of_a_task_is_taken_and_positions_are_dense() {
        let mut ledger = Ledger::default();
        assert_eq!(
            taken(ledger.take(10, &report(&[0, 1], b"a"))),
            Some((0, vec![0, 1]))
        );
        assert_eq!(
            taken(ledger.take(12, &report(&[1, 2], b"b"))),
            Some((2, vec![2]))
        );
        assert_eq!(
            taken(ledger.take(12, &report(&[3], b"b"))),
            None,
            "a message that was read before"
        );
        assert_eq!(taken(ledger.take(20, &report(&[0, 1], b"c"))), None);
        assert_eq!(
            taken(ledger.take(21, &report(&[5], b"c"))),
            Some((3, vec![5]))
        );
    }

    #[test]
    fn nothing_counts_after_the_marker() {
        let mut ledger = Ledger::default();
        ledger.take(1, &report(&[0], b"a"));
        assert!(matches!(
            ledger.take(2, &envelope::cancelled()),
            Taken::Cancelled
        ));
        assert_eq!(taken(ledger.take(3, &report(&[1], b"a"))), None);
    }

    #[test]
    fn what_cannot_be_read_is_skipped() {
        let mut ledger = Ledger::default();
        assert_eq!(taken(ledger.take(1, b"\xff garbage")), None);
        assert_eq!(
            taken(ledger.take(2, &report(&[0], b"a"))),
            Some((0, vec![0]))
        );
    }
}
