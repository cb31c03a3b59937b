//! `tidy`: rules about this repository that a machine can check, as a command and as an ordinary
//! test.
//!
//! Four kinds: which package may depend on which ([`edges`]), what source text must and must not
//! hold ([`sources`]), whether links in Markdown lead somewhere ([`links`]), and whether documents
//! name only metrics that code has ([`metrics`]). Each rule is a row of a table. It reads, and never
//! changes a file.

mod code;
mod edges;
mod files;
mod links;
mod metrics;
mod sources;

use std::fmt;

use anyhow::{Result, bail};

use crate::project::Project;

/// A breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    file: String,
    line: usize,
    what: String,
    remedy: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.file, self.line, self.what, self.remedy
        )
    }
}

/// Prints every finding and fails if there is one.
pub(crate) fn run(project: &Project) -> Result<()> {
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
    findings.extend(files.iter().flat_map(sources::check));
    findings.extend(metrics::check(&files));
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
        let (_, findings) = check(&Project::find(false)).unwrap();
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
