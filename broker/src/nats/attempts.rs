//! Counts the attempts at the tasks of one bundle, and decides which of them are run next.
//!
//! A bundle stays one message from its publishing to its end: handing it back needs no room in the
//! queue. The server counts how often it delivered the message. It does not know which deliveries
//! were lost leases, nor what became of each task, so a worker that hands a bundle back notes both
//! beside it: the number of the delivery, and for each task that is left its attempts, its lost
//! leases in a row, and how long it has to wait. Deliveries after the noted one were lost. Whoever
//! gets the bundle next computes from this what the lost leases were granted for, because
//! [`Attempts::next`] depends on nothing else.
//!
//! No clock and no I/O. Waits are durations from the moment of handing back, so that no two clocks
//! are compared; while a lease is lost they stand still.

use std::time::Duration;

use sortie_protocol::delivery::{self, Delivery};
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::{Bundle, TaskIndex};

/// The longest wait that is granted: a day. A note may say anything.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// One task that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempted {
    pub(super) index: TaskIndex,
    /// Attempts so far.
    pub(super) attempts: u32,
    /// Leases lost in a row.
    pub(super) losses: u32,
    /// Not before this long.
    pub(super) wait: Duration,
}

/// The tasks of a bundle that did not end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attempts(pub(super) Vec<Attempted>);

/// What to do with a bundle now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Run these together: they have the same attempts and losses.
    Run(Vec<Attempted>),
    /// Give these up.
    GiveUp(Vec<Attempted>),
    /// None is due for this long.
    Wait(Duration),
    /// None is left.
    Nothing,
}

/// What a worker noted when it handed a bundle back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The number of the delivery that it had.
    pub(super) delivery: u64,
    /// The tasks that were left.
    pub(super) attempts: Attempts,
}

impl Attempts {
    /// Of a bundle that nobody had yet.
    pub(super) fn of(bundle: &Bundle) -> Self {
        let new = |index| Attempted {
            index,
            attempts: bundle.attempts_before,
            losses: bundle.lost_before,
            wait: Duration::ZERO,
        };
        Self(bundle.tasks.iter().map(|task| new(task.index)).collect())
    }

    /// What is run, given up or waited for next. Of tasks that are due, those with the fewest
    /// losses go first, so that one that kills its workers holds up no other.
    pub(super) fn next(&self, losses_max: u32) -> Next {
        let due = self.0.iter().filter(|task| task.wait.is_zero());
        let Some(first) = due.clone().min_by_key(|task| (task.losses, task.attempts)) else {
            let soonest = self.0.iter().map(|task| task.wait).min();
            return soonest.map_or(Next::Nothing, Next::Wait);
        };
        let kind = (first.losses, first.attempts);
        let mut together: Vec<Attempted> = due
            .filter(|task| (task.losses, task.attempts) == kind)
            .copied()
            .collect();
        match delivery::decide(together.len(), first.losses, losses_max) {
            Delivery::Run => Next::Run(together),
            Delivery::Split => {
                together.truncate(1);
                Next::Run(together)
            }
            Delivery::GiveUp => Next::GiveUp(together),
        }
    }

    /// A lease was lost that nobody noted.
    pub(super) fn lose(&mut self, losses_max: u32) {
        let Next::Run(leased) = self.next(losses_max) else {
            // Not a lease: handing back, or giving up, came to nothing.
            return;
        };
        for lost in leased {
            for task in self.0.iter_mut().filter(|task| task.index == lost.index) {
                task.attempts = task.attempts.saturating_add(1);
                task.losses = task.losses.saturating_add(1);
            }
        }
    }

    pub(super) fn remove(&mut self, ended: impl Fn(TaskIndex) -> bool) {
        self.0.retain(|task| !ended(task.index));
    }

    /// Time passed.
    pub(super) fn pass(&mut self, elapsed: Duration) {
        for task in &mut self.0 {
            task.wait = task.wait.saturating_sub(elapsed);
        }
    }

    /// How long to hand the bundle back for. Tasks that are due soon after the first wait for each
    /// other, up to half as long again, so that they come back together; each comes no sooner than
    /// it should.
    pub(super) fn hand_back(&mut self) -> Duration {
        let soonest = self
            .0
            .iter()
            .map(|task| task.wait)
            .min()
            .unwrap_or_default();
        let latest = soonest + soonest / 2;
        let waits = self.0.iter().map(|task| task.wait);
        let delay = waits
            .filter(|wait| *wait <= latest)
            .max()
            .unwrap_or_default();
        self.pass(delay);
        delay
    }
}

impl Note {
    /// As text, so that operators read it with any NATS tool: the number of the delivery, then for
    /// each range of tasks, its ends included, the attempts, the losses and the wait in
    /// milliseconds.
    pub(super) fn write(&self) -> String {
        let mut text = self.delivery.to_string();
        let mut left = self.attempts.0.iter().peekable();
        while let Some(first) = left.next() {
            let mut last = first.index;
            let joins = |task: &&Attempted, last: TaskIndex| {
                last.checked_add(1) == Some(task.index)
                    && (task.attempts, task.losses, task.wait)
                        == (first.attempts, first.losses, first.wait)
            };
            while let Some(next) = left.next_if(|task| joins(task, last)) {
                last = next.index;
            }
            // A part of a millisecond counts as a whole one.
            let wait = first.wait.as_nanos().div_ceil(1_000_000);
            text += &format!(
                "\n{}-{last} {} {} {wait}",
                first.index, first.attempts, first.losses
            );
        }
        text
    }

    /// None if it is no note. It names no more tasks than a bundle holds.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let delivery = lines.next()?.parse().ok()?;
        let mut tasks = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            let (first, last) = words.next()?.split_once('-')?;
            let indices = first.parse::<TaskIndex>().ok()?..=last.parse().ok()?;
            let (attempts, losses) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let wait = Duration::from_millis(words.next()?.parse().ok()?).min(WAIT_MAX);
            let room = TASKS_MAX.saturating_sub(tasks.len());
            tasks.extend(indices.take(room).map(|index| Attempted {
                index,
                attempts,
                losses,
                wait,
            }));
        }
        Some(Self {
            delivery,
            attempts: Attempts(tasks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 5;

    fn task(index: TaskIndex, attempts: u32, losses: u32, millis: u64) -> Attempted {
        let wait = Duration::from_millis(millis);
        Attempted {
            index,
            attempts,
            losses,
            wait,
        }
    }

    fn run(attempts: &Attempts) -> Vec<TaskIndex> {
        match attempts.next(MAX) {
            Next::Run(tasks) => tasks.iter().map(|task| task.index).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn after_two_losses_tasks_go_alone_and_the_one_that_was_lost_most_goes_last() {
        let mut attempts = Attempts((0..3).map(|index| task(index, 0, 0, 0)).collect());
        attempts.lose(MAX);
        assert_eq!(run(&attempts), [0, 1, 2]);
        attempts.lose(MAX);
        assert_eq!(run(&attempts), [0]);
        attempts.lose(MAX);
        assert_eq!(run(&attempts), [1]);
        attempts.remove(|index| index == 1);
        assert_eq!(run(&attempts), [2]);
        attempts.remove(|index| index == 2);
        for losses in 3..MAX {
            assert_eq!(attempts.0, [task(0, losses, losses, 0)]);
            attempts.lose(MAX);
        }
        assert_eq!(attempts.next(MAX), Next::GiveUp(vec![task(0, MAX, MAX, 0)]));
        attempts.lose(MAX);
        assert_eq!(attempts.0, [task(0, MAX, MAX, 0)], "that was no lease");
    }

    #[test]
    fn tasks_of_another_attempt_or_that_have_to_wait_are_not_run_with_the_others() {
        let waiting = task(3, 1, 0, 500);
        let mut attempts = Attempts(vec![task(1, 2, 0, 0), task(2, 1, 0, 0), waiting]);
        assert_eq!(run(&attempts), [2]);
        attempts.remove(|index| index != 3);
        assert_eq!(attempts.next(MAX), Next::Wait(Duration::from_millis(500)));
        attempts.pass(Duration::from_millis(600));
        assert_eq!(run(&attempts), [3]);
        attempts.remove(|_| true);
        assert_eq!(attempts.next(MAX), Next::Nothing);
    }

    #[test]
    fn tasks_that_are_due_at_about_the_same_time_come_back_together_and_none_too_soon() {
        let waits = [1_000, 1_400, 1_600].into_iter().zip(0..);
        let mut attempts = Attempts(
            waits
                .map(|(millis, index)| task(index, 1, 0, millis))
                .collect(),
        );
        assert_eq!(attempts.hand_back(), Duration::from_millis(1_400));
        assert_eq!(run(&attempts), [0, 1]);
        assert_eq!(attempts.0.last(), Some(&task(2, 1, 0, 200)));
        attempts.0.push(task(9, 1, 1, 0));
        assert_eq!(attempts.hand_back(), Duration::ZERO);
    }

    #[test]
    fn a_note_comes_out_as_it_went_in() {
        let tasks = vec![
            task(0, 1, 0, 0),
            task(1, 1, 0, 0),
            task(2, 1, 1, 0),
            task(4, 1, 1, 1),
            task(TaskIndex::MAX, 7, 2, 86_400_000),
        ];
        for tasks in [tasks, Vec::new()] {
            let note = Note {
                delivery: 12,
                attempts: Attempts(tasks),
            };
            assert_eq!(Note::parse(note.write().as_bytes()), Some(note));
        }
    }

    #[test]
    fn a_note_may_say_anything_and_costs_no_more_than_a_bundle() {
        for text in [
            "",
            "x",
            "1\n",
            "1\n1 1 1 1",
            "1\n2-3 1",
            "1\n1-1 a 1 1",
            "1\n1-1 1 1 ",
        ] {
            let is_whole = text == "1\n";
            assert_eq!(Note::parse(text.as_bytes()).is_some(), is_whole, "{text:?}");
        }
        assert_eq!(Note::parse(b"\xff"), None);
        let endless = Note::parse(b"1\n0-18446744073709551615 1 1 1\n0-9 1 1 1").unwrap();
        assert_eq!(endless.attempts.0.len(), TASKS_MAX);
    }
}
