//! Deduplicates a job's outcomes by task index.
//!
//! The first outcome of a task wins; this set detects further ones. It is stored as disjoint,
//! non-adjacent ranges, so its size is bounded by the gaps between them: at most one for each
//! missing task below the highest index seen, which is no more than there are tasks in flight. A
//! task that takes an hour while a million others end costs one range, not a million indices.

use std::collections::BTreeMap;

use crate::id::TaskIndex;

/// A set of task indices, dense from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Exclusive end of each range, by its start. Ranges are never adjacent.
    ranges: BTreeMap<TaskIndex, TaskIndex>,
    len: u64,
}

impl Seen {
    /// Add `index`; returns whether it was new. `u64::MAX`, which no task has, counts as already
    /// present.
    pub fn insert(&mut self, index: TaskIndex) -> First {
        let Some(mut end) = index.checked_add(1) else {
            return First::No;
        };
        let before = self.range_up_to(index);
        if before.is_some_and(|(_, end)| index < end) {
            return First::No;
        }
        if let Some(further) = self.ranges.remove(&end) {
            end = further;
        }
        let start = before
            .filter(|(_, end)| *end == index)
            .map_or(index, |(start, _)| start);
        self.ranges.insert(start, end);
        self.len += 1;
        First::Yes
    }

    /// Whether `index` was added.
    #[must_use]
    pub fn contains(&self, index: TaskIndex) -> bool {
        self.range_up_to(index).is_some_and(|(_, end)| index < end)
    }

    /// How many were added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The last index that was added.
    #[must_use]
    pub fn last(&self) -> Option<TaskIndex> {
        let (_, end) = self.ranges.last_key_value()?;
        end.checked_sub(1)
    }

    /// All indices, in their order.
    pub fn iter(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.ranges.iter().flat_map(|(start, end)| *start..*end)
    }

    /// In how many ranges the indices lie.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// The first index that was not added.
    #[must_use]
    pub fn first_missing(&self) -> TaskIndex {
        match self.ranges.first_key_value() {
            Some((0, end)) => *end,
            Some(_) | None => 0,
        }
    }

    /// How many of the indices below `before` were added.
    #[must_use]
    pub fn count_before(&self, before: TaskIndex) -> u64 {
        self.ranges
            .range(..before)
            .map(|(start, end)| (*end).min(before) - start)
            .sum()
    }

    /// The last range that starts at `index` or before.
    fn range_up_to(&self, index: TaskIndex) -> Option<(TaskIndex, TaskIndex)> {
        self.ranges
            .range(..=index)
            .next_back()
            .map(|(start, end)| (*start, *end))
    }
}

/// Whether an index was added for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It was new.
    Yes,
    /// It was already present.
    No,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(indices in prop::collection::vec(0_u64..64, 0..200)) {
            let (mut seen, mut model) = (Seen::default(), HashSet::new());
            for index in indices {
                prop_assert_eq!(seen.insert(index) == First::Yes, model.insert(index));
                prop_assert_eq!(seen.len(), model.len() as u64);
            }
            for index in 0..64 {
                prop_assert_eq!(seen.contains(index), model.contains(&index));
                let before = model.iter().filter(|other| **other < index).count() as u64;
                prop_assert_eq!(seen.count_before(index), before);
            }
            prop_assert_eq!(seen.iter().collect::<HashSet<_>>(), model.clone());
            prop_assert_eq!(seen.last(), model.iter().max().copied());
            let missing = (0..).find(|index| !model.contains(index));
            prop_assert_eq!(Some(seen.first_missing()), missing);
        }
    }

    #[test]
    fn one_that_is_missing_costs_one_range_however_far_the_others_are() {
        let mut seen = Seen::default();
        for index in (1..1000).rev().chain(1001..100_000) {
            assert_eq!(seen.insert(index), First::Yes);
        }
        assert_eq!((seen.ranges.len(), seen.len()), (2, 99_998));
        seen.insert(1000);
        seen.insert(0);
        assert_eq!(
            seen,
            Seen {
                ranges: BTreeMap::from([(0, 100_000)]),
                len: 100_000
            }
        );
    }

    #[test]
    fn the_highest_number_is_no_task() {
        let mut seen = Seen::default();
        assert_eq!(
            (seen.insert(TaskIndex::MAX), seen.insert(TaskIndex::MAX - 1)),
            (First::No, First::Yes)
        );
        assert!(seen.contains(TaskIndex::MAX - 1) && !seen.contains(TaskIndex::MAX));
    }
}
