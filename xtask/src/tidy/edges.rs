//! Which package may depend on which: the project's own, one way only, and the outside's crates,
//! each behind one package.
//!
//! A row here is a decision. A new edge needs a record in `docs/adr` first, then a row.

use anyhow::{Context, Result};
use serde_json::Value;

use super::finding::Finding;
use crate::project::Project;

/// What a package may take of the project's own packages.
struct Row {
    package: &'static str,
    /// Anywhere.
    always: &'static [&'static str],
    /// Only as an optional dependency, so that users can do without.
    optional: &'static [&'static str],
    /// Only for tests and examples.
    tests: &'static [&'static str],
}

const ROWS: [Row; 20] = [
    Row {
        package: "sortie-protocol",
        always: &[],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-objects",
        always: &["sortie-protocol"],
        optional: &[],
        tests: &["sortie-harness"],
    },
    Row {
        package: "sortie-broker",
        always: &["sortie-protocol"],
        optional: &[],
        tests: &["sortie-harness"],
    },
    Row {
        package: "sortie-host",
        always: &["sortie-protocol", "sortie-objects", "sortie-broker"],
        optional: &[],
        tests: &["sortie-harness"],
    },
    Row {
        package: "sortie",
        always: &["sortie-protocol", "sortie-objects", "sortie-broker"],
        optional: &["sortie-host"],
        tests: &["sortie-harness"],
    },
    Row {
        package: "sortie-frontend",
        always: &["sortie"],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-cli",
        always: &["sortie", "sortie-broker", "sortie-frontend", "sortie-host"],
        optional: &[],
        tests: &["sortie-harness"],
    },
    Row {
        package: "sortie-guest",
        always: &["sortie-guest-macros"],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-guest-macros",
        always: &[],
        optional: &[],
        tests: &["sortie-guest"],
    },
    Row {
        package: "sortie-harness",
        always: &["sortie-protocol", "sortie-broker", "sortie-host", "sortie"],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-chaos",
        always: &[
            "sortie-harness",
            "sortie-protocol",
            "sortie-broker",
            "sortie",
        ],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-skewed-clock",
        always: &[],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-e2e",
        always: &[
            "sortie-harness",
            "sortie-protocol",
            "sortie-broker",
            "sortie-host",
            "sortie",
        ],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-bench",
        always: &[
            "sortie-harness",
            "sortie-protocol",
            "sortie-broker",
            "sortie-host",
            "sortie",
        ],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-fuzz",
        always: &[
            "sortie-protocol",
            "sortie-objects",
            "sortie-broker",
            "sortie-host",
            "sortie",
            "sortie-frontend",
        ],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-pipeline",
        always: &["sortie"],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "sortie-slim",
        always: &["sortie"],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "xtask",
        always: &[],
        optional: &[],
        tests: &[],
    },
    Row {
        package: "arxiv-scan",
        always: &["sortie-guest", "pdf-text"],
        optional: &[],
        tests: &[],
    },
    FUNCTION,
];

/// What every function crate may take: the kit for functions, and nothing of the host side.
const FUNCTION: Row = Row {
    package: "a function",
    always: &["sortie-guest"],
    optional: &[],
    tests: &[],
};

/// Crates of the outside, by the start of their name, and the packages that may take them.
const OUTSIDE: [(&str, &[&str]); 8] = [
    ("wasmtime", &["sortie-host", "sortie-bench"]),
    (
        "async-nats",
        &[
            "sortie-broker",
            "sortie-harness",
            "sortie-chaos",
            "sortie-bench",
        ],
    ),
    ("object_store", &["sortie-objects"]),
    ("moka", &["sortie-objects"]),
    (
        "clap",
        &["sortie-cli", "sortie-chaos", "sortie-bench", "xtask"],
    ),
    ("indicatif", &["sortie-cli"]),
    (
        "tokio",
        &[
            "sortie-objects",
            "sortie-broker",
            "sortie-host",
            "sortie",
            "sortie-frontend",
            "sortie-cli",
            "sortie-harness",
            "sortie-chaos",
            "sortie-e2e",
            "sortie-bench",
            "sortie-fuzz",
            "sortie-pipeline",
            "sortie-slim",
        ],
    ),
    (
        "anyhow",
        &[
            "sortie-cli",
            "sortie-harness",
            "sortie-chaos",
            "sortie-e2e",
            "sortie-bench",
            "xtask",
            "sortie-features",
        ],
    ),
];

/// One dependency of one package.
struct Edge {
    package: String,
    manifest: String,
    dependency: String,
    optional: bool,
    for_tests: bool,
    own: bool,
}

/// Every edge that no row allows.
pub(super) fn check(project: &Project) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (_, folder) in project.workspaces() {
        let cmd = project.cargo().args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ]);
        let metadata = serde_json::from_str(&cmd.arg(folder.join("Cargo.toml")).read()?)
            .context("failed to read the output of cargo metadata")?;
        findings.extend(edges(project, &metadata).iter().filter_map(judge));
    }
    Ok(findings)
}

fn edges(project: &Project, metadata: &Value) -> Vec<Edge> {
    let root = format!("{}/", project.root().display());
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    packages
        .flat_map(|package| edges_of(&root, package).into_iter().flatten())
        .collect()
}

fn edges_of(root: &str, package: &Value) -> Option<Vec<Edge>> {
    let name = package.get("name")?.as_str()?;
    let manifest = package.get("manifest_path")?.as_str()?;
    let edge = |dependency: &Value| {
        Some(Edge {
            package: name.to_owned(),
            manifest: manifest.strip_prefix(root).unwrap_or(manifest).to_owned(),
            dependency: dependency.get("name")?.as_str()?.to_owned(),
            optional: dependency.get("optional")?.as_bool()?,
            for_tests: dependency.get("kind")?.as_str() == Some("dev"),
            own: dependency.get("path").is_some(),
        })
    };
    package
        .get("dependencies")?
        .as_array()?
        .iter()
        .map(edge)
        .collect()
}

fn judge(edge: &Edge) -> Option<Finding> {
    let breach = if edge.own {
        own_breach(edge)
    } else {
        outside_breach(edge)
    };
    let (what, remedy) = breach?;
    Some(Finding::new(&edge.manifest, 1, what, remedy))
}

fn own_breach(edge: &Edge) -> Option<(String, String)> {
    let row = ROWS
        .iter()
        .find(|row| row.package == edge.package)
        .unwrap_or(&FUNCTION);
    let name = edge.dependency.as_str();
    if row.always.contains(&name)
        || (edge.for_tests && (row.tests.contains(&name) || row.optional.contains(&name)))
    {
        return None;
    }
    if row.optional.contains(&name) {
        let remedy = "make it optional, behind a feature".to_owned();
        return (!edge.optional).then(|| {
            (
                format!("`{}` must be able to do without `{name}`", edge.package),
                remedy,
            )
        });
    }
    Some((
        format!("`{}` may not depend on `{name}`", edge.package),
        "remove the edge, or decide it in docs/adr and add it to the table in \
         xtask/src/tidy/edges.rs"
            .to_owned(),
    ))
}

fn outside_breach(edge: &Edge) -> Option<(String, String)> {
    let (_, packages) = OUTSIDE
        .iter()
        .find(|(name, _)| edge.dependency.starts_with(name))?;
    let what = format!("`{}` may not depend on `{}`", edge.package, edge.dependency);
    (!packages.contains(&edge.package.as_str())).then(|| {
        (
            what,
            format!("use what {} offers of it", packages.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(package: &str, dependency: &str, change: impl FnOnce(&mut Edge)) -> bool {
        let own = dependency.starts_with("sortie");
        let mut edge = Edge {
            package: package.to_owned(),
            manifest: "Cargo.toml".to_owned(),
            dependency: dependency.to_owned(),
            optional: false,
            for_tests: false,
            own,
        };
        change(&mut edge);
        judge(&edge).is_none()
    }

    #[test]
    fn edges_point_one_way() {
        assert!(allows("sortie-broker", "sortie-protocol", |_| {}));
        assert!(!allows("sortie-protocol", "sortie-broker", |_| {}));
        assert!(
            allows("sortie-cli", "sortie-host", |_| {})
                && !allows("sortie-host", "sortie-cli", |_| {})
        );
        assert!(!allows("xtask", "sortie-protocol", |_| {}));
    }

    #[test]
    fn the_client_can_do_without_the_host() {
        assert!(allows("sortie", "sortie-host", |edge| edge.optional = true));
        assert!(!allows("sortie", "sortie-host", |_| {}));
    }

    #[test]
    fn what_front_doors_share_knows_no_command_line() {
        assert!(allows("sortie-cli", "sortie-frontend", |_| {}));
        assert!(!allows("sortie", "sortie-frontend", |_| {}));
        assert!(!allows("sortie-frontend", "sortie-host", |_| {}));
        assert!(!allows("sortie-frontend", "clap", |_| {}));
    }

    #[test]
    fn a_function_takes_nothing_of_the_host_side() {
        assert!(allows("pdf-text", "sortie-guest", |_| {}));
        assert!(!allows("pdf-text", "sortie-protocol", |_| {}));
    }

    #[test]
    fn crates_of_the_outside_have_one_home() {
        assert!(allows("sortie-host", "wasmtime-wasi", |_| {}));
        assert!(!allows("sortie", "wasmtime", |edge| edge.for_tests = true));
        assert!(!allows("sortie-protocol", "tokio", |_| {}));
        assert!(allows("sortie-protocol", "serde", |_| {}));
    }
}
