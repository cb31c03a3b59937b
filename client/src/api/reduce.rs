//! Reduces many results to one, as a tree.

use std::num::NonZeroUsize;

use crate::api::client::Client;
use crate::api::function::Function;
use crate::api::future::TaskFuture;
use crate::error::SubmitError;

/// Which results a call of a tree takes, while results still come: `fan_in` neighbours at a time,
/// then that many of what those calls give, until one is left. The order is kept.
///
/// It holds less than `fan_in` results of each level, whatever their number. [`Client::reduce`]
/// uses it; use it alone to reduce more results than there may be futures at once:
///
/// ```no_run
/// use sortie::{Client, Function, Rest, Tree};
///
/// # async fn example(client: Client, square: Function<u64>, sum: Function<u64>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let mut tree = Tree::new(16.try_into()?);
/// for number in 0..1_000_000 {
///     let mut last = (0, client.submit(&square, (number,)).await?);
///     while let Some(group) = tree.push(last.0, last.1) {
///         last = (group.level, client.submit(&sum, (&group.items,)).await?);
///     }
/// }
/// let total = loop {
///     match tree.rest() {
///         Some(Rest::Group(group)) => {
///             let sum = client.submit(&sum, (&group.items,)).await?;
///             tree.put(group.level, sum);
///         }
///         Some(Rest::Root(root)) => break root.await?,
///         None => break 0,
///     }
/// };
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree<T> {
    fan_in: usize,
    /// What no call takes yet, of each level from the bottom.
    levels: Vec<Vec<T>>,
}

/// Results that one call takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<T> {
    /// They, in their order.
    pub items: Vec<T>,
    /// The level of what the call gives.
    pub level: usize,
}

/// What is left of a tree when no further results come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest<T> {
    /// Another call is due.
    Group(Group<T>),
    /// This is the result of the whole.
    Root(T),
}

impl<T> Tree<T> {
    /// A tree without results. A `fan_in` of 1 counts as 2.
    #[must_use]
    pub fn new(fan_in: NonZeroUsize) -> Self {
        Self {
            fan_in: fan_in.get().max(2),
            levels: Vec::new(),
        }
    }

    /// Add a result: 0 is the level of those that are reduced, and [`Group::level`] that of what a
    /// call gives. A group, if one is full with it.
    pub fn push(&mut self, level: usize, item: T) -> Option<Group<T>> {
        self.put(level, item);
        let items = self.levels.get_mut(level)?;
        (items.len() >= self.fan_in).then(|| Group {
            items: std::mem::take(items),
            level: level + 1,
        })
    }

    /// Add a result without asking whether a group is full: [`Self::rest`] tells.
    pub fn put(&mut self, level: usize, item: T) {
        while self.levels.len() <= level {
            self.levels.push(Vec::new());
        }
        if let Some(items) = self.levels.get_mut(level) {
            items.push(item);
        }
    }

    /// The next group, full or not, of the lowest level that has any, or the result of the whole:
    /// for a caller who has no further results. What alone is left of a level belongs to the next.
    /// `None` if there was no result at all.
    pub fn rest(&mut self) -> Option<Rest<T>> {
        loop {
            let level = self.levels.iter().position(|items| !items.is_empty())?;
            let is_last = self.levels.iter().skip(level + 1).all(Vec::is_empty);
            let items = std::mem::take(self.levels.get_mut(level)?);
            let mut one_or_more = items.into_iter();
            match (one_or_more.len(), is_last) {
                (1, true) => return one_or_more.next().map(Rest::Root),
                (1, false) => self.put(level + 1, one_or_more.next()?),
                _ => {
                    return Some(Rest::Group(Group {
                        items: one_or_more.collect(),
                        level: level + 1,
                    }));
                }
            }
        }
    }
}

impl Client {
    /// Reduce the results of many tasks to one: `function`, whose only parameter is a list, is
    /// called with up to `fan_in` results at a time, then with the results of that, until one is
    /// left. The order is kept, so the function need not be commutative; it has to be associative.
    /// Each call starts as soon as its inputs are there.
    ///
    /// One future alone comes back as it is. If a task fails, so does the whole, with
    /// `upstream-failed`. [`Tree`] is the same for results that still come.
    ///
    /// # Errors
    /// When there is no future, `fan_in` is 1, or as [`Client::submit`].
    pub async fn reduce<T>(
        &self,
        function: &Function<T>,
        futures: impl IntoIterator<Item = TaskFuture<T>>,
        fan_in: NonZeroUsize,
    ) -> Result<TaskFuture<T>, SubmitError> {
        let invalid = |why: &str| SubmitError::argument(why.into());
        if fan_in.get() < 2 {
            return Err(invalid("a tree needs a fan-in of 2 or more"));
        }
        let mut tree = Tree::new(fan_in);
        for future in futures {
            let mut last = (0, future);
            while let Some(group) = tree.push(last.0, last.1) {
                last = (group.level, self.submit(function, (group.items,)).await?);
            }
        }
        loop {
            match tree.rest() {
                Some(Rest::Group(group)) => {
                    let reduced = self.submit(function, (group.items,)).await?;
                    tree.put(group.level, reduced);
                }
                Some(Rest::Root(root)) => return Ok(root),
                None => return Err(invalid("there is nothing to reduce")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls for so many results, as brackets, and the most results that were held.
    fn brackets(results: usize, fan_in: usize) -> (Option<String>, usize) {
        let mut tree = Tree::new(NonZeroUsize::new(fan_in).unwrap());
        let call = |group: &Group<String>| format!("({})", group.items.join(" "));
        let mut held = 0;
        for number in 0..results {
            let mut last = (0, number.to_string());
            while let Some(group) = tree.push(last.0, last.1) {
                assert_eq!(group.items.len(), fan_in);
                last = (group.level, call(&group));
            }
            held = held.max(tree.levels.iter().map(Vec::len).sum());
        }
        loop {
            match tree.rest() {
                Some(Rest::Group(group)) => {
                    assert!((2..=fan_in).contains(&group.items.len()), "{group:?}");
                    tree.put(group.level, call(&group));
                }
                Some(Rest::Root(root)) => {
                    assert_eq!(tree.rest(), None);
                    return (Some(root), held);
                }
                None => return (None, held),
            }
        }
    }

    /// The same by whole levels, one after the other.
    fn by_levels(results: usize, fan_in: usize) -> Option<String> {
        let mut level: Vec<_> = (0..results).map(|number| number.to_string()).collect();
        while level.len() > 1 {
            let groups = level.chunks(fan_in).map(|group| match group {
                [alone] => alone.clone(),
                group => format!("({})", group.join(" ")),
            });
            level = groups.collect();
        }
        level.pop()
    }

    #[test]
    fn a_tree_that_grows_makes_the_calls_of_one_that_is_built_level_by_level() {
        for fan_in in 2..7 {
            for results in 0..200 {
                let (calls, held) = brackets(results, fan_in);
                assert_eq!(calls, by_levels(results, fan_in), "{results} by {fan_in}");
                // Fewer than that of each level, of which there are few.
                let levels = usize::try_from(results.max(1).ilog(fan_in)).unwrap() + 1;
                assert!(held <= (fan_in - 1) * levels, "{held} of {results}");
            }
        }
        assert_eq!(brackets(5, 2).0.as_deref(), Some("(((0 1) (2 3)) 4)"));
    }

    #[test]
    fn a_fan_in_of_one_ends_all_the_same() {
        let mut tree = Tree::new(NonZeroUsize::MIN);
        assert_eq!(tree.push(0, 'a'), None);
        assert!(tree.push(0, 'b').is_some());
    }
}
