//! `tidy`: rules about this repository that a machine can check, as a command and as an ordinary
//! test.
//!
//! The kinds of rules: which package may depend on which ([`edges`]), whether the demo compiles
//! dependencies as the workspace does ([`features`]), what source text must and must not hold
//! ([`sources`]), and whether links in Markdown lead somewhere ([`links`]). It reads files and never
//! changes one.

mod code;
mod edges;
mod features;
mod files;
mod links;
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
    findings.extend(features::check(project)?);
    findings.extend(files.iter().flat_map(sources::check));
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
