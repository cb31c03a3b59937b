//! The command line.
//!
//! The doc comments are the help texts. What is wrong with a command line is said in one line, and
//! nothing has happened by then.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sortie::protocol::job::Memo;
use sortie::{ByteSize, Grants, JobOptions, Labels, Limits, RetryPolicy};

use crate::connection::BrokerOptions;
use crate::ending::Error;
use crate::interrupt::Manner;
use crate::reading::Reading;
use crate::settings::{self, Cache};
use crate::{broker, cache, dlq, job, worker};

/// Run WebAssembly-sandboxed functions over many inputs.
#[derive(Debug, Parser)]
#[command(name = "sortie", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Say more about what happens; twice for more still. The variable SORTIE_LOG sets a filter of
    /// its own.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a function over many inputs, one task each
    #[command(after_long_help = AFTER_MAP)]
    Map(Box<Map>),
    /// Run a function once and print its value
    #[command(after_long_help = AFTER_CALL)]
    Call(Box<Call>),
    /// Show what a component is and which functions it has
    Inspect(Inspect),
    /// Start a crate with functions of your own
    New(New),
    /// Run the fleet's tasks until told to end, or show which workers there are
    #[command(after_long_help = AFTER_WORKER)]
    Worker(Box<worker::Arguments>),
    /// See, gather and cancel the jobs of a fleet
    Job(job::Arguments),
    /// See and replay tasks of a fleet that failed for good
    Dlq(dlq::Arguments),
    /// See and remove what is kept on this machine
    Cache(cache::Arguments),
    /// Set up a fleet's broker, or look at it
    Broker(broker::Arguments),
}

impl Command {
    /// What a signal finds running.
    pub(crate) fn manner(&self) -> Manner {
        match self {
            Self::Worker(_) => Manner::Service,
            Self::Map(_)
            | Self::Call(_)
            | Self::Inspect(_)
            | Self::New(_)
            | Self::Job(_)
            | Self::Dlq(_)
            | Self::Cache(_)
            | Self::Broker(_) => Manner::Command,
        }
    }
}

const AFTER_MAP: &str = "\
Each result is one JSON object in a line of its own:
  index   position among the inputs, from 0
  input   the input as you gave it, or the file or URL that a pattern stood for
  status  completed, failed or cancelled
  value   what the function returned, where it completed
  error   {code, message, blame, attempts} where it failed; blame is guest, input or platform
  bill    {queue_ms, fetch_ms, run_ms, cpu_ms, memory_peak_bytes, bytes_in, bytes_out, cached}
  log     {text, dropped_bytes} where the function printed or logged something

Values are JSON as far as JSON goes: byte strings are base64, integers beyond 2^53 are strings, NaN and
infinities are null, and the keys of maps are strings.

Exit codes: 0 all completed, 1 some failed, 2 wrong usage, 3 platform failure, 130 interrupted.
Interrupted or not, running the same command again runs only what is not known yet.";

const AFTER_CALL: &str =
    "Exit codes: 0 completed, 1 failed, 2 wrong usage, 3 platform failure, 130 interrupted.";

const AFTER_WORKER: &str = "\
SIGTERM or SIGINT: no more work is taken, what is in work gets --grace to finish, the rest goes back to the
broker. A second signal ends the worker at once.

Exit codes: 0 told to end, and everything is reported; 2 wrong usage, 3 platform failure, 130 ended at once.";

/// `sortie map`.
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// The function's name, as `sortie inspect` shows it
    pub(crate) function: String,
    /// Inputs, one task each (for a pattern, one each file)
    ///
    /// For an object parameter: a path, a pattern (*, ?, [...] within a path segment, ** across
    /// segments; quote it), or a URL (s3://, gs:// and az:// with patterns too, https://, http://, file://). For a value parameter: JSON, and what is not JSON is a string; write
    /// '"42"' for the string 42. If more than one parameter is left open by --arg: a JSON array
    /// with all of them.
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    pub(crate) inputs: Vec<String>,
    /// Read inputs from a file, one a line; `-` is standard input
    ///
    /// Lines are read while tasks run, and empty ones are skipped. A file is checked before the
    /// first task starts; a line of standard input that does not fit ends the run when it is
    /// reached.
    #[arg(long = "inputs", value_name = "FILE", conflicts_with = "inputs")]
    pub(crate) lines: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) fixed: Fixed,
    /// Write results here instead of to standard output: to a file, or to an object such as
    /// s3://BUCKET/KEY.parquet
    ///
    /// The extension says how: .csv and .parquet are tables, anything else has JSON lines. What is
    /// there is replaced, when everything else has been checked. Lines and rows are added to a
    /// file as they come: whatever ends the run, those written stay, and a run that starts again
    /// takes them from the cache. A Parquet file appears when the run ends, interrupted or
    /// not; an object in a store when all results are there.
    #[arg(short, long, value_name = "FILE|URL")]
    pub(crate) output: Option<PathBuf>,
    /// Write results in the order of the inputs instead of as they come
    ///
    /// Results that wait for an earlier one are held in memory: at most 16384 of them or 64 MiB,
    /// then no further inputs are taken until the earlier one is there.
    #[arg(long)]
    pub(crate) ordered: bool,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressKind,
    /// Submit the job to the fleet, print its name and leave; `sortie job gather` writes its
    /// results
    #[arg(long, conflicts_with_all = ["output", "ordered"])]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) task: TaskOptions,
    #[command(flatten)]
    pub(crate) host: HostOptions,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// The function's name, as `sortie inspect` shows it
    pub(crate) function: String,
    /// The arguments that --arg does not give, in order: JSON, else a string; for an object a path
    /// or URL
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    pub(crate) arguments: Vec<String>,
    #[command(flatten)]
    pub(crate) fixed: Fixed,
    /// Print a string, or bytes, as they are
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) task: TaskOptions,
    #[command(flatten)]
    pub(crate) host: HostOptions,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

/// `sortie inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep compiled code here, or `off` to keep nothing [default: the user's cache folder]
    #[arg(long, value_name = "DIR|off", value_parser = settings::cache)]
    pub(crate) cache: Option<Cache>,
}

/// `sortie new`.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// The crate's name; a folder of this name is made here
    pub(crate) name: String,
    /// Where the sortie-guest crate is, if not where this program was built
    #[arg(long, value_name = "PATH")]
    pub(crate) sdk: Option<PathBuf>,
}

/// Arguments that are the same for all tasks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Fixed {
    /// Give a parameter the same argument in every task: JSON, else a string; for an object a path
    /// or URL. Repeatable
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = settings::named)]
    pub(crate) named: Vec<(String, String)>,
}

/// What a task may use and see.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TaskOptions {
    /// Memory of a task [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = settings::memory)]
    memory: Option<ByteSize>,
    /// Time of a task from start to end, waiting for inputs included [default: 5min]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    timeout: Option<Duration>,
    /// Time of a task on a core [default: 1min]
    #[arg(long, value_name = "DURATION", value_parser = settings::duration)]
    cpu_time: Option<Duration>,
    /// All objects that a task makes, together [default: 4GiB]
    #[arg(long, value_name = "SIZE")]
    written: Option<ByteSize>,
    /// How often a task is repeated after a failure that may pass [default: 3]
    #[arg(long, value_name = "COUNT")]
    retries: Option<u32>,
    /// Let functions see the real clock or real randomness; their results are then not kept
    #[arg(long, value_enum, value_name = "GRANT", value_delimiter = ',')]
    grant: Vec<Grant>,
    /// Run everything, also what is known from an earlier run; results are not kept either
    #[arg(long)]
    fresh: bool,
    /// Run only on workers that have all of these labels, such as gpu,region=eu [default: any
    /// worker]
    #[arg(long, value_name = "LABELS")]
    labels: Option<Labels>,
}

/// How the host in this process works. With a broker it only looks into components.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct HostOptions {
    /// Tasks in work at once [default: twice the cores]
    #[arg(long, value_name = "COUNT", value_parser = settings::concurrency)]
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// Keep compiled code and results here, or `off` to keep nothing [default: the user's cache
    /// folder]
    #[arg(long, value_name = "DIR|off", value_parser = settings::cache)]
    pub(crate) cache: Option<Cache>,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// Keep large outputs here, and share results with all who name the same place: a folder, or
    /// s3://BUCKET/PREFIX (also gs://, az://) [default: a folder in the cache folder, not
    /// shared; or the variable SORTIE_STORE]
    #[arg(long, value_name = "URL", value_parser = settings::store)]
    pub(crate) store: Option<String>,
}

/// A power that is given to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Grant {
    Clock,
    Random,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    /// A bar where standard error is a terminal, else lines; nothing where results go to the same
    /// terminal
    Auto,
    /// A bar; where there is no terminal, lines
    Bar,
    /// A line every five seconds
    Lines,
    /// None; the summary at the end stays
    Off,
}

impl TaskOptions {
    /// The options of a job, with the defaults where nothing was said.
    pub(crate) fn job(&self) -> JobOptions {
        let defaults = JobOptions::default();
        JobOptions {
            limits: Limits {
                memory: self.memory.unwrap_or(defaults.limits.memory),
                wall_time: self.timeout.unwrap_or(defaults.limits.wall_time),
                cpu_time: self.cpu_time.unwrap_or(defaults.limits.cpu_time),
                written: self.written.unwrap_or(defaults.limits.written),
                ..defaults.limits
            },
            grants: Grants {
                clock: self.grant.contains(&Grant::Clock),
                random: self.grant.contains(&Grant::Random),
            },
            retry: self.retries.map_or(defaults.retry, RetryPolicy::retries),
            memo: if self.fresh { Memo::Off } else { defaults.memo },
            labels: self.labels.clone().unwrap_or_default(),
            ..defaults
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// A command.
    Run(Box<Cli>),
    /// Help or the version, which was printed.
    Answered,
}

impl Invocation {
    /// The command, if there is one to run.
    pub(crate) fn command(self) -> Option<Cli> {
        match self {
            Self::Run(cli) => Some(*cli),
            Self::Answered => None,
        }
    }
}

/// Read the command line.
///
/// # Errors
/// One line that names what is wrong.
pub(crate) fn read() -> Result<Invocation, Error> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Invocation::Run(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                answer(&error);
                Ok(Invocation::Answered)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Error::Usage(
                "name a command: map, call, inspect, new, worker, job, dlq, cache or broker; `sortie --help` explains them".into(),
            )),
            _ => Err(Error::Usage(one_line(&error))),
        },
    }
}

fn answer(error: &clap::Error) {
    let text = error.render();
    let mut stdout = std::io::stdout().lock();
    // A reader that went away wants no more help.
    let _ = if std::io::stdout().is_terminal() {
        write!(stdout, "{}", text.ansi())
    } else {
        write!(stdout, "{text}")
    };
}

/// What clap says of a command line, without the usage text: that is one `--help` away.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said = text
        .split("\n\nUsage:")
        .next()
        .unwrap_or_default()
        .split("\n\nFor more information")
        .next()
        .unwrap_or_default();
    let said = said.trim_start_matches("error:");
    let parts: Vec<String> = said
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let command = match error.get(ContextKind::Usage) {
        Some(usage) => command_of(&usage.to_string()),
        None => "sortie".into(),
    };
    format!("{}; see `{command} --help`", parts.join("; "))
}

/// `sortie map` of `Usage: sortie map [OPTIONS] ...`.
fn command_of(usage: &str) -> String {
    let words = usage
        .split_whitespace()
        .skip_while(|word| *word != "sortie");
    let words = words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase()));
    let command = words.collect::<Vec<_>>().join(" ");
    if command.is_empty() {
        "sortie".into()
    } else {
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        one_line(&Cli::try_parse_from(line.split(' ')).unwrap_err())
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_that_names_it() {
        for (line, parts) in [
            (
                "sortie map c f --memroy 1GiB",
                &["'--memroy'", "'--memory'", "sortie map --help"][..],
            ),
            (
                "sortie map c f --memory much",
                &["--memory", "much", "64MiB"],
            ),
            ("sortie call c f --timeout 30", &["--timeout", "30s"]),
            (
                "sortie map c f --grant network",
                &["--grant", "clock", "random"],
            ),
            (
                "sortie map c f --concurrency 0",
                &["--concurrency", "from 1"],
            ),
            ("sortie map c f --arg x", &["--arg", "NAME=VALUE"]),
            ("sortie map c", &["FUNCTION"]),
            ("sortie mapp", &["mapp", "map"]),
            ("sortie map c f x --inputs y", &["--inputs", "INPUT"]),
        ] {
            let said = refused(line);
            assert!(!said.contains('\n'), "{said}");
            for part in parts {
                assert!(said.contains(part), "`{part}` is not in: {said}");
            }
        }
    }

    #[test]
    fn options_change_what_they_name_and_nothing_else() {
        let cli = Cli::try_parse_from(
            "sortie map c f -5 --cpu-time 2s --retries 0 --grant clock,random".split(' '),
        )
        .unwrap();
        let Command::Map(map) = cli.command else {
            panic!("not a map")
        };
        assert_eq!(map.inputs, ["-5"]);
        let options = map.task.job();
        assert_eq!(
            options.limits,
            Limits {
                cpu_time: Duration::from_secs(2),
                ..Limits::default()
            }
        );
        assert_eq!(options.retry.attempts_max.get(), 1);
        assert!(options.grants.clock && options.grants.random);
    }
}
