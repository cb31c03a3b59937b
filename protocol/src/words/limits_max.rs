//! The most that the operator of a worker lets a task use.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::job::{FunctionOptions, Limits};
use crate::size::ByteSize;

/// The most that the operator of a worker lets one attempt use.
///
/// A job's limits come from its submitter, who may write anything. A job that asks for more than
/// this is refused by the worker, not cut down to it: a result that depends on which worker ran the
/// task would be worse than none. The call stack is not here: it is the same for all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsMax {
    /// All linear memories together. Default 4 GiB, the most that there is; the worker's own memory
    /// bounds it as well.
    pub memory: ByteSize,
    /// Default 24 hours.
    pub wall_time: Duration,
    /// Default 24 hours.
    pub cpu_time: Duration,
    /// Default 256 MiB: four times what a task has by default.
    pub result: ByteSize,
    /// Default 16 MiB, which is more than a message holds.
    pub log: ByteSize,
    /// Default 1024 GiB.
    pub output_bytes: ByteSize,
    /// Attempts of one task. Default 100.
    pub attempts: NonZeroU32,
}

impl Default for LimitsMax {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            memory: Limits::MEMORY_MAX,
            wall_time: DAY,
            cpu_time: DAY,
            result: ByteSize::mib(256),
            log: ByteSize::mib(16),
            output_bytes: ByteSize::mib(1 << 20),
            attempts: NonZeroU32::MIN.saturating_add(99),
        }
    }
}

/// A job asks for more than a worker grants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job asks for {what} of {asked}; this worker grants at most {max}")]
pub struct AboveMax {
    /// Which limit, in words.
    pub what: &'static str,
    /// What the job says.
    pub asked: String,
    /// What the operator says.
    pub max: String,
}

impl LimitsMax {
    /// Check what a job says of one of its functions.
    ///
    /// # Errors
    /// The first limit that is above its maximum.
    pub fn check(&self, options: &FunctionOptions) -> Result<(), AboveMax> {
        let asked = &options.limits;
        at_most("a memory limit", asked.memory, self.memory, size)?;
        at_most("a result limit", asked.result, self.result, size)?;
        at_most("a log limit", asked.log, self.log, size)?;
        let output_bytes = "a limit on the objects that it makes";
        at_most(output_bytes, asked.output_bytes, self.output_bytes, size)?;
        at_most("a wall time", asked.wall_time, self.wall_time, time)?;
        at_most("a CPU time", asked.cpu_time, self.cpu_time, time)?;
        let attempts = options.retry.attempts_max;
        at_most("a number of attempts", attempts, self.attempts, |number| {
            number.to_string()
        })
    }
}

fn at_most<T: Ord + Copy>(
    what: &'static str,
    asked: T,
    max: T,
    text: impl Fn(T) -> String,
) -> Result<(), AboveMax> {
    if asked <= max {
        return Ok(());
    }
    Err(AboveMax {
        what,
        asked: text(asked),
        max: text(max),
    })
}

fn size(bytes: ByteSize) -> String {
    bytes.to_string()
}

fn time(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::RetryPolicy;

    #[test]
    fn each_limit_has_a_maximum_and_the_one_that_is_exceeded_is_named() {
        let max = LimitsMax::default();
        let least = FunctionOptions::default();
        assert_eq!(max.check(&least), Ok(()));
        let above = |size: ByteSize| ByteSize(size.as_u64() + 1);
        let longer = |time: Duration| time + Duration::from_nanos(1);
        let usual = Limits::default();
        let limits = |limits| FunctionOptions {
            limits,
            ..FunctionOptions::default()
        };
        let with = |change: &dyn Fn(&mut Limits)| {
            let mut changed = usual;
            change(&mut changed);
            limits(changed)
        };
        let often = FunctionOptions {
            retry: RetryPolicy::retries(max.attempts.get()),
            ..least
        };
        let cases = [
            ("memory", with(&|limits| limits.memory = above(max.memory))),
            ("result", with(&|limits| limits.result = above(max.result))),
            ("log", with(&|limits| limits.log = above(max.log))),
            (
                "objects",
                with(&|limits| limits.output_bytes = above(max.output_bytes)),
            ),
            (
                "wall time",
                with(&|limits| limits.wall_time = longer(max.wall_time)),
            ),
            (
                "CPU time",
                with(&|limits| limits.cpu_time = longer(max.cpu_time)),
            ),
            ("attempts", often),
        ];
        for (word, options) in cases {
            let refused = max.check(&options).unwrap_err();
            assert!(refused.what.contains(word), "{word}: {refused}");
        }
        let greedy = limits(Limits {
            log: ByteSize(u64::MAX),
            ..usual
        });
        assert_eq!(
            max.check(&greedy).unwrap_err().to_string(),
            "the job asks for a log limit of 18446744073709551615 B; this worker grants at most \
             16 MiB"
        );
    }
}
