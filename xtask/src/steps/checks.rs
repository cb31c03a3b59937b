//! What each step runs.
//!
//! The workspaces of `examples` and `tests/guests` are checked like the root one (`tests/slim` is
//! formatted, built and started). Their native builds share a build folder apart from the root's,
//! because their profiles differ.

use anyhow::{Context, Result};

use super::step::{Check, Mode, Run};
use crate::command::{Cmd, Stream};
use crate::project::Project;
use crate::toolchain::TARGET;
use crate::{fuzz as fuzzing, guests as components, setup as toolchain};
use crate::{slim as without_host, tidy as rules};

/// The folder of functions that have unit tests of their own.
const FUNCTIONS: &str = "examples";

/// Formatting of every workspace.
pub(super) fn format(run: &mut Run<'_>) -> Result<Check> {
    for (_, folder) in run.project.workspaces() {
        let manifest = folder.join("Cargo.toml");
        run.command(
            run.cargo()
                .args(["fmt", "--all", "--check", "--manifest-path"])
                .arg(manifest),
        )?;
    }
    Ok(Check::Done)
}

/// The project's own rules.
pub(super) fn tidy(run: &mut Run<'_>) -> Result<Check> {
    rules::run_all(run.project).map(|()| Check::Done)
}

/// Lock files that are complete. It fetches what the builds will need, so that a network failure
/// shows here.
pub(super) fn locks(run: &mut Run<'_>) -> Result<Check> {
    let version = run.project.cmd("rustc").arg("-vV").read()?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("failed to find the host in the output of `rustc -vV`")?;
    for (_, folder) in run.project.workspaces() {
        let cmd = run.cargo().args([
            "fetch",
            "--locked",
            "--target",
            host,
            "--target",
            TARGET,
            "--manifest-path",
        ]);
        run.command(cmd.arg(folder.join("Cargo.toml")))?;
    }
    Ok(Check::Done)
}

/// The guest toolchain.
pub(super) fn setup(run: &mut Run<'_>) -> Result<Check> {
    toolchain::run(run.project, None).map(|_| Check::Done)
}

/// The servers that tests talk to.
pub(super) fn servers(run: &mut Run<'_>) -> Result<Check> {
    toolchain::servers(run.project).map(|()| Check::Done)
}

/// The project's guests.
pub(super) fn guests(run: &mut Run<'_>) -> Result<Check> {
    components::run(run.project, None).map(|()| Check::Done)
}

/// The host side, with the binaries that tests start.
pub(super) fn build(run: &mut Run<'_>) -> Result<Check> {
    run.command(run.cargo().args(["build", "--workspace"]))
        .map(|()| Check::Done)
}

/// A client without the embedded host, which a test starts.
pub(super) fn slim(run: &mut Run<'_>) -> Result<Check> {
    without_host::run(run.project).map(|()| Check::Done)
}

/// The functions' own unit tests, run natively.
pub(super) fn functions(run: &mut Run<'_>) -> Result<Check> {
    let cmd = own_target(run.project, run.cargo())
        .args(["test", "--manifest-path"])
        .arg(run.project.root().join(FUNCTIONS).join("Cargo.toml"));
    run.count(cmd.arg("--no-fail-fast"), Stream::Stdout)
        .map(|()| Check::Done)
}

/// All tests of the root workspace.
pub(super) fn tests(run: &mut Run<'_>) -> Result<Check> {
    if !run.project.has_cargo("nextest") {
        let cmd = run
            .cargo()
            .args(["test", "--workspace", "--lib", "--bins", "--tests"]);
        return run
            .count(cmd.arg("--no-fail-fast"), Stream::Stdout)
            .map(|()| Check::Done);
    }
    // Most of them wait for servers, leases and faults, and leave half of a core for others.
    let threads = 2 * std::thread::available_parallelism()?.get();
    let cmd = run
        .cargo()
        .args(["nextest", "run", "--workspace", "--test-threads"])
        .arg(threads.to_string());
    let cmd = match run.mode {
        Mode::Person => cmd,
        Mode::Machine => cmd.args(["--profile", "ci"]),
    };
    run.count(cmd, Stream::Stderr).map(|()| Check::Done)
}

/// Examples in the documentation, which nextest does not run.
pub(super) fn doctests(run: &mut Run<'_>) -> Result<Check> {
    let cmd = run.cargo().args(["test", "--workspace", "--doc"]);
    run.count(cmd.arg("--no-fail-fast"), Stream::Stdout)
        .map(|()| Check::Done)
}

/// Every fuzz target, for a short time.
pub(super) fn fuzz(run: &mut Run<'_>) -> Result<Check> {
    if !fuzzing::has_compiler(run.project) {
        return Ok(Check::Skipped("there is no C++ compiler"));
    }
    fuzzing::run_all(run.project, run.cargo()).map(|()| Check::Done)
}

/// Clippy on everything, without a warning.
pub(super) fn lints(run: &mut Run<'_>) -> Result<Check> {
    for (name, folder) in run.project.workspaces() {
        // One small file, built without warnings by a step of its own: linting it would build all
        // of its dependencies once more.
        if name == "tests/slim" {
            continue;
        }
        let cargo = if name.is_empty() {
            run.cargo()
        } else {
            own_target(run.project, run.cargo())
        };
        let cmd = cargo
            .args(["clippy", "--workspace", "--all-targets", "--manifest-path"])
            .arg(folder.join("Cargo.toml"));
        run.command(cmd.args(["--", "-D", "warnings"]))?;
    }
    Ok(Check::Done)
}

/// Documentation of the libraries, without a warning.
pub(super) fn docs(run: &mut Run<'_>) -> Result<Check> {
    run.command(
        run.cargo()
            .args(["doc", "--workspace", "--no-deps", "--lib"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
    .map(|()| Check::Done)
}

/// Licences and advisories of the dependencies.
pub(super) fn licences(run: &mut Run<'_>) -> Result<Check> {
    if !run.project.has_cargo("deny") {
        return Ok(Check::Skipped("cargo-deny is not installed"));
    }
    run.command(run.cargo().args(["deny", "--workspace", "check"]))
        .map(|()| Check::Done)
}

fn own_target(project: &Project, cargo: Cmd) -> Cmd {
    cargo.env("CARGO_TARGET_DIR", project.root().join("target/functions"))
}
