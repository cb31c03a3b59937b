//! Which outcomes of a job have been seen.
//!
//! The first outcome of a task wins; this set tells first from further. Tasks end nearly in order, so all below a floor are seen and only the
//! few above it are kept one by one: the size is bounded by how far the tasks in flight lie apart, not by the job.

use std::collections::BTreeSet;

use crate::id::TaskIndex;

/// A set of task indices, dense from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    floor: TaskIndex,
    above: BTreeSet<TaskIndex>,
}

impl Seen {
    /// Add `index`; says whether it was new.
    pub fn insert(&mut self, index: TaskIndex) -> First {
        if index < self.floor {
            return First::No;
        }
        if index > self.floor {
            return if self.above.insert(index) { First::Yes } else { First::No };
        }
        self.floor += 1;
        while self.above.remove(&self.floor) {
            self.floor += 1;
        }
        First::Yes
    }

    /// Whether `index` was added.
    #[must_use]
    pub fn contains(&self, index: TaskIndex) -> bool {
        index < self.floor || self.above.contains(&index)
    }

    /// How many were added.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.floor + self.above.len() as u64
    }

    /// Whether none was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether an index came for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// It did.
    Yes,
    /// It was there already.
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
            }
        }
    }

    #[test]
    fn keeps_nothing_for_tasks_that_ended_in_order() {
        let mut seen = Seen::default();
        for index in (0..1000).rev() {
            seen.insert(index);
        }
        assert_eq!(seen, Seen { floor: 1000, above: BTreeSet::new() });
    }
}
