//! This program as cargo's wrapper around the compiler, which adds coverage counters.
//!
//! Cargo calls a wrapper only for the packages of the workspace, and keeps what it makes apart from
//! what the compiler alone makes. So dependencies are not compiled again. The flags are those of
//! cargo-fuzz, as far as the stable toolchain has them. What runs while building (procedural macros
//! and build scripts) gets none: there is no fuzzer to count in.

use std::env;
use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use crate::command::Cmd;

/// The variable that makes this program the wrapper.
pub(crate) const MARK: &str = "SORTIE_FUZZ_RUSTC";

/// What counts edges and compared values, where libFuzzer looks for them.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

/// Runs the compiler, if cargo called this program for that.
pub(crate) fn run_if_wrapped() -> Option<ExitCode> {
    env::var_os(MARK)?;
    let mut arguments = env::args_os().skip(1);
    let rustc = arguments.next()?;
    let arguments: Vec<OsString> = arguments.collect();
    let flags: &[&str] = if is_counted(&arguments) { &FLAGS } else { &[] };
    let compiler = Cmd::new(&rustc.to_string_lossy(), false)
        .args(&arguments)
        .args(flags);
    Some(match compiler.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Whether a crate runs in a target.
fn is_counted(arguments: &[OsString]) -> bool {
    let value = |name: &str| {
        let mut pairs = arguments.iter().zip(arguments.iter().skip(1));
        pairs.find_map(|(key, value)| (key == OsStr::new(name)).then_some(value))
    };
    let is_asked_for = value("--crate-name").is_some_and(|name| {
        let name = name.to_string_lossy();
        // Cargo asks for the compiler's settings in the name of `___`.
        name != "___" && !name.starts_with("build_script_")
    });
    is_asked_for && value("--crate-type").is_none_or(|kind| kind != OsStr::new("proc-macro"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(line: &str) -> bool {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        is_counted(&arguments)
    }

    #[test]
    fn only_what_runs_in_a_target_has_counters() {
        assert!(counted("--crate-name sortie_protocol --crate-type lib"));
        assert!(counted("--crate-name envelope --crate-type bin"));
        assert!(!counted("--crate-name macros --crate-type proc-macro"));
        assert!(!counted("--crate-name build_script_build --crate-type bin"));
        assert!(!counted("- --crate-name ___ --print=file-names"));
        assert!(!counted("-vV"));
    }
}
