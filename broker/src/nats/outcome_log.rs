//! Reads a job's stored reports in order and decides which outcomes count.
//!
//! Workers may report on a task more than once, and the stream keeps every report. Each reader that
//! starts at the beginning takes the first outcome of each task, the first seal, and nothing after
//! the marker of a cancelled job. So all readers agree at any time, and no server looks into a
//! report. Positions count the outcomes that are taken.
//!
//! A report that this program cannot read, one of a later version for example, names its tasks in a
//! header. Their outcomes count as taken, because they do for readers that can read them: a later
//! outcome of the same task is not theirs, and positions stay equal.

use async_nats::HeaderMap;
use sortie_protocol::envelope::{self, Message};
use sortie_protocol::seen::{First, Seen};
use sortie_protocol::{Outcome, TaskIndex};

use super::task_ranges;
use crate::traits::Position;

/// The state of one reader of a job's reports.
#[derive(Debug, Default)]
pub(super) struct OutcomeLog {
    seen: Seen,
    position: Position,
    /// The last message that was read: its sequence in the stream.
    last: u64,
    sealed: Option<TaskIndex>,
    cancelled: bool,
}

/// What one message added.
#[derive(Debug)]
pub(super) enum Taken {
    /// These outcomes, the first at this position.
    Outcomes(Position, Vec<Outcome>),
    /// Outcomes that cannot be read, of these tasks if the message names any.
    Unreadable(Vec<TaskIndex>, String),
    /// How many tasks the job has.
    Sealed(TaskIndex),
    /// The end: the job was cancelled.
    Cancelled,
    /// Nothing new.
    Nothing,
}

impl From<Position> for OutcomeLog {
    /// Of a job whose outcomes before this position were dropped.
    fn from(position: Position) -> Self {
        Self {
            position,
            ..Self::default()
        }
    }
}

impl OutcomeLog {
    /// The position of the next outcome.
    pub(super) fn position(&self) -> Position {
        self.position
    }

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

    /// Whether the stored seal was read.
    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Take in a message. One that was read before adds nothing.
    pub(super) fn take(
        &mut self,
        sequence: u64,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Taken {
        if sequence <= self.last || self.cancelled {
            return Taken::Nothing;
        }
        self.last = sequence;
        match envelope::decode(payload) {
            Ok(Message::Outcomes(outcomes)) => self.take_outcomes(outcomes),
            Ok(Message::Sealed(tasks)) => self.take_seal(tasks),
            Ok(Message::Cancelled) => {
                self.cancelled = true;
                Taken::Cancelled
            }
            // No outcome is lost: messages of this kind contain none.
            Ok(_) => {
                tracing::warn!(
                    sequence,
                    "skipped a message in a job's outcomes that is not a report"
                );
                Taken::Nothing
            }
            Err(error) => self.take_unreadable(task_ranges::read(headers), error.to_string()),
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

    fn take_seal(&mut self, tasks: TaskIndex) -> Taken {
        if self.sealed.is_some() {
            return Taken::Nothing;
        }
        self.sealed = Some(tasks);
        Taken::Sealed(tasks)
    }

    fn take_unreadable(&mut self, mut tasks: Vec<TaskIndex>, reason: String) -> Taken {
        let named = !tasks.is_empty();
        tasks.retain(|task| self.seen.insert(*task) == First::Yes);
        self.position += tasks.len() as Position;
        if named && tasks.is_empty() {
            // Reports on tasks that had ended before.
            return Taken::Nothing;
        }
        Taken::Unreadable(tasks, reason)
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
            input: None,
            function: None,
        };
        envelope::outcomes(&indices.iter().map(outcome).collect::<Vec<_>>())
    }

    fn taken(taken: Taken) -> Option<(Position, Vec<u64>)> {
        match taken {
            Taken::Outcomes(first, outcomes) => Some((
                first,
                outcomes.iter().map(|outcome| outcome.index).collect(),
            )),
            Taken::Unreadable(..) | Taken::Sealed(_) | Taken::Cancelled | Taken::Nothing => None,
        }
    }

    #[test]
    fn the_first_outcome_of_a_task_is_taken_and_positions_are_dense() {
        let mut log = OutcomeLog::default();
        assert_eq!(
            taken(log.take(10, None, &report(&[0, 1], b"a"))),
            Some((0, vec![0, 1]))
        );
        assert_eq!(
            taken(log.take(12, None, &report(&[1, 2], b"b"))),
            Some((2, vec![2]))
        );
        assert_eq!(
            taken(log.take(12, None, &report(&[3], b"b"))),
            None,
            "a message that was read before"
        );
        assert_eq!(taken(log.take(20, None, &report(&[0, 1], b"c"))), None);
        assert_eq!(
            taken(log.take(21, None, &report(&[5], b"c"))),
            Some((3, vec![5]))
        );
    }

    #[test]
    fn nothing_counts_after_the_marker() {
        let mut log = OutcomeLog::default();
        log.take(1, None, &report(&[0], b"a"));
        assert!(matches!(
            log.take(2, None, &envelope::cancelled()),
            Taken::Cancelled
        ));
        assert_eq!(taken(log.take(3, None, &report(&[1], b"a"))), None);
    }

    #[test]
    fn the_first_seal_is_told_once_and_none_after_the_marker() {
        let mut log = OutcomeLog::default();
        let mut seal = |sequence, tasks| log.take(sequence, None, &envelope::sealed(tasks));
        assert!(matches!(seal(1, 3), Taken::Sealed(3)));
        assert!(matches!(seal(2, 4), Taken::Nothing));
        let mut log = OutcomeLog::default();
        log.take(1, None, &envelope::cancelled());
        assert!(matches!(
            log.take(2, None, &envelope::sealed(3)),
            Taken::Nothing
        ));
    }

    #[test]
    fn tasks_that_an_unreadable_report_names_are_told_and_count_as_taken() {
        let mut log = OutcomeLog::default();
        log.take(1, None, &report(&[0], b"a"));
        let mut headers = HeaderMap::new();
        task_ranges::insert(&mut headers, 0..3);
        match log.take(2, Some(&headers), b"\xff garbage") {
            Taken::Unreadable(tasks, _) => assert_eq!(tasks, [1, 2]),
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            log.take(3, Some(&headers), b"\xff garbage"),
            Taken::Nothing
        ));
        assert_eq!(
            taken(log.take(4, None, &report(&[2, 3], b"b"))),
            Some((3, vec![3])),
            "a task that others have the outcome of"
        );
    }

    #[test]
    fn an_unreadable_report_without_names_is_told_and_takes_nothing() {
        let mut log = OutcomeLog::default();
        match log.take(1, None, b"\xff garbage") {
            Taken::Unreadable(tasks, reason) => assert!(tasks.is_empty() && !reason.is_empty()),
            other => panic!("{other:?}"),
        }
        assert_eq!(
            taken(log.take(2, None, &report(&[0], b"a"))),
            Some((0, vec![0]))
        );
    }
}
