//! One input on its way through the functions.

use sortie::{Bill, Ending, Failure, InputName, Log, Outcome, TaskError, TaskFuture};

use super::bill::together;

/// The tasks of one input. The function of each takes the result of the one before.
pub(super) struct Way {
    /// The input's position, from 0.
    pub(super) index: u64,
    /// What results call the input.
    pub(super) input: Option<InputName>,
    pub(super) tasks: Vec<TaskFuture<()>>,
    /// Why the next function is not called, if one is missing.
    pub(super) refused: Option<Failure>,
}

/// How an input's way ended.
pub(super) struct Walked {
    /// The outcome of the last task, with what all of them took and printed.
    pub(super) outcome: Outcome,
    /// The place of its function.
    pub(super) function: usize,
    /// What the results took that were here, and what was printed.
    pub(super) bytes: u64,
}

impl Way {
    /// Wait for the way's end: the last result, or the first failure. A task's future is dropped
    /// when it has ended, so that its result stays only as long as the next task needs it.
    ///
    /// # Errors
    /// When it is not known how a task ended.
    pub(super) async fn walk(self) -> Result<Walked, TaskError> {
        let mut walked = Walked {
            outcome: Outcome {
                index: self.index,
                attempts: 0,
                ending: Ending::Cancelled,
                bill: Bill::default(),
                log: None,
                input: self.input,
                function: None,
            },
            function: 0,
            bytes: 0,
        };
        let mut bill = None;
        let mut has_completed = true;
        for (place, task) in self.tasks.into_iter().enumerate() {
            let outcome = task.outcome().await?;
            bill = Some(together(bill, &outcome.bill));
            walked.take(place, outcome);
            has_completed = matches!(walked.outcome.ending, Ending::Completed(_));
            if !has_completed {
                break;
            }
        }
        walked.outcome.bill = bill.unwrap_or_default();
        if let Some(failure) = self.refused.filter(|_| has_completed) {
            walked.refuse(bill.is_some(), failure);
        }
        Ok(walked)
    }
}

impl Walked {
    fn take(&mut self, place: usize, outcome: Outcome) {
        if let Ending::Completed(output) = &outcome.ending {
            self.bytes = self.bytes.saturating_add(output.weight() as u64);
        }
        let log_bytes = outcome.log.as_ref().map_or(0, |log| log.text.len());
        self.bytes = self.bytes.saturating_add(log_bytes as u64);
        self.function = place;
        self.outcome.attempts = outcome.attempts;
        self.outcome.ending = outcome.ending;
        self.outcome.log = joined(self.outcome.log.take(), outcome.log);
    }

    /// The function that follows could not be called, or the first if none was.
    fn refuse(&mut self, was_called: bool, failure: Failure) {
        self.function += usize::from(was_called);
        self.outcome.attempts = 0;
        self.outcome.ending = Ending::Failed(failure);
    }
}

/// What several tasks printed, one after the other.
fn joined(before: Option<Box<Log>>, then: Option<Box<Log>>) -> Option<Box<Log>> {
    match (before, then) {
        (Some(mut before), Some(then)) => {
            before.text.push_str(&then.text);
            before.dropped = before.dropped.saturating_add(then.dropped);
            Some(before)
        }
        (before, then) => before.or(then),
    }
}
