//! Reorders results into the order of their inputs.
//!
//! How many outcomes wait is bounded by the side that takes inputs: [`crate::binding::InFlight`].

use std::collections::BTreeMap;

use sortie::{Ending, Outcome};

/// Outcomes that wait for an earlier one.
#[derive(Debug, Default)]
pub struct Reorder {
    next: u64,
    waiting: BTreeMap<u64, Outcome>,
    bytes: usize,
}

impl Reorder {
    /// An outcome came.
    pub fn push(&mut self, outcome: Outcome) {
        self.bytes += weight(&outcome);
        self.waiting.insert(outcome.index, outcome);
    }

    /// The next outcome, if its turn has come.
    pub fn pop(&mut self) -> Option<Outcome> {
        let outcome = self.waiting.remove(&self.next)?;
        self.next += 1;
        self.bytes -= weight(&outcome);
        Some(outcome)
    }

    /// What is left, in order, when nothing more will come.
    pub fn drain(&mut self) -> impl Iterator<Item = Outcome> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_values()
    }

    /// The bytes of the results that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The bytes of an outcome's result and log.
pub(crate) fn weight(outcome: &Outcome) -> usize {
    let result = match &outcome.ending {
        Ending::Completed(output) => output.weight(),
        Ending::Failed(_) | Ending::Cancelled => 0,
    };
    result + outcome.log.as_ref().map_or(0, |log| log.text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(index: u64) -> Outcome {
        Outcome {
            index,
            attempts: 1,
            ending: Ending::Completed(vec![0xf6; 10].into()),
            bill: sortie::Bill::default(),
            log: None,
            input: None,
        }
    }

    #[test]
    fn outcomes_come_back_in_order_and_weigh_nothing_afterwards() {
        let mut reorder = Reorder::default();
        let mut order = Vec::new();
        for index in [2, 0, 4, 1, 3] {
            reorder.push(outcome(index));
            order.extend(std::iter::from_fn(|| reorder.pop()).map(|outcome| outcome.index));
        }
        assert_eq!((order, reorder.bytes()), (vec![0, 1, 2, 3, 4], 0));
        reorder.push(outcome(7));
        reorder.push(outcome(6));
        assert_eq!(reorder.bytes(), 20);
        assert_eq!(
            reorder
                .drain()
                .map(|outcome| outcome.index)
                .collect::<Vec<_>>(),
            [6, 7]
        );
    }
}
