//! The text files that rules apply to: what git tracks, and what it would track if it were added
//! now.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::project::Project;

/// Endings of the files that people write here.
const ENDINGS: [&str; 11] = [
    "rs", "md", "toml", "wit", "wat", "sh", "py", "yml", "yaml", "json", "run",
];
/// Folders that are never looked at where git is of no help.
const OUTSIDE: [&str; 3] = ["target", ".git", "node_modules"];

/// A file with its text.
pub(super) struct File {
    /// The path below the repository's root, with `/` between parts.
    pub(super) name: String,
    pub(super) text: String,
}

impl File {
    /// Whether the name ends in this extension.
    pub(super) fn is(&self, extension: &str) -> bool {
        ending(&self.name) == extension
    }
}

/// Reads all files. Without git, as in an unpacked archive, every folder but the build folders
/// counts.
pub(super) fn all(project: &Project) -> Result<Vec<File>> {
    let git = project
        .cmd("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .read();
    let names = match git {
        Ok(list) => list.split('\0').map(str::to_owned).collect(),
        Err(_) => below(project.root(), "")?,
    };
    let written = names
        .into_iter()
        .filter(|name| ENDINGS.contains(&ending(name)));
    // A file that git tracks may have been deleted since.
    let present = written.filter(|name| project.root().join(name).is_file());
    present
        .map(|name| {
            Ok(File {
                text: read(&project.root().join(&name))?,
                name,
            })
        })
        .collect()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))
}

fn ending(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

fn below(root: &Path, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in
        fs::read_dir(root.join(folder)).with_context(|| format!("failed to list `{folder}`"))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        match entry.file_type()? {
            kind if kind.is_dir() && !OUTSIDE.contains(&name.as_str()) => {
                names.extend(below(root, &path)?)
            }
            kind if kind.is_file() => names.push(path),
            _ => {}
        }
    }
    Ok(names)
}
