//! Which results one call of a tree takes, while results come in any order.
//!
//! The results to be reduced are level 0. Each group of `fan_in` neighbours goes to one call, whose
//! result has the group's place on the next level, until one is left. What alone is left of a level
//! is on the next as it is. These are the calls of [`sortie::Client::reduce`]; but results are held
//! here, not futures, so that nothing of what they were made of has to be kept.
//!
//! Bounds: of each level less than `fan_in` results where they come in order; where they do not, as
//! many more as are on their way.

use std::collections::BTreeMap;

use super::fan_in::FanIn;

/// Results that no call takes yet.
#[derive(Debug)]
pub(super) struct Levels<T> {
    fan_in: u64,
    /// From the bottom: groups that are not complete, by their places.
    levels: Vec<BTreeMap<u64, Vec<(u64, T)>>>,
    /// How many results there are to be reduced, once that is known.
    count: Option<u64>,
}

/// What can be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ready<T> {
    /// A call with these results.
    Call(Vec<T>, Place),
    /// This is the result of the whole.
    Root(T),
}

/// Where the result of a call belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    level: usize,
    at: u64,
}

impl Place {
    /// Where a result to be reduced belongs.
    pub(super) fn bottom(at: u64) -> Self {
        Self { level: 0, at }
    }
}

impl<T> Levels<T> {
    /// No results yet.
    pub(super) fn new(fan_in: FanIn) -> Self {
        Self {
            fan_in: fan_in.get().get() as u64,
            levels: Vec::new(),
            count: None,
        }
    }

    /// A result came.
    pub(super) fn put(&mut self, place: Place, item: T) -> Option<Ready<T>> {
        let Place { level, at } = place;
        while self.levels.len() <= level {
            self.levels.push(BTreeMap::new());
        }
        let group = at / self.fan_in;
        let held = self.levels.get_mut(level)?;
        held.entry(group).or_default().push((at, item));
        self.look_at(level, group)
    }

    /// There are so many results to be reduced.
    pub(super) fn end(&mut self, count: u64) -> Vec<Ready<T>> {
        self.count = Some(count);
        let mut ready = Vec::new();
        let (mut level, mut size) = (0, count);
        // Only the last group of a level can have been waiting for this.
        while size > 0 {
            ready.extend(self.look_at(level, (size - 1) / self.fan_in));
            if size == 1 {
                break;
            }
            (level, size) = (level + 1, size.div_ceil(self.fan_in));
        }
        ready
    }

    /// Take a group that is complete.
    fn look_at(&mut self, level: usize, group: u64) -> Option<Ready<T>> {
        let size = self.size(level);
        let complete = match size {
            Some(size) => size.saturating_sub(group * self.fan_in).min(self.fan_in),
            None => self.fan_in,
        };
        let held = self.levels.get_mut(level)?;
        if (held.get(&group)?.len() as u64) < complete {
            return None;
        }
        let mut items = held.remove(&group)?;
        if let [_] = items.as_slice() {
            let (_, alone) = items.pop()?;
            if size == Some(1) {
                return Some(Ready::Root(alone));
            }
            let (level, at) = (level + 1, group);
            return self.put(Place { level, at }, alone);
        }
        items.sort_by_key(|(at, _)| *at);
        let items = items.into_iter().map(|(_, item)| item).collect();
        let (level, at) = (level + 1, group);
        Some(Ready::Call(items, Place { level, at }))
    }

    /// How many results a level has, if that is known.
    fn size(&self, level: usize) -> Option<u64> {
        let count = self.count?;
        Some((0..level).fold(count, |size, _| size.div_ceil(self.fan_in)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(self.0 >> 33).unwrap() % bound
        }
    }

    /// The calls for so many results as brackets, where up to `window` of results and calls are on
    /// their way and end in any order. With the most that was held.
    fn brackets(results: u64, fan_in: &str, window: usize, random: &mut Random) -> (String, usize) {
        let mut levels = Levels::new(fan_in.parse().unwrap());
        let mut under_way = Vec::new();
        let (mut next, mut held) = (0, 0);
        let mut has_ended = false;
        loop {
            while next < results && under_way.len() < window {
                under_way.push((Place::bottom(next), next.to_string()));
                next += 1;
            }
            let mut ready = Vec::new();
            // That there are no more may be known at any time after the last one was taken.
            if next == results && !has_ended && (under_way.is_empty() || random.below(3) == 0) {
                has_ended = true;
                ready = levels.end(results);
            } else if !under_way.is_empty() {
                let (place, item) = under_way.swap_remove(random.below(under_way.len()));
                ready.extend(levels.put(place, item));
            }
            for ready in ready {
                match ready {
                    Ready::Root(root) => {
                        assert!(under_way.is_empty() && has_ended);
                        assert!(levels.levels.iter().all(BTreeMap::is_empty));
                        return (root, held);
                    }
                    Ready::Call(items, place) => {
                        under_way.push((place, format!("({})", items.join(" "))));
                    }
                }
            }
            let groups = levels.levels.iter().flat_map(BTreeMap::values);
            held = held.max(groups.map(Vec::len).sum());
        }
    }

    /// The same by whole levels, one after the other, as the client does it.
    fn by_levels(results: u64, fan_in: usize) -> String {
        let mut level: Vec<_> = (0..results).map(|number| number.to_string()).collect();
        while level.len() > 1 {
            let groups = level.chunks(fan_in).map(|group| match group {
                [alone] => alone.clone(),
                group => format!("({})", group.join(" ")),
            });
            level = groups.collect();
        }
        level.remove(0)
    }

    #[test]
    fn results_in_any_order_give_the_calls_of_a_tree_that_is_built_level_by_level() {
        let mut random = Random(1);
        for fan_in in 2..6_usize {
            for results in 1..150 {
                let window = 1 + random.below(20);
                let (calls, held) = brackets(results, &fan_in.to_string(), window, &mut random);
                assert_eq!(calls, by_levels(results, fan_in), "{results} by {fan_in}");
                let levels = usize::try_from(results.ilog(fan_in as u64)).unwrap() + 1;
                let bound = levels * (fan_in - 1) + window * (fan_in - 1) * levels;
                assert!(held <= bound, "{held} of {results} by {fan_in}");
            }
        }
        let in_order = brackets(5, "2", 1, &mut random).0;
        assert_eq!(in_order, "(((0 1) (2 3)) 4)");
    }

    #[test]
    fn results_in_their_order_are_held_only_at_the_edge() {
        let mut levels = Levels::new(FanIn::default());
        let mut calls = vec![];
        for number in 0..100_000 {
            calls.extend(levels.put(Place::bottom(number), number));
            while let Some(Ready::Call(items, place)) = calls.pop() {
                assert_eq!(items.len(), 16);
                calls.extend(levels.put(place, number));
            }
            let groups = levels.levels.iter().flat_map(BTreeMap::values);
            assert!(groups.map(Vec::len).sum::<usize>() <= 5 * 15);
        }
    }

    #[test]
    fn nothing_has_no_result() {
        assert_eq!(Levels::<u8>::new(FanIn::default()).end(0), []);
    }
}
