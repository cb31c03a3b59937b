//! One way to run another program: shown, then run, then judged.
//!
//! Nothing else in this program starts a process. A failure names the command so that it can be
//! pasted into a shell. A command has no shell in between, so no quoting is needed to run it;
//! [`Cmd::shown`] quotes only for the reader.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::stopwatch::Stopwatch;

/// How often a command with a time limit is looked at: short against what a person notices.
const POLL: Duration = Duration::from_millis(50);

/// A command that has not run yet.
pub(crate) struct Cmd {
    command: Command,
    label: Option<&'static str>,
    brief: Option<String>,
    variables: Vec<(String, String)>,
    dir: Option<PathBuf>,
    verbose: bool,
}

/// The output stream that [`Cmd::watch`] reads along; the other one goes where ours goes.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Cmd {
    /// A program without arguments. With `verbose` it is printed before it runs.
    pub(crate) fn new(program: &str, verbose: bool) -> Self {
        Self {
            command: Command::new(program),
            label: None,
            brief: None,
            variables: Vec::new(),
            dir: None,
            verbose,
        }
    }

    /// Shows this name instead of the program's path.
    pub(crate) fn label(mut self, label: &'static str) -> Self {
        self.label = Some(label);
        self
    }

    /// Says this instead of the whole command when it fails, for one that is longer than a line.
    pub(crate) fn brief(mut self, brief: impl Into<String>) -> Self {
        self.brief = Some(brief.into());
        self
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable, and shows it before the command.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((
            name.to_owned(),
            value.as_ref().to_string_lossy().into_owned(),
        ));
        self.command.env(name, value);
        self
    }

    /// Sets a variable that changes only how things look, without showing it.
    pub(crate) fn look(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable away.
    pub(crate) fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in this folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self.dir = Some(dir.to_owned());
        self
    }

    /// The command as one line for a shell.
    pub(crate) fn shown(&self) -> String {
        let mut line = String::new();
        for (name, value) in &self.variables {
            // The encoded form has separators that a shell cannot take.
            let name = if name == "CARGO_ENCODED_RUSTFLAGS" {
                "RUSTFLAGS"
            } else {
                name
            };
            let _infallible = write!(line, "{name}={} ", quoted(&value.replace('\x1f', " ")));
        }
        let program = self.command.get_program().to_string_lossy();
        line.push_str(&quoted(&self.relative(self.label.unwrap_or(&program))));
        for argument in self.command.get_args() {
            line.push(' ');
            line.push_str(&quoted(&self.relative(&argument.to_string_lossy())));
        }
        line
    }

    /// Runs with our own streams.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self
            .start()?
            .wait()
            .with_context(|| self.failed_to("wait for"))?;
        self.judge(status)
    }

    /// Runs with our own streams and reports how it ended, for commands whose failure is an answer.
    pub(crate) fn status(mut self) -> Result<ExitStatus> {
        self.start()?
            .wait()
            .with_context(|| self.failed_to("wait for"))
    }

    /// Runs silently for no longer than `limit`: after that it is killed and counts as failed.
    pub(crate) fn run_within(mut self, limit: Duration) -> Result<()> {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = self.start()?;
        // Read along, because a full pipe would stop the program.
        let stderr = child.stderr.take();
        let said = thread::spawn(move || {
            stderr
                .map(std::io::read_to_string)
                .and_then(Result::ok)
                .unwrap_or_default()
        });
        let watch = Stopwatch::start();
        let status = loop {
            if let Some(status) = child
                .try_wait()
                .with_context(|| self.failed_to("wait for"))?
            {
                break status;
            }
            if watch.elapsed() > limit {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .with_context(|| self.failed_to("stop"))?;
                bail!("`{}` did not end within {} s", self.name(), limit.as_secs());
            }
            thread::sleep(POLL);
        };
        if !status.success() {
            bail!(
                "`{}` failed: {}",
                self.name(),
                reason(&said.join().unwrap_or_default())
            );
        }
        Ok(())
    }

    /// Runs silently and returns what it wrote to standard output.
    pub(crate) fn read(mut self) -> Result<String> {
        self.announce();
        let output = self
            .command
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.failed_to("start"))?;
        if !output.status.success() {
            bail!(
                "`{}` failed: {}",
                self.name(),
                reason(&String::from_utf8_lossy(&output.stderr))
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("failed to read the output of `{}`", self.shown()))
    }

    /// Runs silently; false also when it could not be started.
    pub(crate) fn succeeds(self) -> bool {
        self.read().is_ok()
    }

    /// Runs with our own streams and hands each line of one of them to `line` as it passes.
    pub(crate) fn watch(mut self, stream: Stream, mut line: impl FnMut(&str)) -> Result<()> {
        match stream {
            Stream::Stdout => self.command.stdout(Stdio::piped()),
            Stream::Stderr => self.command.stderr(Stdio::piped()),
        };
        let mut child = self.start()?;
        match stream {
            Stream::Stdout => child
                .stdout
                .take()
                .map(|from| pass_on(from, std::io::stdout(), &mut line)),
            Stream::Stderr => child
                .stderr
                .take()
                .map(|from| pass_on(from, std::io::stderr(), &mut line)),
        }
        .transpose()
        .with_context(|| self.failed_to("read"))?;
        let status = child.wait().with_context(|| self.failed_to("wait for"))?;
        self.judge(status)
    }

    /// Runs, hands each line of standard error to `line` without showing it, and reports how it
    /// ended, for commands whose failure is an answer.
    pub(crate) fn listen(mut self, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = self.start()?;
        child
            .stderr
            .take()
            .map(|from| pass_on(from, std::io::sink(), &mut line))
            .transpose()
            .with_context(|| self.failed_to("read"))?;
        child.wait().with_context(|| self.failed_to("wait for"))
    }

    fn start(&mut self) -> Result<Child> {
        self.announce();
        self.command
            .spawn()
            .with_context(|| self.failed_to("start"))
    }

    fn announce(&self) {
        if self.verbose {
            eprintln!("$ {}", self.shown());
        }
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if !status.success() {
            bail!("`{}` failed with {status}", self.name());
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.brief.clone().unwrap_or_else(|| self.shown())
    }

    fn failed_to(&self, verb: &str) -> String {
        format!("failed to {verb} `{}`", self.name())
    }

    /// Paths below the command's own folder are shown as a person there would write them.
    fn relative(&self, argument: &str) -> String {
        let Some(dir) = &self.dir else {
            return argument.to_owned();
        };
        let below = format!("{}/", dir.display());
        argument.strip_prefix(&below).unwrap_or(argument).to_owned()
    }
}

/// Copies line by line. Output that is not text is copied as it is; `line` then sees replacement
/// characters.
fn pass_on(
    from: impl std::io::Read,
    mut to: impl Write,
    line: &mut impl FnMut(&str),
) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    while from.read_until(b'\n', &mut bytes)? > 0 {
        to.write_all(&bytes)?;
        line(&String::from_utf8_lossy(&bytes));
        bytes.clear();
    }
    to.flush()
}

/// The line that says most: the first that calls itself an error, else the last one.
fn reason(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find_map(|line| {
        line.strip_prefix("error: ")
            .or_else(|| line.strip_prefix("E: "))
    });
    error
        .or_else(|| lines.next_back())
        .unwrap_or("it said nothing")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let cmd = Cmd::new("cargo", false)
            .env("FLAGS", "-C x")
            .args(["doc", "it's", "/repo/a b.rs"])
            .dir(Path::new("/repo"));
        assert_eq!(cmd.shown(), r"FLAGS='-C x' cargo doc 'it'\''s' 'a b.rs'");
    }

    #[test]
    fn a_failure_names_the_command_and_the_last_line_it_wrote() {
        let error = Cmd::new("sh", false)
            .args(["-c", "echo first >&2; echo second >&2; exit 3"])
            .read()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo first >&2; echo second >&2; exit 3'` failed: second"
        );
    }

    #[test]
    fn the_reason_of_a_failure_is_the_line_that_calls_itself_an_error() {
        assert_eq!(
            reason("Reading\nE: no such package\nbye\n"),
            "no such package"
        );
        assert_eq!(reason(" \n"), "it said nothing");
    }

    #[test]
    fn a_command_that_does_not_end_is_stopped_at_its_limit() {
        let error = Cmd::new("sleep", false)
            .arg("60")
            .run_within(Duration::ZERO)
            .unwrap_err();
        assert_eq!(error.to_string(), "`sleep 60` did not end within 0 s");
    }
}
