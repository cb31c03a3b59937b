//! Parses the command line with clap: commands and their options, as data.
//!
//! The doc comments are the help texts. An invalid command line is refused with one line, before
//! anything is done.

pub(crate) mod broker;
pub(crate) mod cache;
pub(crate) mod call;
pub(crate) mod dlq;
pub(crate) mod graph;
pub(crate) mod host;
pub(crate) mod inspect;
pub(crate) mod job;
pub(crate) mod map;
pub(crate) mod new;
pub(crate) mod pipeline;
pub(crate) mod progress;
pub(crate) mod provision;
pub(crate) mod task;
pub(crate) mod worker;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};

use sortie_frontend::settings::{Environment, Terminal};

use crate::ending::Error;

use self::call::Call;
use self::inspect::Inspect;
use self::map::Map;
use self::new::New;

/// Run WebAssembly-sandboxed functions over many inputs.
#[derive(Debug, Parser)]
#[command(name = "sortie", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Log more to standard error; -vv logs still more. The variable SORTIE_LOG sets a filter
    /// instead.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a function over many inputs, one task each
    #[command(after_long_help = AFTER_MAP)]
    Map(Box<Map>),
    /// Run a function once and print its value
    #[command(after_long_help = AFTER_CALL)]
    Call(Box<Call>),
    /// Show a component's metadata and its functions
    Inspect(Inspect),
    /// Create a crate for your own functions
    New(New),
    /// Run the fleet's tasks until a signal stops the worker, or list the workers
    #[command(after_long_help = AFTER_WORKER)]
    Worker(Box<worker::Arguments>),
    /// List, gather and cancel the jobs of a fleet
    Job(job::Arguments),
    /// Show how the tasks of a job depend on each other, and how they stand
    Graph(graph::Arguments),
    /// List, replay and remove dead letters: tasks of a fleet that failed permanently
    Dlq(dlq::Arguments),
    /// Show or clear the cache of results and compiled components
    Cache(cache::Arguments),
    /// Set up a fleet's broker, or show its configuration
    Broker(provision::Arguments),
}

const AFTER_MAP: &str = "\
Each result is one JSON object on one line:
  index   position among the inputs, from 0
  input   the input as you gave it, or the file or URL that matched a pattern
  status  completed, failed or cancelled
  value   what the function returned, if it completed
  error   {code, message, blame, attempts, backtrace} if it failed; blame is guest, input or
          platform; with --then and --reduce also function, the one that failed
  object  {url, size, content_type} in place of value, of an object that the function made
  bill    {queue_ms, fetch_ms, run_ms, cpu_ms, memory_peak_bytes, bytes_in, bytes_out, cached}
  log     {text, dropped_bytes} if the function printed or logged something

Values that JSON cannot represent are converted: byte strings become base64, integers beyond 2^53
become strings, NaN and infinities become null, and the keys of maps become strings.

With --then the bill and the log are those of all functions that were called for the input. With
--reduce there is one line for all inputs, with the bill of all tasks; if it failed, input is the
one that failed.

Exit codes: 0 all completed, 1 some failed, 2 wrong usage, 3 platform failure (also of a task: its
blame is platform), 130 interrupted.
Without a broker, running the same command again runs only the tasks whose results are not in the
cache, unless the cache is off, --fresh is given, or the function has grants.";

const AFTER_CALL: &str = "\
Exit codes: 0 completed, 1 failed, 2 wrong usage, 3 platform failure (also of the task: its blame
is platform), 130 interrupted.";

const AFTER_WORKER: &str = "\
After SIGTERM or SIGINT the worker takes no more tasks, running tasks get --grace to finish, and
the rest goes back to the broker. A second signal ends the worker at once.

Exit codes: 0 stopped by a signal, and everything is reported; 2 wrong usage, 3 platform failure,
130 ended at once.";

/// The result of parsing the command line.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// A command.
    Run(Box<Cli>),
    /// Help or the version was asked for, and has been printed.
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
/// One line that says which argument is wrong.
pub(crate) fn read() -> Result<Invocation, Error> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Invocation::Run(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                answer(&error)?;
                Ok(Invocation::Answered)
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Err(Error::Usage(missing_command(&error.render().to_string())))
            }
            _ => Err(Error::Usage(one_line(&error, std::env::args_os()))),
        },
    }
}

/// What to say where a command with this help has commands of which none is named.
fn missing_command(help: &str) -> String {
    let usage = help.split("Usage:").nth(1).unwrap_or_default();
    let path = command_of(usage);
    let mut command = Cli::command();
    for word in path.split(' ').skip(1) {
        if let Some(named) = command.find_subcommand(word) {
            command = named.clone();
        }
    }
    let names: Vec<_> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .filter(|name| *name != "help")
        .collect();
    format!(
        "name a command: {}; `{path} --help` explains them",
        names.join(", ")
    )
}

fn answer(error: &clap::Error) -> Result<(), Error> {
    let text = error.render();
    let mut stdout = std::io::stdout().lock();
    let written =
        if std::io::stdout().is_terminal() && Environment::read().terminal == Terminal::Full {
            write!(stdout, "{}", text.ansi())
        } else {
            write!(stdout, "{text}")
        };
    match written.and_then(|()| stdout.flush()) {
        // A reader that went away wants no more help.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::Platform(
            format!("failed to write to standard output: {error}"),
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// clap's error message without the usage text, which `--help` of the command prints that these
/// words name.
fn one_line(error: &clap::Error, words: impl IntoIterator<Item = OsString>) -> String {
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
    format!("{}; see `{} --help`", parts.join("; "), named(words))
}

/// The command that a command line names, as far as it names one: the first of its words is the
/// program.
fn named(words: impl IntoIterator<Item = OsString>) -> String {
    let mut command = Cli::command();
    let mut path = command.get_name().to_owned();
    for word in words.into_iter().skip(1).filter(|word| !is_flag(word)) {
        let Some(below) = command.find_subcommand(&word).cloned() else {
            break;
        };
        command = below;
        path.push(' ');
        path.push_str(command.get_name());
    }
    path
}

/// Whether this is an option that may stand in front of a command: those are `-v` and the like.
fn is_flag(word: &OsString) -> bool {
    let short = word.as_encoded_bytes().strip_prefix(b"-");
    word == "--verbose" || short.is_some_and(|short| short.iter().all(|letter| *letter == b'v'))
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
    use std::time::Duration;

    use sortie::Limits;

    use super::*;

    fn refused(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        one_line(&error, line.split(' ').map(OsString::from))
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
            (
                "sortie map c f x --reduce r --ordered",
                &["--reduce", "--ordered"],
            ),
            ("sortie map c f x --fan-in 8", &["--reduce"]),
            (
                "sortie map c f x --reduce r --fan-in 1",
                &["--fan-in", "from 2 to 1000"],
            ),
        ] {
            let said = refused(line);
            assert!(!said.contains('\n'), "{said}");
            for part in parts {
                assert!(said.contains(part), "`{part}` is not in: {said}");
            }
        }
    }

    #[test]
    fn an_error_leads_to_the_help_of_its_own_command() {
        for (line, command) in [
            ("sortie mapp", "sortie"),
            ("sortie --nothing map", "sortie"),
            ("sortie map c", "sortie map"),
            ("sortie map c f --memory much", "sortie map"),
            ("sortie -vv call c f --timeout 30", "sortie call"),
            ("sortie map job list --progress loud", "sortie map"),
            ("sortie job lst", "sortie job"),
            ("sortie job list -n 0", "sortie job list"),
            ("sortie job gather", "sortie job gather"),
            ("sortie cache --verbose gc --max lots", "sortie cache gc"),
            ("sortie broker init --weight many", "sortie broker init"),
            ("sortie worker list --broker", "sortie worker list"),
            ("sortie worker --memory much", "sortie worker"),
        ] {
            let said = refused(line);
            let help = format!("; see `{command} --help`");
            assert!(said.ends_with(&help), "{line}: {said}");
        }
    }

    #[test]
    fn where_a_command_is_missing_those_there_are_are_named() {
        let said = |line: &str| {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
            missing_command(&error.render().to_string())
        };
        assert!(said("sortie").starts_with("name a command: map, call, inspect,"));
        assert_eq!(
            said("sortie -v job"),
            "name a command: list, status, gather, cancel, logs, forget; `sortie job --help` \
             explains them"
        );
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
        assert_eq!(
            options.grants,
            [sortie::Grant::Clock, sortie::Grant::Random].into()
        );
    }
}
