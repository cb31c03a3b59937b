//! `slim`: builds a client without the embedded host, checks the front doors' library in the same
//! way, and sees that neither needs the engine.
//!
//! The package is a workspace of its own, because cargo unites the features of all packages in one:
//! there the host would always be built in. It has the project's profile and build folder, so that
//! what both need in the same form is built once.

use anyhow::{Result, bail};

use crate::project::Project;

/// The folder of the package.
const FOLDER: &str = "tests/slim";
/// Selects the library of front doors, which a wheel is made of, without the host.
const FRONTEND: [&str; 3] = ["--package", "sortie-frontend", "--no-default-features"];
/// Starts of the names of packages that make up the engine.
const ENGINE: [&str; 4] = ["wasmtime", "cranelift", "wasmparser", "sortie-host"];

/// Builds the binary that the end-to-end tests start, and looks at what it depends on.
pub(crate) fn run(project: &Project) -> Result<()> {
    let manifest = project.root().join(FOLDER).join("Cargo.toml");
    project
        .cargo()
        .args(["build", "--manifest-path"])
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", project.target()?)
        .run()?;
    let manifest = manifest.to_string_lossy();
    refuse_the_engine(project, "a client", &["--manifest-path", &manifest])?;
    project.cargo().arg("check").args(FRONTEND).run()?;
    refuse_the_engine(project, "a front door", &FRONTEND)
}

/// Looks at what a selection of packages depends on.
fn refuse_the_engine(project: &Project, what: &str, selection: &[&str]) -> Result<()> {
    let tree = project
        .cargo()
        .args(["tree", "--edges", "normal,build", "--prefix", "none"])
        .args(selection)
        .read()?;
    match parts_of_the_engine(&tree).as_slice() {
        [] => Ok(()),
        found => bail!(
            "{what} without the feature `embedded` depends on {}; `cargo tree {} --invert {}` says \
             why",
            found.join(", "),
            selection.join(" "),
            found.first().copied().unwrap_or_default()
        ),
    }
}

/// The packages of the engine in what `cargo tree` prints.
fn parts_of_the_engine(tree: &str) -> Vec<&str> {
    let mut found: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| ENGINE.iter().any(|start| name.starts_with(start)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_the_projects() {
        let after = |text: &'static str, from| text.split_once(from).unwrap().1;
        let project = after(include_str!("../../Cargo.toml"), "[profile.dev]");
        let (project, _) = project.split_once("[profile.release]").unwrap();
        let slim = after(include_str!("../../tests/slim/Cargo.toml"), "[profile.dev]");
        for line in slim.lines() {
            assert!(
                project.lines().any(|its| its == line),
                "`{line}` is none of the project's profile"
            );
        }
    }

    #[test]
    fn an_engine_in_the_tree_is_found() {
        let tree = "sortie-slim v0.1.0 (/x)\nsortie v0.1.0 (/y)\ntokio v1.0.0\n";
        assert_eq!(parts_of_the_engine(tree), [""; 0]);
        let with =
            format!("{tree}wasmtime v48.0.8\ncranelift-codegen v0.1.0\nwasmtime v48.0.8 (*)\n");
        assert_eq!(
            parts_of_the_engine(&with),
            ["cranelift-codegen", "wasmtime"]
        );
    }
}
