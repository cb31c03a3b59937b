//! Reads a job's stored reports in order and decides which outcomes count.
//!
//! Workers may report on a task more than once, and the stream keeps every report. Each reader that
//! starts at the beginning takes the first outcome of each task, and nothing after the marker of a
//! cancelled job. So all readers agree at any time, and no server looks into a report. Positions
//! count the outcomes that are taken.

use sortie_protocol::Outcome;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::seen::{First, Seen};

use crate::broker::Position;

/// What one reader has read so far.
#[derive(Debug, Default)]
pub(super) struct OutcomeLog {
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

impl OutcomeLog {
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
        let mut log = OutcomeLog::default();
        assert_eq!(
            taken(log.take(10, &report(&[0, 1], b"a"))),
            Some((0, vec![0, 1]))
        );
        assert_eq!(
            taken(log.take(12, &report(&[1, 2], b"b"))),
            Some((2, vec![2]))
        );
        assert_eq!(
            taken(log.take(12, &report(&[3], b"b"))),
            None,
            "a message that was read before"
        );
        assert_eq!(taken(log.take(20, &report(&[0, 1], b"c"))), None);
        assert_eq!(taken(log.take(21, &report(&[5], b"c"))), Some((3, vec![5])));
    }

    #[test]
    fn nothing_counts_after_the_marker() {
        let mut log = OutcomeLog::default();
        log.take(1, &report(&[0], b"a"));
        assert!(matches!(
            log.take(2, &envelope::cancelled()),
            Taken::Cancelled
        ));
        assert_eq!(taken(log.take(3, &report(&[1], b"a"))), None);
    }

    #[test]
    fn what_cannot_be_read_is_skipped() {
        let mut log = OutcomeLog::default();
        assert_eq!(taken(log.take(1, b"\xff garbage")), None);
        assert_eq!(taken(log.take(2, &report(&[0], b"a"))), Some((0, vec![0])));
    }
}
