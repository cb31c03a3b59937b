//! The guest toolchain: which of the two routes is there, and how cargo is called through it.
//!
//! A guest is built for `wasm32-wasip2`. With the target of rustup that is plain cargo; with
//! Debian's packages it is Debian's compiler, which builds the standard library along. Both give
//! the same components. This module only looks and never installs: that is `setup`.
//!
//! Debian's route needs `RUSTC_BOOTSTRAP` and another compiler. Both are set for one command at a
//! time and reach no host build.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::command::Cmd;
use crate::project::Project;

/// What guests are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Debian's compiler and cargo: never those of rustup, which come first on the path.
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std";

/// Where a guest toolchain comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Route {
    /// `rustup target add wasm32-wasip2`
    Rustup,
    /// Debian's packages, for machines that cannot reach rustup's server
    Debian,
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        }
    }
}

/// A guest toolchain that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    route: Route,
}

impl Toolchain {
    /// The toolchain that `setup` chose last, else any that is there.
    pub(crate) fn find(project: &Project) -> Option<Self> {
        let chosen = fs::read_to_string(choice(project)).unwrap_or_default();
        let mut routes = [Route::Rustup, Route::Debian];
        routes.sort_by_key(|route| route.name() != chosen.trim());
        routes
            .into_iter()
            .find_map(|route| Self::by(route, project))
    }

    /// The toolchain of this route, if it is complete.
    pub(crate) fn by(route: Route, project: &Project) -> Option<Self> {
        let complete = match route {
            Route::Rustup => rustup_target_is_there(project),
            Route::Debian => missing_of_debian(project).is_none(),
        };
        complete.then_some(Self { route })
    }

    /// Makes this the toolchain that [`Toolchain::find`] prefers.
    pub(crate) fn choose(self, project: &Project) -> Result<()> {
        let file = choice(project);
        fs::create_dir_all(project.toolchain())
            .and_then(|()| fs::write(&file, self.route.name()))
            .with_context(|| format!("failed to write `{}`", file.display()))
    }

    /// One sentence for a person.
    pub(crate) fn described(self) -> &'static str {
        match self.route {
            Route::Rustup => "the wasm32-wasip2 target of rustup",
            Route::Debian => "Debian's compiler with wasi-libc in target/toolchain",
        }
    }

    /// A cargo command that compiles for [`TARGET`] into the guests' build folder. `flags` go to
    /// the compiler for every crate of the guest; other flags mean another build of everything,
    /// so they should be the same for all guests.
    pub(crate) fn cargo(self, project: &Project, subcommand: &str, flags: &[&str]) -> Result<Cmd> {
        let cmd = match self.route {
            Route::Rustup => project
                .cargo()
                .arg(subcommand)
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")),
            Route::Debian => debian_cargo(project, subcommand, flags)?,
        };
        Ok(cmd
            .args(["--release", "--target", TARGET, "--target-dir"])
            .arg(project.guests_target()))
    }
}

/// The first thing that Debian's route lacks, or nothing.
pub(crate) fn missing_of_debian(project: &Project) -> Option<PathBuf> {
    let needed = [
        DEBIAN_CARGO.into(),
        DEBIAN_RUSTC.into(),
        DEBIAN_SOURCES.into(),
        debian_linkers().join("wasm-component-ld"),
        wasm_ld(project),
        libc(project).join("libc.a"),
    ];
    needed.into_iter().find(|path: &PathBuf| !path.exists())
}

/// The unpacked package wasi-libc.
pub(crate) fn libc_package(project: &Project) -> PathBuf {
    project.toolchain().join("wasi-libc")
}

/// The link by which the compiler finds the linker, which Debian installs under a name with a
/// version.
pub(crate) fn wasm_ld(project: &Project) -> PathBuf {
    project.toolchain().join("bin/wasm-ld")
}

fn choice(project: &Project) -> PathBuf {
    project.toolchain().join("route")
}

fn libc(project: &Project) -> PathBuf {
    libc_package(project).join("usr/lib").join(TARGET)
}

fn debian_linkers() -> PathBuf {
    Path::new("/usr/lib/rustlib")
        .join(format!("{}-unknown-linux-gnu", env::consts::ARCH))
        .join("bin")
}

fn rustup_target_is_there(project: &Project) -> bool {
    let folder = project
        .cmd("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .read();
    folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

fn debian_cargo(project: &Project, subcommand: &str, flags: &[&str]) -> Result<Cmd> {
    let libc = libc(project);
    let Some(search) = libc.to_str() else {
        bail!(
            "failed to use `{}`: the path is not UTF-8; move the repository",
            libc.display()
        )
    };
    let search = format!("native={search}");
    let flags = [flags, &["-C", "link-self-contained=no", "-L", &search]].concat();
    let cmd = project.cmd(DEBIAN_CARGO);
    // Variables by which rustup and `cargo run` point at their own compiler and its libraries.
    let cmd = [
        "CARGO",
        "RUSTUP_TOOLCHAIN",
        "RUSTDOC",
        "RUSTC_WRAPPER",
        "LD_LIBRARY_PATH",
    ]
    .into_iter()
    .fold(cmd, Cmd::env_remove);
    Ok(cmd
        .env("PATH", debian_path(project)?)
        .env("RUSTC", DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args([subcommand, "-Zbuild-std=std,panic_abort"]))
}

fn debian_path(project: &Project) -> Result<OsString> {
    let linkers = [project.toolchain().join("bin"), debian_linkers()];
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(linkers.into_iter().chain(env::split_paths(&path)))
        .context("failed to put the linkers on PATH")
}
