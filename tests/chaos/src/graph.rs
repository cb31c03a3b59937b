//! Tasks that take each other's results, drawn from a seed, with the results that a run in sequence
//! gives.

use crate::schedule::Random;

/// One in this many tasks makes subtasks.
const SPREADS: u64 = 40;
/// How many subtasks one makes, less than that.
const SUBTASKS_MAX: u64 = 12;

/// What a task calls, of the component `behaviours`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `add` of a number and the result of the task before it, or of another number.
    Add(Option<usize>, i64),
    /// `sum` of the results of earlier tasks, which are different.
    Sum(Vec<usize>),
    /// `spreads`: the numbers below this, each of which a subtask returns.
    Spreads(i64),
}

/// A graph.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    /// The tasks, each after those whose results it takes.
    pub calls: Vec<Call>,
    /// What each returns.
    pub results: Vec<i64>,
}

impl Drawn {
    /// Draw a graph: the same one for the same seed.
    #[must_use]
    pub fn new(tasks: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut drawn = Self::default();
        for task in 0..tasks {
            let call = call(&mut random, task);
            drawn.results.push(drawn.result(&call));
            drawn.calls.push(call);
        }
        drawn
    }

    fn result(&self, call: &Call) -> i64 {
        match call {
            Call::Add(input, number) => input
                .map_or(0, |input| self.results[input])
                .wrapping_add(*number),
            Call::Sum(inputs) => inputs
                .iter()
                .fold(0, |sum, input| sum.wrapping_add(self.results[*input])),
            Call::Spreads(count) => count * (count - 1) / 2,
        }
    }
}

fn call(random: &mut Random, task: usize) -> Call {
    let number = |random: &mut Random, end: u64| i64::try_from(random.below(end)).unwrap_or(0);
    if random.below(SPREADS) == 0 {
        return Call::Spreads(number(random, SUBTASKS_MAX));
    }
    // Half of all are links of chains.
    if task == 0 || random.below(2) == 0 {
        let is_link = task > 0 && random.below(8) > 0;
        return Call::Add(is_link.then(|| task - 1), number(random, 1000));
    }
    let wanted = 1 + usize::try_from(random.below(3)).unwrap_or(0);
    let mut inputs = Vec::new();
    for _ in 0..wanted {
        let input = usize::try_from(random.below(task as u64)).unwrap_or(0);
        if !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    Call::Sum(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_task_takes_what_comes_before_it() {
        let drawn = Drawn::new(2000, 7);
        let (mut links, mut sums, mut spreads) = (0, 0, 0);
        for (task, call) in drawn.calls.iter().enumerate() {
            match call {
                Call::Add(input, _) => {
                    links += usize::from(input.is_some());
                    assert!(input.is_none_or(|input| input + 1 == task));
                }
                Call::Sum(inputs) => {
                    sums += 1;
                    assert!(!inputs.is_empty() && inputs.iter().all(|input| *input < task));
                }
                Call::Spreads(_) => spreads += 1,
            }
        }
        assert!(
            links > 700 && sums > 700 && spreads > 20,
            "{links} {sums} {spreads}"
        );
        assert_eq!(drawn.calls, Drawn::new(2000, 7).calls);
        assert_ne!(drawn.calls, Drawn::new(2000, 8).calls);
        // No sum comes near the end of its range.
        assert!(
            drawn
                .results
                .iter()
                .all(|result| (0..1 << 50).contains(result))
        );
    }
}
