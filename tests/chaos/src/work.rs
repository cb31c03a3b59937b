//! What the tasks compute, told without running them.
//!
//! The function is `spins_for` of the component `behaviours`: that many rounds of a linear
//! congruential generator. Each task gets a number of rounds of its own and so a result of its own,
//! so that a mix-up shows; and a result can be told in a few steps, because rounds compose.
//! Some tasks are poison: they would spin for years and are stopped by their job's limit.

use std::num::NonZeroU64;
use std::time::Duration;

use bytes::Bytes;
use sortie_protocol::job::Memo;
use sortie_protocol::{
    Argument, Digest, Ending, FunctionOptions, FunctionRef, Job, JobId, JobKey, Limits, Output,
    Task, TaskIndex,
};

use crate::accounts::{JUDGED, tenant};
use crate::history::Ended;

/// The function's name in its component.
pub const FUNCTION: &str = "spins_for";
/// The component with the function, as the harness finds it.
pub const COMPONENT: &str = "behaviours";

/// The factor and the addend of one round, as in the function.
const FACTOR: u64 = 6_364_136_223_846_793_005;
const ADDEND: u64 = 1_442_695_040_888_963_407;
/// What the function starts with.
const START: u64 = 1;
/// Arguments from here on are poison: decades of rounds.
const POISON: u64 = 1 << 62;
/// The job's limit, which only poison reaches: other tasks take a few milliseconds.
const CPU_TIME: Duration = Duration::from_millis(200);

/// The tasks of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// How many.
    pub tasks: TaskIndex,
    /// Rounds of the first task; each later one has one more.
    pub rounds: u64,
    /// One in this many is poison; none if there is no number.
    pub poison: Option<NonZeroU64>,
}

impl Work {
    /// What the task with this index is called with.
    pub fn argument(&self, index: TaskIndex) -> u64 {
        let is_poison = self
            .poison
            .is_some_and(|every| index % every == every.get() - 1);
        if is_poison {
            POISON + index
        } else {
            self.rounds + index
        }
    }

    /// The task with this index.
    ///
    /// # Panics
    /// Never: a number can be encoded.
    pub fn task(&self, index: TaskIndex) -> Task {
        let mut bytes = Vec::new();
        ciborium::into_writer(&self.argument(index), &mut bytes).expect("a number");
        Task {
            index,
            function: 0,
            arguments: vec![Argument::Value(bytes.into())],
            input: None,
            then: Vec::new(),
        }
    }
}

/// The job that all tasks of a run belong to.
pub fn job(key: JobKey, component: Digest) -> Job {
    let function = FunctionRef {
        component,
        name: FUNCTION.into(),
    };
    Job::of(key, function, options())
}

/// The key of a job of the tenant that is judged.
#[must_use]
pub fn key(job: JobId) -> JobKey {
    JobKey {
        tenant: tenant(JUDGED),
        job,
    }
}

/// What holds for the tasks of every job.
pub fn options() -> FunctionOptions {
    let limits = Limits {
        cpu_time: CPU_TIME,
        ..Limits::default()
    };
    FunctionOptions {
        limits,
        memo: Memo::Off,
        ..FunctionOptions::default()
    }
}

/// How a task with this argument has to end.
pub fn expected(argument: u64) -> Ended {
    if argument >= POISON {
        Ended::Failed("cpu-time-limit".into())
    } else {
        Ended::Value(after(argument))
    }
}

/// How a task ended, in the words of a history.
pub fn ended(ending: &Ending) -> Ended {
    match ending {
        Ending::Completed(Output::Value(bytes)) => value(bytes),
        Ending::Completed(Output::Stored(_) | Output::Object(_) | Output::AtBroker(_)) => {
            Ended::Failed("not-a-number".into())
        }
        Ending::Failed(failure) => Ended::Failed(failure.code().to_owned()),
        Ending::Cancelled => Ended::Failed("cancelled".into()),
    }
}

fn value(bytes: &Bytes) -> Ended {
    match ciborium::from_reader(&**bytes) {
        Ok(value) => Ended::Value(value),
        Err(_) => Ended::Failed("not-a-number".into()),
    }
}

/// The generator's state after so many rounds: by squaring the round.
fn after(rounds: u64) -> u64 {
    let (mut factor, mut addend) = (FACTOR, ADDEND);
    let (mut all_factor, mut all_addend) = (1u64, 0u64);
    let mut left = rounds;
    while left > 0 {
        if left & 1 == 1 {
            all_addend = all_addend.wrapping_mul(factor).wrapping_add(addend);
            all_factor = all_factor.wrapping_mul(factor);
        }
        addend = addend.wrapping_mul(factor).wrapping_add(addend);
        factor = factor.wrapping_mul(factor);
        left >>= 1;
    }
    START.wrapping_mul(all_factor).wrapping_add(all_addend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_rounds_at_once_are_as_many_rounds() {
        let mut state = START;
        for rounds in 0..1000 {
            assert_eq!(after(rounds), state, "{rounds} rounds");
            state = state.wrapping_mul(FACTOR).wrapping_add(ADDEND);
        }
    }

    #[test]
    fn every_task_has_an_argument_of_its_own_and_some_are_poison() {
        let work = Work {
            tasks: 100,
            rounds: 5,
            poison: NonZeroU64::new(10),
        };
        let arguments: std::collections::BTreeSet<_> =
            (0..100).map(|index| work.argument(index)).collect();
        assert_eq!(arguments.len(), 100);
        assert_eq!(
            arguments
                .iter()
                .filter(|argument| matches!(expected(**argument), Ended::Failed(_)))
                .count(),
            10
        );
    }
}
