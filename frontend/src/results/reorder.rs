//! Reorders results into the order of their inputs.
//!
//! How many outcomes wait is bounded by the side that takes inputs: [`crate::binding::InFlight`].

use std::collections::BTreeMap;

use super::entry::Entry;

/// Outcomes that wait for an earlier one.
#[derive(Debug, Default)]
pub struct Reorder {
    next: u64,
    waiting: BTreeMap<u64, Entry>,
    bytes: usize,
}

impl Reorder {
    /// An outcome came.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.weight();
        self.waiting.insert(entry.outcome.index, entry);
    }

    /// The next outcome, if its turn has come.
    pub fn pop(&mut self) -> Option<Entry> {
        let entry = self.waiting.remove(&self.next)?;
        self.next += 1;
        self.bytes -= entry.weight();
        Some(entry)
    }

    /// What is left, in order, when nothing more will come.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_values()
    }

    /// The bytes of the results that wait.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use sortie::{Ending, Outcome};

    use super::*;

    fn entry(index: u64) -> Entry {
        Entry::from(Outcome {
            index,
            attempts: 1,
            ending: Ending::Completed(vec![0xf6; 10].into()),
            bill: sortie::Bill::default(),
            log: None,
            input: None,
            function: None,
        })
    }

    #[test]
    fn outcomes_come_back_in_order_and_weigh_nothing_afterwards() {
        let mut reorder = Reorder::default();
        let mut order = Vec::new();
        for index in [2, 0, 4, 1, 3] {
            reorder.push(entry(index));
            order.extend(std::iter::from_fn(|| reorder.pop()).map(|entry| entry.outcome.index));
        }
        assert_eq!((order, reorder.bytes()), (vec![0, 1, 2, 3, 4], 0));
        reorder.push(entry(7));
        reorder.push(entry(6));
        assert_eq!(reorder.bytes(), 20);
        assert_eq!(
            reorder
                .drain()
                .map(|entry| entry.outcome.index)
                .collect::<Vec<_>>(),
            [6, 7]
        );
    }
}
