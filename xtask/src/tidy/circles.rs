//! Finds circles of imports between the files of one crate.
//!
//! Imports run downwards: when two files need each other, an item lies in the wrong file. The graph
//! has a node for each file below `src/` and an edge for each path that begins with `crate`,
//! `super`, `self` or the name of a child module. These do not count:
//!
//! - `mod` lines, and `pub use` of a child's items: that is how a module offers its parts. A path
//!   that goes through such a re-export leads to the file that defines the item.
//! - Tests: modules named `tests` and everything behind a line `#[cfg(test)]`.
//!
//! So a child may use its parent's items if the parent does not use the child's, and the other way
//! round. The check reads text, not syntax: imports that a macro makes are not seen, and in a
//! module inside a file `super` is taken for the file's parent.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::code;
use super::files::File;
use super::finding::Finding;

/// The crates where a circle fails the check: those that the product consists of. For the others
/// `cargo xtask tidy --pending` lists them.
const ENFORCED: [&str; 8] = [
    "protocol/",
    "objects/",
    "broker/",
    "host/",
    "client/",
    "frontend/",
    "cli/",
    "guest-sdk/",
];

/// Whether a circle that begins in this file fails the check.
pub(super) fn is_enforced(file: &str) -> bool {
    ENFORCED.iter().any(|folder| file.starts_with(folder))
}

/// How many re-exports a path is followed through: a module, its parent and the crate's root.
const HOPS_MAX: usize = 4;

/// A module by its path below the crate's root.
type Module = Vec<String>;

/// One file of a crate, prepared.
struct Node {
    file: String,
    code: String,
    /// Names that it re-exports, with the full paths of what they stand for.
    exports: BTreeMap<String, Module>,
}

type Graph = BTreeMap<Module, Node>;

/// Every circle of every crate: one finding for each group of files that need each other.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut crates: BTreeMap<&str, Vec<(&File, Module)>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        if let Some((folder, module)) = place(&file.name) {
            crates.entry(folder).or_default().push((file, module));
        }
    }
    crates.into_values().flat_map(circles).collect()
}

/// The crate's folder and the module; nothing for tests and for programs of one file.
fn place(name: &str) -> Option<(&str, Module)> {
    let (folder, path) = match name.split_once("/src/") {
        Some(split) => split,
        None => ("", name.strip_prefix("src/")?),
    };
    let mut module: Module = path
        .strip_suffix(".rs")?
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.iter().any(|part| part == "tests" || part == "bin") || path == "main.rs" {
        return None;
    }
    module.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
    Some((folder, module))
}

fn circles(files: Vec<(&File, Module)>) -> Vec<Finding> {
    let mut graph: Graph = files
        .into_iter()
        .map(|(file, module)| (module, node(file)))
        .collect();
    let exports: Vec<_> = graph
        .iter()
        .map(|(module, node)| (module.clone(), exports(&graph, module, &node.code)))
        .collect();
    for (module, exports) in exports {
        if let Some(node) = graph.get_mut(&module) {
            node.exports = exports;
        }
    }
    let edges: BTreeMap<&Module, BTreeSet<&Module>> = graph
        .iter()
        .map(|(module, node)| (module, needed(&graph, module, &node.code)))
        .collect();
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for module in graph.keys() {
        if told.contains(module) {
            continue;
        }
        if let Some(circle) = circle(&edges, module) {
            told.extend(circle.iter().copied());
            findings.push(finding(&graph, &circle));
        }
    }
    findings
}

fn node(file: &File) -> Node {
    let code = code::only(&file.text);
    // Tests come last in a file.
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    Node {
        file: file.name.clone(),
        code: code.to_owned(),
        exports: BTreeMap::new(),
    }
}

fn finding(graph: &Graph, circle: &[&Module]) -> Finding {
    let file = |module: &&Module| graph.get(*module).map_or("", |node| node.file.as_str());
    let names: Vec<_> = circle.iter().map(file).collect();
    let first = names.first().copied().unwrap_or_default();
    Finding::new(
        first,
        1,
        format!("imports run in a circle: {} -> {first}", names.join(" -> ")),
        "move what both need into a file below them",
    )
}

/// The shortest way from a module back to itself.
fn circle<'a>(
    edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    start: &'a Module,
) -> Option<Vec<&'a Module>> {
    let mut before: BTreeMap<&Module, &Module> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for &next in edges.get(module).into_iter().flatten() {
            if next == start {
                let mut way = vec![module];
                let mut at = module;
                while let Some(&earlier) = before.get(at) {
                    way.push(earlier);
                    at = earlier;
                }
                way.reverse();
                return Some(way);
            }
            if let Entry::Vacant(vacant) = before.entry(next) {
                vacant.insert(module);
                queue.push_back(next);
            }
        }
    }
    None
}

/// The modules whose items this code names, without those it only re-exports.
fn needed<'a>(graph: &'a Graph, module: &[String], code: &str) -> BTreeSet<&'a Module> {
    statements(code)
        .filter(|statement| !is_export(statement))
        .flat_map(|statement| paths(graph, module, statement))
        .filter_map(|path| target(graph, path))
        .filter(|target| target.as_slice() != module)
        .collect()
}

fn exports(graph: &Graph, module: &[String], code: &str) -> BTreeMap<String, Module> {
    statements(code)
        .filter(|statement| is_export(statement))
        .flat_map(|statement| paths(graph, module, statement))
        .filter_map(|path| Some((path.last()?.clone(), path)))
        .collect()
}

fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.split(';').map(str::trim)
}

fn is_export(statement: &str) -> bool {
    let mut lines = statement.lines().map(str::trim_start);
    lines.any(|line| line.starts_with("pub") && line.contains(" use "))
}

/// The module that defines what a path leads to.
fn target(graph: &Graph, mut path: Module) -> Option<&Module> {
    for _ in 0..HOPS_MAX {
        let depth = (0..=path.len()).rev().find(|depth| {
            path.get(..*depth)
                .is_some_and(|start| graph.contains_key(start))
        })?;
        let (module, node) = graph.get_key_value(path.get(..depth)?)?;
        match path.get(depth).and_then(|item| node.exports.get(item)) {
            Some(defined) if *defined != path => path = defined.clone(),
            _ => return Some(module),
        }
    }
    None
}

/// All paths in a piece of code that begin inside the crate, from the crate's root.
fn paths(graph: &Graph, module: &[String], code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let before = code.get(..at).unwrap_or_default();
        let lead = before.trim_end_matches(code::is_name);
        let (_, first) = before.split_at(lead.len());
        // `pub(in crate::…)` says who may use an item, and uses nothing.
        if lead.ends_with("::") || lead.ends_with('$') || lead.ends_with("(in ") {
            continue;
        }
        let mut base = match first {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => parent(module),
            child => {
                let path = [module, &[child.to_owned()]].concat();
                if !graph.contains_key(&path) {
                    continue;
                }
                path
            }
        };
        let mut rest = code.get(at + 2..).unwrap_or_default();
        while let Some(after) = rest.strip_prefix("super::") {
            base = parent(&base);
            rest = after;
        }
        tree(&base, rest, &mut found);
    }
    found
}

fn parent(module: &[String]) -> Module {
    module
        .split_last()
        .map_or_else(Vec::new, |(_, above)| above.to_vec())
}

/// Reads one tree of a path, such as `a::{b, c::D}`, and returns what follows it.
fn tree<'a>(base: &[String], text: &'a str, found: &mut Vec<Module>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.is_empty() && !rest.trim_start().starts_with('}') {
            rest = tree(base, rest, found).trim_start();
            // A rename, or a piece that is no path.
            let end = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest.get(end..).unwrap_or_default();
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        return rest.trim_start().strip_prefix('}').unwrap_or(rest);
    }
    let end = text.find(|c: char| !code::is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    if !name.is_empty() && name != "self" {
        path.push(name.to_owned());
    }
    match rest.strip_prefix("::") {
        Some(below) => tree(&path, below, found),
        None => {
            found.push(path);
            rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| File {
                name: format!("client/src/{name}"),
                text: (*text).to_owned(),
            })
            .collect();
        check(&files)
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn files_that_need_each_other_are_found_with_the_way() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("a.rs", "use crate::b::{B, self};\n"),
            ("b.rs", "fn f() { crate::c::g(); }\n"),
            ("c.rs", "use super::a::A;\n"),
        ];
        assert_eq!(
            found(&files),
            [
                "imports run in a circle: client/src/a.rs -> client/src/b.rs -> client/src/c.rs \
              -> client/src/a.rs"
            ]
        );
    }

    #[test]
    fn a_parent_may_offer_what_its_child_defines() {
        let files = [
            (
                "lib.rs",
                "mod a;\npub use a::A;\npub(crate) const LIMIT: u8 = 1;\n",
            ),
            ("a.rs", "mod b;\npub use b::{B, C as D};\npub struct A;\n"),
            (
                "a/b.rs",
                "use super::A;\nuse crate::LIMIT;\npub struct B;\n",
            ),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn a_parent_and_a_child_that_use_each_other_are_found() {
        let files = [
            ("a.rs", "mod b;\nuse b::B;\npub struct A;\n"),
            ("a/b.rs", "use super::A;\npub struct B;\n"),
        ];
        assert_eq!(
            found(&files),
            ["imports run in a circle: client/src/a.rs -> client/src/a/b.rs -> client/src/a.rs"]
        );
    }

    #[test]
    fn a_path_through_a_re_export_leads_to_the_definition() {
        let files = [
            ("lib.rs", "mod a;\nmod b;\npub use b::B;\n"),
            ("a.rs", "pub struct A;\n"),
            ("b.rs", "use crate::a::A;\npub struct B;\n"),
            ("c.rs", "use crate::B;\n"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }

    #[test]
    fn tests_may_use_their_parent() {
        let files = [
            (
                "a.rs",
                "use crate::b::B;\n#[cfg(test)]\nmod tests { use crate::c::C; }\n",
            ),
            ("b.rs", ""),
            ("c.rs", "use crate::a::A;\n"),
            ("a/tests.rs", "use super::*;\n"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
