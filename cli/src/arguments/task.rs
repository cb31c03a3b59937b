//! Options of a task: its limits, grants, retries and labels, and arguments that are the same for
//! all tasks of a job.

use std::time::Duration;

use clap::{Args, ValueEnum};
use sortie::protocol::job::Memo;
use sortie::{ByteSize, FunctionOptions, Labels, Limits, RetryPolicy};
use sortie_frontend::settings::parse;

/// Arguments that are the same for all tasks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Fixed {
    /// Set a parameter to the same argument in every task: a JSON value, or any other text as a
    /// string; for an object, a path or URL. Repeatable
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = parse::named)]
    pub(crate) named: Vec<(String, String)>,
}

/// Limits, grants, retries and labels of the tasks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TaskOptions {
    /// Memory limit of a task [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse::memory)]
    memory: Option<ByteSize>,
    /// Wall-clock time limit of a task, time spent waiting for inputs included [default: 5min]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    timeout: Option<Duration>,
    /// CPU time limit of a task [default: 1min]
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    cpu_time: Option<Duration>,
    /// Limit on the total size of the objects that a task writes [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    written: Option<ByteSize>,
    /// How often a task is retried after a transient failure [default: 3]
    #[arg(long, value_name = "COUNT")]
    retries: Option<u32>,
    /// Give functions the real clock or real randomness; their results are then not cached
    #[arg(long, value_enum, value_name = "GRANT", value_delimiter = ',')]
    grant: Vec<Grant>,
    /// Ignore the cache of results: run every task, and do not cache its result
    #[arg(long)]
    fresh: bool,
    /// Run only on workers that have all of these labels, such as gpu,region=eu [default: any
    /// worker]
    #[arg(long, value_name = "LABELS")]
    labels: Option<Labels>,
}

/// A grant given to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grant {
    Clock,
    Random,
}

impl Grant {
    fn value(self) -> sortie::Grant {
        match self {
            Self::Clock => sortie::Grant::Clock,
            Self::Random => sortie::Grant::Random,
        }
    }
}

impl TaskOptions {
    /// The options of a job, with defaults for those not given.
    pub(crate) fn job(&self) -> FunctionOptions {
        let defaults = FunctionOptions::default();
        FunctionOptions {
            limits: Limits {
                memory: self.memory.unwrap_or(defaults.limits.memory),
                wall_time: self.timeout.unwrap_or(defaults.limits.wall_time),
                cpu_time: self.cpu_time.unwrap_or(defaults.limits.cpu_time),
                output_bytes: self.written.unwrap_or(defaults.limits.output_bytes),
                ..defaults.limits
            },
            grants: self.grant.iter().map(|grant| grant.value()).collect(),
            retry: self.retries.map_or(defaults.retry, RetryPolicy::retries),
            memo: if self.fresh { Memo::Off } else { defaults.memo },
            labels: self.labels.clone().unwrap_or_default(),
            ..defaults
        }
    }
}
