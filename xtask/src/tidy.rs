//! `tidy`: rules about this repository that a machine can check, as a command and as an ordinary
//! test.
//!
//! The kinds of rules: which package may depend on which ([`edges`]), whether the demo compiles
//! dependencies as the workspace does ([`features`]), what source text must and must not hold
//! ([`sources`]), whether the files of a crate import each other in a circle ([`circles`]),
//! whether lines fit ([`width`]), whether links in Markdown lead somewhere ([`links`]), and whether
//! documents name only metrics that code has ([`metrics`]). It reads files and never changes one.

mod circles;
mod code;
mod edges;
mod features;
mod files;
mod finding;
mod links;
mod metrics;
mod sources;
mod width;

use anyhow::{Result, bail};

use self::finding::Finding;
use crate::project::Project;

/// Which rules a run applies.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Selection {
    /// Only list breaches of the rules that are not enforced yet (circles of imports, wide lines),
    /// and succeed in any case
    #[arg(long)]
    pending: bool,
}

/// Prints every finding and fails if there is one.
pub(crate) fn run(project: &Project, selection: Selection) -> Result<()> {
    if !selection.pending {
        return run_all(project);
    }
    let files = files::all(project)?;
    let circles = circles::check(&files);
    let wide: Vec<_> = files.iter().flat_map(width::check).collect();
    for finding in circles.iter().chain(&wide) {
        println!("{finding}");
    }
    println!(
        "{} circles of imports, {} wide lines",
        circles.len(),
        wide.len()
    );
    Ok(())
}

/// Applies every rule.
pub(crate) fn run_all(project: &Project) -> Result<()> {
    let (files, findings) = check(project)?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} breaches of the repository's rules", findings.len());
    }
    println!("{files} files are tidy");
    Ok(())
}

/// Looks at every file; returns how many there were.
fn check(project: &Project) -> Result<(usize, Vec<Finding>)> {
    let files = files::all(project)?;
    let mut findings = edges::check(project)?;
    findings.extend(features::check(project)?);
    findings.extend(files.iter().flat_map(sources::check));
    findings.extend(metrics::check(&files));
    if width::ENFORCED {
        findings.extend(files.iter().flat_map(width::check));
    }
    let circles = circles::check(&files).into_iter();
    findings.extend(circles.filter(|circle| circles::is_enforced(&circle.file)));
    findings.extend(
        files
            .iter()
            .flat_map(|file| links::check(project.root(), file)),
    );
    findings.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    Ok((files.len(), findings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let (_, findings) = check(&Project::find(false).unwrap()).unwrap();
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
