//! `fuzz`: builds the fuzz targets with coverage counters and runs each for a time.
//!
//! The targets are the programs in `fuzz/fuzz_targets`. libFuzzer comes as a crate, in C++, so only
//! a C++ compiler is needed besides the toolchain. The counters are for the project's own crates
//! ([`rustc`]): dependencies are those of the everyday build, and neither build undoes the other.
//!
//! Below `target/fuzz` lie, for each target, the seeds, which are written anew, the corpus, which
//! grows from run to run, what the fuzzer said, and inputs that made a target fail.

mod report;
pub(crate) mod rustc;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::report::Report;
use crate::command::Cmd;
use crate::project::Project;
use crate::stopwatch::Stopwatch;

/// The folder of the targets' programs.
const TARGETS: &str = "fuzz/fuzz_targets";
/// What builds them.
const FEATURE: &str = "sortie-fuzz/libfuzzer";
/// Names the folder that a program writes its seeds to, instead of fuzzing.
const SEEDS: &str = "SORTIE_FUZZ_SEEDS";
/// How long each target runs among the checks of continuous integration: enough to find what a
/// change broke, since the seeds reach most code.
const SECONDS_OF_CHECKS: u64 = 10;
/// The longest input, unless a seed is longer: short ones are tried more often.
const INPUT_BYTES: u64 = 4096;
/// The most memory that a target may take, in MiB. No decoder here takes so much for such inputs.
const MEMORY_MIB: u32 = 512;
/// The longest time for one input, in seconds. They take microseconds.
const INPUT_SECONDS: u32 = 10;

/// What to fuzz.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names of targets [default: all]
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// How a target ended.
struct Ran {
    target: String,
    report: Report,
    time: Duration,
    is_ok: bool,
}

/// Where the files of one target are.
struct Places {
    program: PathBuf,
    seeds: PathBuf,
    corpus: PathBuf,
    /// The start of the names of inputs that made it fail.
    failures: PathBuf,
    log: PathBuf,
}

/// Runs the targets that were named.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> Result<()> {
    if !has_compiler(project) {
        bail!("the fuzzer needs a C++ compiler: install one as `c++`, or name it in CXX");
    }
    let all = targets(project)?;
    if let Some(unknown) = arguments.targets.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no target `{unknown}`: choose of {}",
            all.join(", ")
        );
    }
    let chosen = if arguments.targets.is_empty() {
        all
    } else {
        arguments.targets.clone()
    };
    run_each(project, project.cargo(), &chosen, arguments.seconds)
}

/// Runs all targets for a short time.
pub(crate) fn run_all(project: &Project, cargo: Cmd) -> Result<()> {
    run_each(project, cargo, &targets(project)?, SECONDS_OF_CHECKS)
}

/// Whether libFuzzer can be compiled here.
pub(crate) fn has_compiler(project: &Project) -> bool {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    project.cmd(&compiler).arg("--version").succeeds()
}

/// The names of all targets, sorted.
fn targets(project: &Project) -> Result<Vec<String>> {
    let folder = project.root().join(TARGETS);
    let entries = fs::read_dir(&folder).with_context(|| format!("failed to list `{TARGETS}`"))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn run_each(project: &Project, cargo: Cmd, targets: &[String], seconds: u64) -> Result<()> {
    build(project, cargo, targets)?;
    let mut all = Vec::new();
    for target in targets {
        println!("fuzzing `{target}` for {seconds} s");
        all.push(fuzz(project, target, seconds)?);
    }
    conclude(&all);
    match all.iter().filter(|ran| !ran.is_ok).count() {
        0 => Ok(()),
        failed => bail!("{failed} targets failed"),
    }
}

fn build(project: &Project, cargo: Cmd, targets: &[String]) -> Result<()> {
    let programs = targets.iter().flat_map(|name| ["--bin", name.as_str()]);
    cargo
        .args(["build", "--workspace", "--features", FEATURE])
        .args(programs)
        .env("RUSTC_WORKSPACE_WRAPPER", project.program())
        .env(rustc::MARK, "1")
        .brief("the build of the fuzz targets")
        .run()
}

/// Writes the seeds, then fuzzes.
fn fuzz(project: &Project, target: &str, seconds: u64) -> Result<Ran> {
    let places = Places::of(project, target)?;
    places.prepare()?;
    let program = places.program.to_string_lossy();
    project
        .cmd(&program)
        .env(SEEDS, &places.seeds)
        .run_within(Duration::from_secs(60))?;
    let length = longest(&places.seeds)?.max(INPUT_BYTES);
    let watch = Stopwatch::start();
    let (mut report, mut log) = (Report::default(), String::new());
    let status = project
        .cmd(&program)
        .args([&places.corpus, &places.seeds])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={length}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}", places.failures.display()))
        .arg("-print_final_stats=1")
        .listen(|line| {
            report.read(line);
            log.push_str(line);
        })?;
    fs::write(&places.log, &log)
        .with_context(|| format!("failed to write `{}`", places.log.display()))?;
    let ran = Ran {
        target: target.to_owned(),
        report,
        time: watch.elapsed(),
        is_ok: status.success(),
    };
    if !ran.is_ok {
        ran.explain(project, &places, &status.to_string());
    }
    Ok(ran)
}

/// How many bytes the longest file of a folder has.
fn longest(folder: &Path) -> Result<u64> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("failed to list `{}`", folder.display()))?;
    let lengths = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    Ok(lengths.max().unwrap_or_default())
}

fn conclude(all: &[Ran]) {
    println!(
        "\n{:<16} {:>10} {:>8} {:>8}  result",
        "target", "executions", "coverage", "seconds"
    );
    for ran in all {
        println!(
            "{:<16} {:>10} {:>8} {:>8.1}  {}",
            ran.target,
            ran.report.executions,
            ran.report.coverage,
            ran.time.as_secs_f64(),
            if ran.is_ok { "ok" } else { "FAILED" }
        );
    }
}

impl Places {
    fn of(project: &Project, target: &str) -> Result<Self> {
        let below = project.root().join("target/fuzz");
        Ok(Self {
            program: project.binary("debug", target)?,
            seeds: below.join("seeds").join(target),
            corpus: below.join("corpus").join(target),
            failures: below.join("failures").join(format!("{target}-")),
            log: below.join("logs").join(format!("{target}.log")),
        })
    }

    /// Makes the folders; that of the seeds is empty then.
    fn prepare(&self) -> Result<()> {
        if self.seeds.exists() {
            fs::remove_dir_all(&self.seeds)
                .with_context(|| format!("failed to empty `{}`", self.seeds.display()))?;
        }
        let parents = [self.failures.parent(), self.log.parent()];
        let folders = [self.seeds.as_path(), &self.corpus];
        for folder in folders.into_iter().chain(parents.into_iter().flatten()) {
            fs::create_dir_all(folder)
                .with_context(|| format!("failed to make `{}`", folder.display()))?;
        }
        Ok(())
    }
}

impl Ran {
    /// Says why a target failed, and how to see it again.
    fn explain(&self, project: &Project, places: &Places, status: &str) {
        let log = project.shown(&places.log);
        eprintln!("error: the target `{}` failed with {status}", self.target);
        for line in &self.report.reasons {
            eprintln!("  {line}");
        }
        match &self.report.input {
            Some(input) => {
                let input = project.shown(Path::new(input));
                let program = project.shown(&places.program);
                eprintln!(
                    "the input is `{}`; to repeat it: {} {}",
                    input.display(),
                    program.display(),
                    input.display()
                );
            }
            // As where the stack overflows: nothing can be written then.
            None => eprintln!("the input is not known; `{}` has the rest", log.display()),
        }
    }
}
