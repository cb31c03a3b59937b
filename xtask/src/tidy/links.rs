//! Links in Markdown that lead into the repository must lead to something.
//!
//! Links to the web are not followed: that would make a check depend on other people's machines.

use std::path::Path;

use super::files::File;
use super::finding::Finding;

/// Every broken link of a file; files of other kinds have none.
pub(super) fn check(root: &Path, file: &File) -> Vec<Finding> {
    if !file.is("md") {
        return Vec::new();
    }
    let folder = file.name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let broken = targets(&file.text)
        .into_iter()
        .filter(|(_, target)| !resolves(root, folder, target));
    broken
        .map(|(line, target)| {
            Finding::new(
                &file.name,
                line,
                format!("the link `{target}` leads nowhere"),
                "correct or remove it",
            )
        })
        .collect()
}

fn resolves(root: &Path, folder: &str, target: &str) -> bool {
    let path = target.split('#').next().unwrap_or(target);
    match path.strip_prefix('/') {
        Some(path) => root.join(path).exists(),
        None => root.join(folder).join(path).exists(),
    }
}

/// The link targets that are paths, each with its line.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut targets = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            targets.extend(
                inline(line)
                    .chain(reference(line))
                    .filter(|target| is_path(target))
                    .map(|target| (number, target.to_owned())),
            );
        }
    }
    targets
}

/// `[text](target)`, outside of code.
fn inline(line: &str) -> impl Iterator<Item = &str> {
    // Every second part between backticks is code.
    let prose = line
        .split('`')
        .step_by(2)
        .flat_map(|part| part.split("](").skip(1));
    // A link whose text is code starts with `](`, which `skip` above keeps because the part before
    // it is empty.
    prose.filter_map(|rest| rest.split([')', ' ']).next())
}

/// `[name]: target`.
fn reference(line: &str) -> Option<&str> {
    let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
    (!name.contains(']')).then(|| target.split(' ').next().unwrap_or(target))
}

fn is_path(target: &str) -> bool {
    !target.is_empty()
        && !target.starts_with('#')
        && !target.contains("://")
        && !target.starts_with("mailto:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_paths_are_found_with_their_lines() {
        let text = "# A\n[a](b.md) and \
                    [`c`](d/e.md#f \"title\")\n```\n[no](no.md)\n```\n`[no](no.md)`\n[x]: \
                    ../y.md\n";
        let expected = [(2, "b.md"), (2, "d/e.md#f"), (7, "../y.md")]
            .map(|(line, target)| (line, target.to_owned()));
        assert_eq!(targets(text), expected);
    }

    #[test]
    fn links_to_the_web_and_within_the_page_are_left_alone() {
        assert_eq!(
            targets("[a](https://example.org/x) [b](#part) [c](mailto:a@example.org)"),
            []
        );
    }
}
