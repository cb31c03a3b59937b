//! The `sortie` binary as a process with captured streams and a deadline.
//!
//! Each gets a home of its own, in which the cache has nothing but the code of the usual component,
//! and none of the caller's environment beyond `PATH`, so that nothing on this machine changes what
//! a test sees.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::patience::patience;
use crate::warm;

/// A command that was not started yet.
#[derive(Debug)]
pub struct Sortie {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    input: Vec<u8>,
    input_end: InputEnd,
    user: Option<u32>,
    home: TempDir,
}

/// When standard input ends, once everything was written.
#[derive(Debug, Clone, Copy)]
enum InputEnd {
    AtOnce,
    Never,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    shown: String,
}

impl Sortie {
    /// `sortie` with these arguments, and a cache of its own in a folder that goes with it.
    pub fn new(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self {
            program: crate::binary(),
            arguments: arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned())
                .collect(),
            environment: Vec::new(),
            folder: None,
            input: Vec::new(),
            input_end: InputEnd::AtOnce,
            user: None,
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// `sortie map` of a function of the component `behaviours`.
    pub fn map(function: &str, inputs: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::new([
            "map".as_ref(),
            crate::component("behaviours").as_os_str(),
            function.as_ref(),
        ])
        .args(inputs)
    }

    /// `sortie call` of a function of the component `behaviours`.
    pub fn call(function: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::new([
            "call".as_ref(),
            crate::component("behaviours").as_os_str(),
            function.as_ref(),
        ])
        .args(arguments)
    }

    /// Further arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// A cache that outlives it.
    #[must_use]
    pub fn cache(self, folder: &Path) -> Self {
        self.args(["--cache".as_ref(), folder.as_os_str()])
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Do not end its standard input before it ends itself.
    #[must_use]
    pub fn keep_input_open(mut self) -> Self {
        self.input_end = InputEnd::Never;
        self
    }

    /// Run as another user, with a copy of the program that this user can reach. Only the superuser
    /// can.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        let program = self.home.path().join("sortie");
        std::fs::copy(&self.program, &program).expect("a copy of the program");
        std::fs::set_permissions(self.home.path(), std::fs::Permissions::from_mode(0o755))
            .expect("a folder of ours");
        chown(self.home.path(), Some(user), None)
            .expect("the superuser's right to give files away");
        (self.program, self.user) = (program, Some(user));
        self
    }

    /// Run by a script for `sh` that makes a place for it and ends with `exec "$@"`.
    #[must_use]
    pub fn by_script(mut self, script: &str) -> Self {
        let program = std::mem::replace(&mut self.program, "/bin/sh".into());
        let ahead = [
            "-c".into(),
            script.into(),
            "sh".into(),
            program.into_os_string(),
        ];
        self.arguments.splice(0..0, ahead);
        self
    }

    /// Run it to its end.
    ///
    /// # Panics
    /// When it cannot be started or does not end in time.
    pub fn run(self) -> Ran {
        self.start().wait()
    }

    /// Start it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(self) -> Running {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let shown = self.shown();
        if self.user.is_none() {
            warm::fill(&self.home.path().join(".cache/sortie"));
        }
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // The machine that the tests run on may have a role; a test that wants one brings its own
        // service.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.as_deref().unwrap_or(self.home.path()));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = {
            let _entered = runtime.enter();
            command
                .spawn()
                .unwrap_or_else(|error| panic!("failed to start {shown}: {error}"))
        };
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let errors = Gathered::start(&mut child, self.input, self.input_end);
        Running {
            runtime,
            child,
            stdout,
            read: String::new(),
            errors,
            shown,
            home: self.home,
        }
    }

    fn shown(&self) -> String {
        let words: Vec<_> = std::iter::once(self.program.as_os_str())
            .chain(self.arguments.iter().map(OsString::as_os_str))
            .collect();
        words
            .iter()
            .map(|word| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// A command under way. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    runtime: tokio::runtime::Runtime,
    child: Child,
    stdout: BufReader<tokio::process::ChildStdout>,
    read: String,
    errors: Gathered,
    shown: String,
    home: TempDir,
}

impl Running {
    /// The next line that it writes to standard output.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let reading = async { timeout(patience(), self.stdout.read_line(&mut line)).await };
        let read = self.runtime.block_on(reading);
        assert!(
            matches!(read, Ok(Ok(1..))),
            "{} wrote no further line after:\n{}",
            self.shown,
            self.read
        );
        self.read.push_str(&line);
        line
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that was not waited for")
    }

    /// Send it a signal.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process id"), signal).expect("a process of ours");
    }

    /// Read no more of what it writes.
    pub fn close(self) -> Ran {
        self.end(Reading::Stop)
    }

    /// Wait for its end without reading what it writes, so that it cannot go on writing.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_without_reading(self) -> Ran {
        self.end(Reading::Pause)
    }

    /// Wait for its end.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait(self) -> Ran {
        self.end(Reading::Continue)
    }

    fn end(mut self, reading: Reading) -> Ran {
        let mut rest = Vec::new();
        let shown = self.shown.clone();
        let status = self.runtime.block_on(async {
            let ending = async {
                match reading {
                    Reading::Continue => {
                        self.stdout.read_to_end(&mut rest).await.expect("a pipe");
                    }
                    Reading::Stop => drop(self.stdout),
                    Reading::Pause => return self.child.wait().await.expect("a child of ours"),
                }
                self.child.wait().await.expect("a child of ours")
            };
            timeout(patience(), ending).await
        });
        let status =
            status.unwrap_or_else(|_| panic!("{shown} did not end within {:?}", patience()));
        let stdout = self.read + &String::from_utf8(rest).expect("text on standard output");
        let stderr = self.errors.join();
        drop(self.home);
        Ran {
            code: status.code(),
            stdout,
            stderr,
            shown,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Reading {
    Continue,
    Pause,
    Stop,
}

/// Feeds standard input and gathers standard error, beside whatever the test does.
#[derive(Debug)]
struct Gathered {
    text: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

impl Gathered {
    fn start(child: &mut Child, input: Vec<u8>, end: InputEnd) -> Self {
        let (stdin, stderr) = (
            child.stdin.take().expect("a pipe"),
            child.stderr.take().expect("a pipe"),
        );
        let (stdin, stderr) = (
            stdin.into_owned_fd().expect("a pipe"),
            stderr.into_owned_fd().expect("a pipe"),
        );
        let (sender, text) = mpsc::channel();
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut stdin =
                    tokio::net::unix::pipe::Sender::from_owned_fd(stdin).expect("a pipe");
                let mut stderr =
                    tokio::net::unix::pipe::Receiver::from_owned_fd(stderr).expect("a pipe");
                let feed = async {
                    // A command that has enough closes its end.
                    let _ = stdin.write_all(&input).await;
                    match end {
                        InputEnd::AtOnce => None,
                        InputEnd::Never => Some(stdin),
                    }
                };
                let mut said = Vec::new();
                let (_held, read) = tokio::join!(feed, stderr.read_to_end(&mut said));
                read.expect("a pipe");
                let _ = sender.send(String::from_utf8_lossy(&said).into_owned());
            });
        };
        Self {
            text,
            thread: std::thread::spawn(body),
        }
    }

    fn join(self) -> String {
        let text = self
            .text
            .recv_timeout(patience())
            .expect("standard error that ends with its process");
        self.thread.join().expect("a thread that does not panic");
        text
    }
}

impl Ran {
    /// Check the exit code.
    ///
    /// # Panics
    /// When it is another.
    #[must_use]
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "{self}");
        self
    }

    /// Check that it wrote exactly one line to standard error, `error: ` and something with all of
    /// `parts`, and nothing to standard output.
    ///
    /// # Panics
    /// When it said anything else.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) {
        let said = self
            .stderr
            .strip_suffix('\n')
            .unwrap_or(&self.stderr)
            .to_owned();
        assert!(
            said.starts_with("error: ") && !said.contains('\n'),
            "not one line that says what is wrong: {self}"
        );
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {self}");
        }
        assert_eq!(self.stdout, "", "{self}");
        assert_eq!(self.code, Some(2), "{self}");
    }

    /// Check that standard error has all of `parts`.
    ///
    /// # Panics
    /// When one is missing.
    #[must_use]
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {self}");
        }
        self
    }

    /// The lines of standard output as JSON.
    ///
    /// # Panics
    /// When a line is something else.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        records(&self.stdout).unwrap_or_else(|line| panic!("not JSON: {line}\n{self}"))
    }

    /// The only line of standard output as JSON.
    ///
    /// # Panics
    /// When there is another number of lines.
    #[track_caller]
    pub fn value(&self) -> Value {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{self}");
        records.remove(0)
    }
}

/// Lines of JSON, or the first line that is none.
fn records(text: &str) -> Result<Vec<Value>, String> {
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(|_| line.to_owned()))
        .collect()
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |text: &str| text.chars().take(4000).collect::<String>();
        write!(
            f,
            "{}\ncode: {:?}\nstdout:\n{}\nstderr:\n{}",
            self.shown,
            self.code,
            cut(&self.stdout),
            cut(&self.stderr)
        )
    }
}
