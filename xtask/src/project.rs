//! Where things are in the repository and in the build folder, and how its own cargo is called.
//!
//! Paths are fixed on purpose: `target/components`, `target/guests` and `target/toolchain` lie in
//! the repository even if `CARGO_TARGET_DIR` moves the host's build elsewhere, because tests and
//! documentation name them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::Cmd;

/// The workspaces of the repository, as folders below its root. The first one holds the host side.
pub(crate) const WORKSPACES: [&str; 4] = ["", "examples", "tests/guests", "tests/slim"];

/// The repository, and how much to say about work in it.
pub(crate) struct Project {
    root: PathBuf,
    /// The file of this program, asked for once, before any build: cargo may put a new file in its
    /// place, and Linux then says of the running program that its file was deleted.
    program: PathBuf,
    verbose: bool,
}

impl Project {
    /// The repository that this program was built from.
    pub(crate) fn find(verbose: bool) -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        Ok(Self {
            root: manifest.parent().unwrap_or(manifest).to_owned(),
            program: env::current_exe().context("failed to find this program's own file")?,
            verbose,
        })
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file of this program, or what a build since put in its place.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Components that are ready to run, one file each.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("target/components")
    }

    /// The one build folder of all guests, so that their standard library is built once.
    pub(crate) fn guests_target(&self) -> PathBuf {
        self.root.join("target/guests")
    }

    /// What `setup` downloads.
    pub(crate) fn toolchain(&self) -> PathBuf {
        self.root.join("target/toolchain")
    }

    /// The path as a person in the root folder would write it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// The folders of those workspaces that exist, each with the name to show.
    pub(crate) fn workspaces(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        WORKSPACES
            .into_iter()
            .map(|name| (name, self.root.join(name)))
            .filter(|(_, folder)| folder.join("Cargo.toml").is_file())
    }

    /// The build folder of the root workspace, which this program lies in wherever it is.
    pub(crate) fn target(&self) -> Result<&Path> {
        self.program
            .parent()
            .and_then(Path::parent)
            .context("failed to find the build folder of this program")
    }

    /// A binary of the root workspace.
    pub(crate) fn binary(&self, profile: &str, name: &str) -> Result<PathBuf> {
        Ok(self
            .target()?
            .join(profile)
            .join(format!("{name}{}", env::consts::EXE_SUFFIX)))
    }

    /// A program to run from the root folder.
    pub(crate) fn cmd(&self, program: &str) -> Cmd {
        Cmd::new(program, self.verbose).dir(&self.root)
    }

    /// The cargo that runs this program, without the variables it sets for this program alone:
    /// build scripts that watch them would run again at each change between the shell and here.
    pub(crate) fn cargo(&self) -> Cmd {
        let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        own_variables().fold(self.cmd(&cargo).label("cargo"), Cmd::env_remove)
    }

    /// Whether `cargo NAME` exists.
    pub(crate) fn has_cargo(&self, name: &str) -> bool {
        self.cargo().args([name, "--version"]).succeeds()
    }
}

/// Names of the variables by which cargo describes this package to this program.
fn own_variables() -> impl Iterator<Item = String> {
    env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || matches!(
                    name.as_str(),
                    "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR"
                )
        })
}
