//! Metrics in documents and dashboards are constants of a `metrics.rs`, and names end in their
//! unit.
//!
//! A name is found as text: `sortie_` and what follows of small letters and underscores, unless it
//! is a package of this repository.

use std::collections::BTreeSet;

use super::files::File;
use super::finding::Finding;

/// What every metric's name starts with.
const PREFIX: &str = concat!("sortie", "_");
/// What a name may end in: a base unit, `total` for counters, or for a gauge the thing counted.
const UNITS: [&str; 9] = [
    "total", "seconds", "bytes", "ratio", "bundles", "slots", "permits", "tasks", "workers",
];
/// What Prometheus puts behind the name of a histogram.
const HISTOGRAM_ENDINGS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Where metrics are named for people and for dashboards.
const NAMED_IN: [&str; 2] = ["docs/", "deploy/"];

/// Every name that no code has, and every name without a unit.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let packages: BTreeSet<_> = files.iter().flat_map(packages).collect();
    let defined: Vec<_> = files.iter().flat_map(defined).collect();
    let names: BTreeSet<_> = defined.iter().map(|(_, _, name)| *name).collect();
    let unitless =
        defined
            .iter()
            .filter(|(_, _, name)| !has_unit(name))
            .map(|(file, line, name)| {
                Finding::new(
                    &file.name,
                    *line,
                    format!("the metric `{name}` does not end in a unit"),
                    format!("end it in one of {}", UNITS.join(", ")),
                )
            });
    let documents = files
        .iter()
        .filter(|file| NAMED_IN.iter().any(|folder| file.name.starts_with(folder)));
    let unknown = documents
        .flat_map(|file| lines(file).map(move |(line, name)| (file, line, name)))
        .filter(|(_, _, name)| !packages.contains(*name) && !names.contains(base(name)))
        .map(|(file, line, name)| {
            Finding::new(
                &file.name,
                line,
                format!("no code has the metric `{name}`"),
                "name a constant of a `metrics.rs`",
            )
        });
    unitless.chain(unknown).collect()
}

/// The metrics that a file has as constants, with their lines.
fn defined(file: &File) -> impl Iterator<Item = (&File, usize, &str)> {
    let is_source = file.name.ends_with("/metrics.rs") && !file.name.starts_with("xtask/");
    let quoted =
        move |(_, name): &(usize, &str)| is_source && file.text.contains(&format!("\"{name}\""));
    lines(file)
        .filter(quoted)
        .map(move |(line, name)| (file, line, name))
}

/// The packages of a manifest, as code names them.
fn packages(file: &File) -> Option<String> {
    if !file.name.ends_with("Cargo.toml") {
        return None;
    }
    let name = file
        .text
        .lines()
        .find_map(|line| line.strip_prefix("name = \""))?;
    Some(name.trim_end_matches('"').replace('-', "_"))
}

/// Every name that starts with the prefix, with its line.
fn lines(file: &File) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(file.text.lines())
        .flat_map(|(number, line)| names(line).map(move |name| (number, name)))
}

fn names(line: &str) -> impl Iterator<Item = &str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split(move |c| !is_name(c)).filter(|name| {
        name.strip_prefix(PREFIX).is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
    })
}

fn has_unit(name: &str) -> bool {
    UNITS.iter().any(|unit| {
        name.strip_suffix(unit)
            .is_some_and(|rest| rest.ends_with('_'))
    })
}

/// The metric that a series belongs to.
fn base(name: &str) -> &str {
    HISTOGRAM_ENDINGS
        .iter()
        .find_map(|ending| name.strip_suffix(ending))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File {
            name: name.into(),
            text: text.into(),
        }
    }

    #[test]
    fn a_document_names_only_metrics_that_code_has() {
        let files = [
            file("a/Cargo.toml", "[package]\nname = \"sortie-guest\"\n"),
            file("a/src/metrics.rs", "name: \"sortie_run_seconds\",\n"),
            file(
                "docs/book/a.md",
                "sortie_guest, `sortie_run_seconds_bucket`\n`sortie_runs_total`\n",
            ),
            file("a/README.md", "sortie_elsewhere_total\n"),
        ];
        let findings: Vec<_> = check(&files).iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "docs/book/a.md:2: no code has the metric `sortie_runs_total`; name a constant of \
                 a `metrics.rs`"
            ]
        );
    }

    #[test]
    fn a_metric_ends_in_its_unit() {
        let text = "\"sortie_worker_busy_slots\" \"sortie_leased\" \"sortie_subtotal\"";
        let findings = check(&[file("a/src/metrics.rs", text)]);
        assert_eq!(findings.len(), 2, "{findings:?}");
    }
}
