//! Compiles components in a child process, which has limits and can be killed.
//!
//! wasmtime does not defend against components that are made to be expensive to compile. So a
//! worker starts its own program again as a child that does nothing but compile one component: with
//! a limit on its address space and on its time on a core, and a deadline. The child has no
//! environment, no cache and no connection; the bytes go in by a pipe, and the machine code comes
//! back by another. The code is loaded as native code, so it comes back under a keyed hash, of a
//! key that this child alone was given, like what is kept on disk ([`super::artifacts`]).
//!
//! A program has to take part: it calls [`child`] first of all when its first argument is
//! [`CHILD_ARGUMENT`]. One that embeds a host usually does not; it compiles on a thread of its own,
//! within the bounds of [`super::structure`] and no others ([`Compiler::Here`]).
//!
//! Dropping the future kills the child.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use sortie_objects::shortage::has_shortage;
use sortie_protocol::outcome::cut;
use sortie_protocol::{ByteSize, Digest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use wasmtime::component::Component;

use super::Engine;
use super::artifacts::{self, Artifacts, KEY_BYTES};
use super::compile::{Code, Error, Origin, STACK_BYTES, code, one_line};
use super::config::compiling;

/// The first argument of a program that is to be a compiling child.
pub const CHILD_ARGUMENT: &str = "compile-component-apart";
/// Threads on which one child compiles: more have little to do, and each takes address space.
const THREADS_MAX: usize = 4;
/// The most machine code that is taken from a child: several times what a Python component has.
const CODE_BYTES_MAX: u64 = 256 << 20;
/// What is read of a child's last words.
const WORDS_BYTES_MAX: u64 = 4 << 10;
/// What is shown of them.
const SHOWN_BYTES_MAX: usize = 300;
/// How much lower than the worker's a child's priority is.
const NICENESS: i32 = 5;

/// The first byte that a child answers: machine code follows, or why there is none, or nothing
/// because memory was refused.
const CODE: u8 = 0;
const REFUSED: u8 = 1;
const NO_MEMORY: u8 = 2;

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
pub enum Compiler {
    /// In this process, on a thread of its own.
    #[default]
    Here,
    /// In a child process.
    Apart(Apart),
}

/// A program whose processes compile.
#[derive(Debug, Clone)]
pub struct Apart {
    /// The program: this one, which calls [`child`].
    pub program: PathBuf,
    /// What one of its processes may use.
    pub limits: CompileLimits,
}

/// What compiling one component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space. Default 2 GiB: four times what a Python component takes.
    pub memory: ByteSize,
    /// Time on cores, all threads together, in whole seconds. Default 60 s.
    pub cpu_time: Duration,
    /// Time. Default 90 s.
    pub time: Duration,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory: ByteSize::mib(2048),
            cpu_time: Duration::from_secs(60),
            time: Duration::from_secs(90),
        }
    }
}

impl Compiler {
    /// By the program that this process runs, within the usual limits.
    #[must_use]
    pub fn this_program() -> Self {
        Self::Apart(Apart {
            program: "/proc/self/exe".into(),
            limits: CompileLimits::default(),
        })
    }
}

impl Apart {
    /// Compile a component whose structure was looked at, and keep it in `artifacts`. Cancel safe:
    /// the child is killed.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        bytes: &[u8],
        digest: Digest,
        artifacts: Option<&Artifacts>,
    ) -> Result<Code, Error> {
        let engine = &engine.inner;
        let component = compile(engine, bytes, digest, self).await?;
        if let Some(artifacts) = artifacts {
            artifacts.store(engine, digest, &component);
        }
        Ok(code(engine, component, Origin::Compiled))
    }
}

async fn compile(
    engine: &wasmtime::Engine,
    bytes: &[u8],
    digest: Digest,
    Apart { program, limits }: &Apart,
) -> Result<Component, Error> {
    let limits = *limits;
    let mut key = [0; KEY_BYTES];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::Shortage(error.to_string()))?;
    let child = spawn(program)
        .map_err(|error| Error::Shortage(format!("there is no process to do it: {error}")))?;
    let Ok(ended) = timeout(limits.time, converse(child, &key, limits, bytes)).await else {
        return Err(Error::costly("time", format!("{:?}", limits.time)));
    };
    let ended = ended.map_err(|error| Error::Shortage(error.to_string()))?;
    let sealed = verdict(&ended, limits)?;
    artifacts::unseal(&key, engine, digest, sealed).ok_or_else(|| {
        Error::Failed("what came back is not what this engine's compiler makes".into())
    })
}

fn spawn(program: &Path) -> io::Result<Child> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    Command::new(program)
        .arg(CHILD_ARGUMENT)
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.min(THREADS_MAX).to_string())
        // Each arena of the allocator reserves address space.
        .env("MALLOC_ARENA_MAX", THREADS_MAX.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// How a child ended.
struct ChildEnded {
    status: ExitStatus,
    answer: Vec<u8>,
    words: String,
}

/// Give a child its component, and take what it answers.
async fn converse(
    mut child: Child,
    key: &[u8; KEY_BYTES],
    limits: CompileLimits,
    bytes: &[u8],
) -> io::Result<ChildEnded> {
    let pipe = || io::Error::other("a child without a pipe");
    let mut stdin = child.stdin.take().ok_or_else(pipe)?;
    let stdout = child.stdout.take().ok_or_else(pipe)?;
    let stderr = child.stderr.take().ok_or_else(pipe)?;
    let feeding = async move {
        // One that ended before it read everything tells why by its end.
        let _ = async {
            stdin.write_all(key).await?;
            stdin.write_u64(limits.memory.as_u64()).await?;
            stdin.write_u64(limits.cpu_time.as_secs()).await?;
            stdin.write_all(bytes).await
        }
        .await;
    };
    let answering = async move {
        let mut answer = Vec::new();
        let mut stdout = stdout.take(CODE_BYTES_MAX + 1);
        stdout.read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let speaking = async move {
        let mut words = Vec::new();
        let mut first = stderr.take(WORDS_BYTES_MAX);
        first.read_to_end(&mut words).await?;
        tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await?;
        io::Result::Ok(String::from_utf8_lossy(&words).into_owned())
    };
    let ((), answer, words) = futures::join!(feeding, answering, speaking);
    Ok(ChildEnded {
        status: child.wait().await?,
        answer: answer?,
        words: words?,
    })
}

/// The sealed code in what a child answered, or why there is none.
fn verdict(ended: &ChildEnded, limits: CompileLimits) -> Result<&[u8], Error> {
    let memory = || Error::costly("memory", limits.memory.to_string());
    if ended.answer.len() as u64 > CODE_BYTES_MAX {
        return Err(Error::TooComplex {
            what: "bytes of machine code",
            found: ended.answer.len() as u64,
            max: CODE_BYTES_MAX,
        });
    }
    if ended.status.success() {
        return match ended.answer.split_first() {
            Some((&CODE, sealed)) => Ok(sealed),
            Some((&REFUSED, text)) => {
                Err(Error::Invalid(String::from_utf8_lossy(text).into_owned()))
            }
            Some((&NO_MEMORY, _)) => Err(memory()),
            Some(_) | None => Err(Error::Failed("the compiler answered nothing".into())),
        };
    }
    // What Rust's runtime says when the system refuses memory, or a thread for want of it.
    let refused = [
        "memory allocation of",
        "failed to allocate",
        "Resource temporarily",
    ];
    if refused.iter().any(|words| ended.words.contains(words)) {
        return Err(memory());
    }
    match ended.status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => {
            let limit = format!("{:?}", limits.cpu_time);
            Err(Error::costly("time on a core", limit))
        }
        // Not by this process, which would not be here: by the system when it is out of memory.
        Some(signal) if signal == Signal::KILL.as_raw() => Err(Error::Shortage(
            "the compiler was killed, as for want of memory".into(),
        )),
        _ => {
            let words = ended.words.split_whitespace().collect::<Vec<_>>().join(" ");
            let shown = cut(words, SHOWN_BYTES_MAX);
            Err(Error::Failed(format!("{}: {shown}", ended.status)))
        }
    }
}

/// Be a compiling child: read a component from standard input, compile it within the limits that
/// come with it, and write its code to standard output. For the program's `main` to return.
#[must_use]
pub fn child() -> ExitCode {
    let compiling = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(answer);
    match compiling.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        Ok(Ok(Err(error))) => {
            // The worker reads it; there is nobody else.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

fn answer() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut key = [0; KEY_BYTES];
    stdin.read_exact(&mut key)?;
    let mut number = [0; 8];
    stdin.read_exact(&mut number)?;
    let memory = u64::from_be_bytes(number);
    stdin.read_exact(&mut number)?;
    limit(memory, u64::from_be_bytes(number))?;
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes)?;
    let engine = wasmtime::Engine::new(&compiling()).map_err(io::Error::other)?;
    let (kind, content) = match engine.precompile_component(&bytes) {
        Ok(code) => {
            let digest = Digest::of(&bytes);
            (CODE, artifacts::seal(&key, &engine, digest, &code))
        }
        Err(error) if has_shortage(error.chain()) => (NO_MEMORY, Vec::new()),
        Err(error) => (REFUSED, one_line(&error).into_bytes()),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&[kind])?;
    stdout.write_all(&content)?;
    stdout.flush()
}

/// Limit this process. Of its workers' processes it is the first that a system without memory ends.
fn limit(memory: u64, cpu_seconds: u64) -> io::Result<()> {
    let at_most = |resource, value| {
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, limit)
    };
    at_most(Resource::Core, 0)?;
    at_most(Resource::As, memory)?;
    // The signal for the lower one says what it is; the higher one kills without a word.
    let cpu = Rlimit {
        current: Some(cpu_seconds),
        maximum: Some(cpu_seconds.saturating_add(1)),
    };
    setrlimit(Resource::Cpu, cpu)?;
    // Neither is needed for the limits to hold.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let _ = rustix::process::nice(NICENESS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(raw_status: i32, answer: &[u8], words: &str) -> ChildEnded {
        ChildEnded {
            status: ExitStatus::from_raw(raw_status),
            answer: answer.to_vec(),
            words: words.into(),
        }
    }

    #[test]
    fn how_a_child_ended_says_which_limit_it_reached() {
        let limits = CompileLimits::default();
        let said = |ended: &ChildEnded| verdict(ended, limits).unwrap_err().to_string();
        assert_eq!(verdict(&ended(0, &[CODE, 7], ""), limits).unwrap(), [7]);
        let aborted = ended(
            Signal::ABORT.as_raw(),
            b"",
            "memory allocation of 8 bytes failed",
        );
        for memory in [ended(0, &[NO_MEMORY], ""), aborted] {
            assert!(said(&memory).contains("more than 2 GiB of memory"));
        }
        let cpu = ended(Signal::XCPU.as_raw(), b"", "");
        assert!(said(&cpu).contains("more than 60s of time on a core"));
        let killed = ended(Signal::KILL.as_raw(), b"", "");
        assert!(matches!(verdict(&killed, limits), Err(Error::Shortage(_))));
        let crashed = ended(Signal::SEGV.as_raw(), b"", "");
        assert!(matches!(verdict(&crashed, limits), Err(Error::Failed(_))));
        let invalid = ended(0, b"\x01no", "");
        let invalid = verdict(&invalid, limits).unwrap_err();
        assert!(matches!(invalid, Error::Invalid(text) if text == "no"));
    }
}
