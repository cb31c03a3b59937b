//! Compares the features of dependencies between the demo's build and a build of the workspace.
//!
//! Cargo compiles a crate again when its features change. The demo builds only some packages, so a
//! feature that another package enables would make the next build of the workspace compile the
//! crate, and all crates above it, a second time. `xtask/features` asks for such features.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::finding::Finding;
use crate::demo;
use crate::project::Project;

/// Where missing features are added.
const MANIFEST: &str = "xtask/features/Cargo.toml";

/// The feature sets that each crate is compiled with. Crates for the host and crates for build
/// scripts can differ, so that one crate can have two sets.
type Features = BTreeMap<String, BTreeSet<String>>;

/// Every crate that the demo compiles with features that no build of the workspace uses.
pub(super) fn check(project: &Project) -> Result<Vec<Finding>> {
    let selection = demo::PACKAGES.iter().flat_map(|name| ["--package", name]);
    let demo = features(&tree(project, selection)?);
    let workspace = features(&tree(project, ["--workspace"])?);
    Ok(differing(&demo, &workspace))
}

fn tree<'a>(project: &Project, selection: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let cmd = project.cargo().args([
        "tree",
        "--locked",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ]);
    cmd.args(selection).read()
}

/// Reads lines such as `log v0.4.35|alloc,std`, with a mark behind those that are repeated.
fn features(tree: &str) -> Features {
    let mut features = Features::new();
    for line in tree.lines() {
        if let Some((package, enabled)) = line.trim_end_matches(" (*)").split_once('|') {
            let sets = features.entry(package.to_owned()).or_default();
            sets.insert(enabled.to_owned());
        }
    }
    features
}

fn differing(demo: &Features, workspace: &Features) -> Vec<Finding> {
    demo.iter()
        .filter_map(|(package, sets)| {
            let expected = workspace.get(package)?;
            (!sets.is_subset(expected)).then(|| {
                Finding::new(
                    MANIFEST,
                    1,
                    format!(
                        "the demo compiles `{package}` with {sets:?}, the workspace with \
                             {expected:?}"
                    ),
                    "add the crate with the features that are missing",
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_with_fewer_features_in_the_demo_is_found() {
        let workspace = features("log v1|kv,std\nserde v1|std\nserde v1|\nhmac v1|\n");
        let demo = features("log v1|std\nserde v1|std (*)\n");
        let found = differing(&demo, &workspace);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("`log v1`"), "{}", found[0]);
    }
}
