//! A graph of tasks that each take the results of three earlier ones, drawn from a seed.
//!
//! `dask_graphs.py` draws the same. The first tasks take the number 1 instead; every task adds up
//! what it takes.

/// How many earlier results a task takes.
pub const INPUTS: usize = 3;

/// Which tasks take whose results.
#[derive(Debug, Default)]
pub struct Drawn {
    /// Of each task, three others; none of the first three.
    pub inputs: Vec<Option<[usize; INPUTS]>>,
    /// Whether another task takes its result.
    pub taken: Vec<bool>,
}

impl Drawn {
    /// Draw a graph: the same one for the same seed.
    pub fn new(tasks: usize, seed: u64) -> Self {
        let mut state = seed;
        let mut taken = vec![false; tasks];
        let inputs = (0..tasks).map(|task| {
            let inputs = (task >= INPUTS).then(|| chosen(task, &mut state));
            for input in inputs.iter().flatten() {
                taken[*input] = true;
            }
            inputs
        });
        Self {
            inputs: inputs.collect(),
            taken,
        }
    }

    /// The results of tasks whose result no other takes, in their order.
    pub fn sinks(&self) -> Vec<i64> {
        let mut results: Vec<i64> = Vec::with_capacity(self.inputs.len());
        for inputs in &self.inputs {
            results.push(match inputs {
                None => 1,
                Some(inputs) => inputs.iter().map(|input| results[*input]).sum(),
            });
        }
        let all = results.into_iter().zip(&self.taken);
        all.filter(|(_, is_taken)| !**is_taken)
            .map(|(result, _)| result)
            .collect()
    }
}

/// Different tasks of those before this one, of which there are enough.
fn chosen(task: usize, state: &mut u64) -> [usize; INPUTS] {
    let mut inputs = [usize::MAX; INPUTS];
    for at in 0..INPUTS {
        while inputs[at] == usize::MAX {
            let input = (next(state) % task as u64) as usize;
            if !inputs.contains(&input) {
                inputs[at] = input;
            }
        }
    }
    inputs
}

/// The next number of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_take_different_earlier_results_and_the_rest_are_sinks() {
        let drawn = Drawn::new(500, 1);
        for (task, inputs) in drawn.inputs.iter().enumerate() {
            assert_eq!(inputs.is_some(), task >= INPUTS);
            for (at, input) in inputs.iter().flatten().enumerate() {
                assert!(*input < task);
                assert!(drawn.taken[*input]);
                assert!(
                    !inputs
                        .iter()
                        .flatten()
                        .skip(at + 1)
                        .any(|other| other == input)
                );
            }
        }
        let sinks = drawn.taken.iter().filter(|is_taken| !**is_taken).count();
        assert_eq!(drawn.sinks().len(), sinks);
        assert!(!drawn.taken[499]);
        // Three ones, and the only task that can take them.
        assert_eq!(Drawn::new(4, 7).sinks(), [3]);
    }

    #[test]
    fn the_graph_is_the_one_that_the_script_for_dask_draws() {
        let drawn = Drawn::new(100, 1);
        assert_eq!(drawn.inputs[50], Some([49, 23, 22]));
        assert_eq!(drawn.sinks().len(), 23);
        assert_eq!(drawn.sinks().iter().sum::<i64>(), 25_667);
    }
}
