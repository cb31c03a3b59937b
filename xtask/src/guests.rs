//! `guests`: builds functions as components into `target/components`.
//!
//! All guests share one build folder and the same compiler flags, so that the standard library and
//! common crates are built once. What differs from guest to guest goes to the linker only; it is in
//! the table of [`Tuning`] and nowhere else.
//!
//! It never decides by itself that a guest is up to date: cargo does, each time.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::project::Project;
use crate::setup;
use crate::toolchain::{TARGET, Toolchain};

/// The folders whose functions belong to the project.
const FOLDERS: [&str; 2] = ["examples", "tests/guests"];

/// Compiler flags of every guest. 128-bit vectors are part of the base that every host has.
/// Inlining more than usual spares calls, each of which looks at the host's clock on entry: 6 % of
/// the time of `pdf-text`, for a third more bytes.
const FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+simd128",
    "-C",
    "llvm-args=-inline-threshold=1000",
];

/// How a guest's memory is laid out by the linker.
struct Tuning {
    /// Memory at start. It should cover a typical call, because growing costs more than the call;
    /// none lets the linker choose the least.
    memory_bytes: Option<u32>,
    /// Room for the stack, inside that memory.
    stack_bytes: u32,
}

/// For crates that the table does not name: a call of a small function grows nothing.
const USUAL: Tuning = Tuning {
    memory_bytes: Some(2 << 20),
    stack_bytes: 512 << 10,
};

impl Tuning {
    fn of(component: &str) -> Self {
        match component {
            // Deeply nested page content recurses; fonts and character maps exceed the usual
            // memory. Most documents need 3 to 7 MiB.
            "pdf-text" | "arxiv-scan" => Self {
                memory_bytes: Some(8 << 20),
                stack_bytes: 2 << 20,
            },
            _ => USUAL,
        }
    }

    fn linker_arguments(&self) -> Vec<String> {
        let stack = format!("link-arg=-zstack-size={}", self.stack_bytes);
        let memory = self
            .memory_bytes
            .map(|bytes| format!("link-arg=--initial-memory={bytes}"));
        [Some(stack), memory]
            .into_iter()
            .flatten()
            .flat_map(|argument| ["-C".to_owned(), argument])
            .collect()
    }
}

/// Whether a build has the machine to itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builds {
    /// It has all cores, and prints what it compiles.
    Alone,
    /// Another build runs that takes longer: this one compiles one crate at a time, and prints
    /// warnings and errors only.
    BesideAnother,
}

/// A crate that becomes a component.
struct Guest {
    manifest: PathBuf,
    package: String,
    library: String,
}

/// Builds the crate at `path`, or all of the project's.
pub(crate) fn run(project: &Project, path: Option<&Path>) -> Result<()> {
    let toolchain = match Toolchain::find(project) {
        Some(toolchain) => toolchain,
        None => setup::run(project, None)?,
    };
    let folders =
        match path {
            Some(path) => vec![path.canonicalize().with_context(|| {
                format!("failed to find the function crate `{}`", path.display())
            })?],
            None => FOLDERS
                .iter()
                .map(|folder| project.root().join(folder))
                .collect(),
        };
    for folder in folders {
        build(project, toolchain, &folder, Builds::Alone)?;
    }
    Ok(())
}

/// Builds the function crates in one folder.
pub(crate) fn build(
    project: &Project,
    toolchain: Toolchain,
    folder: &Path,
    builds: Builds,
) -> Result<()> {
    for guest in find(project, folder)? {
        guest.build(project, toolchain, builds)?;
    }
    Ok(())
}

impl Guest {
    fn component(&self) -> String {
        self.library.replace('_', "-")
    }

    /// Only the component is asked for, although examples are ordinary libraries too: with both in
    /// one compilation there is no optimisation across crates.
    fn build(&self, project: &Project, toolchain: Toolchain, builds: Builds) -> Result<()> {
        let name = self.component();
        let modest: &[&str] = match builds {
            Builds::Alone => &[],
            Builds::BesideAnother => &["--quiet", "--jobs", "1"],
        };
        let cmd = toolchain
            .cargo(project, "rustc", &FLAGS)?
            .args(modest)
            .arg("--manifest-path")
            .arg(&self.manifest);
        let cmd = cmd.args([
            "--package",
            &self.package,
            "--lib",
            "--crate-type",
            "cdylib",
            "--",
        ]);
        let cmd = cmd.args(Tuning::of(&name).linker_arguments());
        cmd.brief(format!(
            "cargo rustc --target {TARGET} --package {}",
            self.package
        ))
        .run()?;
        let built = project
            .guests_target()
            .join(TARGET)
            .join("release")
            .join(format!("{}.wasm", self.library));
        let place = project.components().join(format!("{name}.wasm"));
        let (bytes, changed) = publish(&built, &place)?;
        println!(
            "{}  {:.1} MB  {}",
            project.shown(&place).display(),
            megabytes(bytes),
            if changed { "built" } else { "up to date" }
        );
        Ok(())
    }
}

/// The function crates in a folder: the crate itself, or the members of a workspace.
fn find(project: &Project, folder: &Path) -> Result<Vec<Guest>> {
    let manifest = folder.join("Cargo.toml");
    if !manifest.is_file() {
        bail!(
            "found no function crate in `{}`: it has no Cargo.toml",
            folder.display()
        );
    }
    let metadata = project
        .cargo()
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(&manifest)
        .read()?;
    let metadata: Value =
        serde_json::from_str(&metadata).context("failed to read the output of cargo metadata")?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let (own, members): (Vec<_>, Vec<_>) = packages
        .filter_map(guest)
        .partition(|guest| guest.manifest == manifest);
    let guests = if own.is_empty() { members } else { own };
    if guests.is_empty() {
        bail!(
            "found no function crate in `{}`: its Cargo.toml needs `crate-type = [\"cdylib\"]` \
             under [lib]",
            folder.display()
        );
    }
    Ok(guests)
}

fn guest(package: &Value) -> Option<Guest> {
    let is_component = |target: &&Value| {
        target
            .get("crate_types")
            .and_then(Value::as_array)
            .is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
    };
    let library = package
        .get("targets")?
        .as_array()?
        .iter()
        .find(is_component)?
        .get("name")?
        .as_str()?;
    let manifest = package.get("manifest_path")?.as_str()?.into();
    Some(Guest {
        manifest,
        package: package.get("name")?.as_str()?.to_owned(),
        library: library.replace('-', "_"),
    })
}

/// Copies a component into place as a whole, if it differs from what is there. Returns its size and
/// whether it was copied.
fn publish(built: &Path, place: &Path) -> Result<(usize, bool)> {
    let component = fs::read(built)
        .with_context(|| format!("failed to read the built component `{}`", built.display()))?;
    if fs::read(place).is_ok_and(|old| old == component) {
        return Ok((component.len(), false));
    }
    let fresh = place.with_extension("wasm.new");
    let written = place
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&fresh, &component))
        .and_then(|()| fs::rename(&fresh, place));
    written.with_context(|| format!("failed to write `{}`", place.display()))?;
    Ok((component.len(), true))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
