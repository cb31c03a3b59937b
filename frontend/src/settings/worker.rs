//! Settings of a worker: its memory, and the most that it lets a task use.
//!
//! What an operator sets for one process wins over the environment, which wins over the defaults.

use std::num::NonZeroU32;
use std::time::Duration;

use sortie::ByteSize;
use sortie::protocol::LimitsMax;

use super::environment::Environment;
use super::parse;
use crate::error::Error;

/// What a worker has, and lets a task use. Nothing set means what the environment says, and then
/// the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerSettings {
    /// Memory for tasks, their arguments and results, and blocks of inputs.
    pub memory: Option<ByteSize>,
    /// The most memory of a task.
    pub max_memory: Option<ByteSize>,
    /// The longest time of a task.
    pub max_timeout: Option<Duration>,
    /// The longest time of a task on a core.
    pub max_cpu_time: Option<Duration>,
    /// The largest result.
    pub max_result: Option<ByteSize>,
    /// The largest log.
    pub max_log: Option<ByteSize>,
    /// The most bytes of objects that a task makes.
    pub max_written: Option<ByteSize>,
    /// The most attempts of a task.
    pub max_attempts: Option<NonZeroU32>,
    /// How much a tenant may have in the store.
    pub store_quota: Option<ByteSize>,
}

impl WorkerSettings {
    /// The memory of the worker, if it is set anywhere.
    ///
    /// # Errors
    /// When the environment says it, and wrongly.
    pub fn memory(&self, environment: &Environment) -> Result<Option<ByteSize>, Error> {
        let text = environment.worker.memory.as_deref();
        either(self.memory, text, "SORTIE_MEMORY", parse::worker_memory)
    }

    /// How much a tenant may have in the store, if that is set anywhere.
    ///
    /// # Errors
    /// When the environment says it, and wrongly.
    pub fn store_quota(&self, environment: &Environment) -> Result<Option<ByteSize>, Error> {
        let text = environment.worker.store_quota.as_deref();
        either(self.store_quota, text, "SORTIE_STORE_QUOTA", parse::size)
    }

    /// The most that a task may use.
    ///
    /// # Errors
    /// When the environment says one, and wrongly.
    pub fn limits(&self, environment: &Environment) -> Result<LimitsMax, Error> {
        let says = &environment.worker;
        let size =
            |set, text: &Option<String>, name| either(set, text.as_deref(), name, parse::size);
        let time =
            |set, text: &Option<String>, name| either(set, text.as_deref(), name, parse::duration);
        let default = LimitsMax::default();
        let memory = either(
            self.max_memory,
            says.max_memory.as_deref(),
            "SORTIE_MAX_MEMORY",
            parse::memory,
        )?;
        let wall_time = time(self.max_timeout, &says.max_timeout, "SORTIE_MAX_TIMEOUT")?;
        let cpu_time = time(self.max_cpu_time, &says.max_cpu_time, "SORTIE_MAX_CPU_TIME")?;
        let result = size(self.max_result, &says.max_result, "SORTIE_MAX_RESULT")?;
        let log = size(self.max_log, &says.max_log, "SORTIE_MAX_LOG")?;
        let written = size(self.max_written, &says.max_written, "SORTIE_MAX_WRITTEN")?;
        let attempts = either(
            self.max_attempts,
            says.max_attempts.as_deref(),
            "SORTIE_MAX_ATTEMPTS",
            parse::attempts,
        )?;
        Ok(LimitsMax {
            memory: memory.unwrap_or(default.memory),
            wall_time: wall_time.unwrap_or(default.wall_time),
            cpu_time: cpu_time.unwrap_or(default.cpu_time),
            result: result.unwrap_or(default.result),
            log: log.unwrap_or(default.log),
            output_bytes: written.unwrap_or(default.output_bytes),
            attempts: attempts.unwrap_or(default.attempts),
        })
    }
}

/// What is set, else what the environment says in this variable.
fn either<T>(
    set: Option<T>,
    text: Option<&str>,
    variable: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    match (set, text) {
        (Some(value), _) => Ok(Some(value)),
        (None, None) => Ok(None),
        (None, Some(text)) => parse(text)
            .map(Some)
            .map_err(|error| Error::usage(error).within(variable)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::worker_variables::WorkerVariables;
    use super::*;

    fn environment(variables: WorkerVariables) -> Environment {
        Environment {
            worker: variables,
            ..Environment::default()
        }
    }

    #[test]
    fn what_is_set_wins_over_the_environment_and_that_over_the_defaults() {
        let environment = environment(WorkerVariables {
            memory: Some("2GiB".into()),
            max_log: Some("1MiB".into()),
            max_attempts: Some("7".into()),
            ..WorkerVariables::default()
        });
        let settings = WorkerSettings {
            max_log: Some(ByteSize::mib(3)),
            ..WorkerSettings::default()
        };
        let limits = settings.limits(&environment).unwrap();
        assert_eq!(
            settings.memory(&environment).unwrap(),
            Some(ByteSize::mib(2048))
        );
        assert_eq!((limits.log, limits.attempts.get()), (ByteSize::mib(3), 7));
        assert_eq!(limits.memory, LimitsMax::default().memory);
    }

    #[test]
    fn a_variable_that_is_no_maximum_is_named() {
        let wrong = environment(WorkerVariables {
            max_timeout: Some("soon".into()),
            ..WorkerVariables::default()
        });
        let error = WorkerSettings::default().limits(&wrong).unwrap_err();
        assert!(error.to_string().contains("SORTIE_MAX_TIMEOUT"), "{error}");
    }
}
