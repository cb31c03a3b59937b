//! Rules about source text: what must not be in it, and where the outside's crates may be named.
//!
//! The rules read text, not syntax, so they can be fooled; they are for honest people. Words that
//! would breach a rule by standing in its own table are written in two halves.

use super::code;
use super::files::File;
use super::finding::Finding;

/// Past this a file is split.
const LINES_MAX: usize = 800;
/// A page that is meant to be read as a whole.
const ARCHITECTURE_LINES_MAX: usize = 250;

/// Code that must not be there, and what to do instead.
const BANNED_CODE: [(&str, &str); 6] = [
    ("todo!", "write it, or leave it out"),
    ("unimplemented!", "write it, or leave it out"),
    ("dbg!", "remove it"),
    ("#[ignore", "assert what happens today, and say so"),
    ("#[should_panic", "return a result and assert the error"),
    ("thread::sleep(", "wait on a condition with a deadline"),
];

/// Where such code is allowed after all: this program waits for other programs, and a guest shows
/// what sleeping does to its host.
const CODE_ALLOWED: [(&str, &str); 2] = [
    ("xtask/", "thread::sleep("),
    ("tests/guests/", "thread::sleep("),
];

/// Words that mean something only to their author, in any file.
const BANNED_WORDS: [(&str, &str); 6] = [
    (
        concat!("/wo", "rk/"),
        "name a path of the repository, or a variable",
    ),
    (
        concat!("/ro", "ot/"),
        "name a path of the repository, or a variable",
    ),
    (
        concat!("iss", "ue #"),
        "say what it was about; the history has the number",
    ),
    (concat!("TO", "DO"), "do it, or leave it out"),
    (concat!("FIX", "ME"), "do it, or leave it out"),
    (
        concat!("../sha", "red"),
        "name a path of the repository, or a variable",
    ),
];

/// Where a word is allowed after all, because the file is about it.
const WORDS_ALLOWED: [(&str, &str); 1] = [(".ci/run", concat!("../sha", "red"))];

/// A way to the outside, and the only places whose code may name it.
const PLACES: [(&str, &[&str]); 8] = [
    (
        "wasmtime",
        &["host/src/engine/", "host/src/sandbox/", "bench/"],
    ),
    ("wasmtime_wasi", &["host/src/sandbox/", "bench/"]),
    (
        "async_nats",
        &[
            "broker/src/nats",
            "broker/tests/nats",
            "tests/harness/tests/",
            "tests/chaos/src/raw.rs",
            "bench/src/raw",
        ],
    ),
    ("object_store", &["objects/"]),
    ("moka", &["objects/"]),
    ("clap", &["cli/", "bench/", "tests/chaos/", "xtask/"]),
    ("anyhow", &["cli/src/main.rs", "bench/", "xtask/", "tests/"]),
    (
        "env",
        &[
            "frontend/src/settings/environment.rs",
            "bench/",
            "fuzz/src/seeds.rs",
            "xtask/",
            "tests/",
            "objects/src/stores",
            "examples/pdf-text/examples/",
            "examples/pipeline/",
        ],
    ),
];

/// Libraries, whose users have no command line perhaps.
const LIBRARIES: [&str; 5] = [
    "protocol/src/",
    "objects/src/",
    "broker/src/",
    "host/src/",
    "client/src/",
];

/// The commands of the `sortie` program.
const COMMANDS: [&str; 9] = [
    "map", "call", "inspect", "new", "worker", "job", "dlq", "cache", "broker",
];

/// Every breach in one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = words(file);
    findings.extend(length(file));
    if file.is("rs") {
        findings.extend(header(file));
        for (line, number) in code::only(&file.text).lines().zip(1..) {
            findings.extend(line_of_code(file, line, number));
        }
        if LIBRARIES.iter().any(|place| file.name.starts_with(place)) {
            findings.extend(command_lines(file));
        }
    }
    if file.name.ends_with("Cargo.toml")
        && !file.name.starts_with("examples/")
        && !file.name.starts_with("tests/guests/")
        && !file.name.starts_with("tests/slim/")
    {
        findings.extend(versions(file));
    }
    findings
}

/// String literals of a library that tell a user what to type.
fn command_lines(file: &File) -> Vec<Finding> {
    let literals = code::literals(&file.text);
    let typed = literals
        .lines()
        .zip(1..)
        .filter_map(|(line, number)| typed(line).map(|what| (what, number)));
    typed
        .map(|(what, number)| {
            Finding::new(
                &file.name,
                number,
                format!("`{what}` is named in a text of a library"),
                "return advice as a value (`protocol::advice`), and let each front door word it",
            )
        })
        .collect()
}

/// A flag or command that a text names, if there is one.
fn typed(text: &str) -> Option<String> {
    let flag = text.match_indices("--").find_map(|(at, _)| {
        let starts_word = text
            .get(..at)
            .is_some_and(|before| before.is_empty() || before.ends_with([' ', '`', '"']));
        let name: String = text
            .get(at + 2..)?
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '-')
            .collect();
        (starts_word && name.starts_with(|c: char| c.is_ascii_lowercase()))
            .then(|| format!("--{name}"))
    });
    flag.or_else(|| {
        COMMANDS
            .iter()
            .map(|command| format!("sortie {command}"))
            .find(|command| {
                text.match_indices(command.as_str()).any(|(at, _)| {
                    let after = text.get(at + command.len()..).unwrap_or_default();
                    !after.starts_with(code::is_name)
                })
            })
    })
}

fn words(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().zip(1..);
    let found = lines.flat_map(|(line, number)| {
        BANNED_WORDS
            .iter()
            .filter(move |(word, _)| stands_alone(line, word))
            .map(move |row| (row, number))
    });
    let found =
        found.filter(|((word, _), _)| !WORDS_ALLOWED.contains(&(file.name.as_str(), *word)));
    found
        .map(|((word, remedy), number)| {
            Finding::new(
                &file.name,
                number,
                format!("`{word}` does not belong here"),
                *remedy,
            )
        })
        .collect()
}

fn length(file: &File) -> Option<Finding> {
    let lines = file.text.lines().count();
    let limit = match file.name.as_str() {
        "ARCHITECTURE.md" => ARCHITECTURE_LINES_MAX,
        _ if file.is("rs") => LINES_MAX,
        _ => return None,
    };
    (lines > limit).then(|| {
        Finding::new(
            &file.name,
            limit,
            format!("{lines} lines are more than {limit}"),
            "split it by noun",
        )
    })
}

fn header(file: &File) -> Option<Finding> {
    let (first, number) = file
        .text
        .lines()
        .zip(1..)
        .find(|(line, _)| !line.trim().is_empty())?;
    let remedy = "say in a few lines what it is for, what it must not do and what bounds it";
    (!first.starts_with("//!")).then(|| {
        Finding::new(
            &file.name,
            number,
            "the file does not open with `//!`",
            remedy,
        )
    })
}

fn line_of_code(file: &File, line: &str, number: usize) -> Vec<Finding> {
    let banned = BANNED_CODE.iter().filter(|(text, _)| {
        stands_alone(line, text)
            && !CODE_ALLOWED
                .iter()
                .any(|(place, code)| code == text && file.name.starts_with(place))
    });
    let mut findings: Vec<_> = banned
        .map(|(text, remedy)| {
            Finding::new(&file.name, number, format!("`{text}` in code"), *remedy)
        })
        .collect();
    let line = line.trim();
    if line.starts_with("pub use ") && line.ends_with("::*;") {
        findings.push(Finding::new(
            &file.name,
            number,
            "everything of a module is re-exported",
            "name the items",
        ));
    }
    let misplaced = PLACES
        .iter()
        .filter(|(name, places)| names(line, name) && !is_allowed(file, name, places));
    findings.extend(misplaced.map(|(name, places)| {
        let remedy = format!(
            "go through the module that knows it, in {}",
            places.join(" or ")
        );
        Finding::new(
            &file.name,
            number,
            format!("`{name}` is named outside its place"),
            remedy,
        )
    }));
    findings
}

/// Tests may ask the environment where samples are, or whether to write their golden files anew.
fn is_allowed(file: &File, name: &str, places: &[&str]) -> bool {
    places.iter().any(|place| file.name.starts_with(place))
        || (name == "env" && (file.name.contains("/tests/") || file.name.ends_with("/tests.rs")))
}

/// Dependencies have their versions in the root manifest only.
fn versions(file: &File) -> Vec<Finding> {
    let mut section = "";
    let mut findings = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let is_dependency = section.ends_with("dependencies]")
            && !section.starts_with("[workspace")
            && line.contains('=')
            && !line.starts_with('#');
        if is_dependency && !line.contains("workspace = true") {
            findings.push(Finding::new(
                &file.name,
                number,
                "a dependency has a version of its own",
                "put it into [workspace.dependencies] of the root manifest",
            ));
        }
    }
    findings
}

/// Whether the text occurs other than as the end of a longer word or path.
fn stands_alone(line: &str, text: &str) -> bool {
    let starts_with_name = text.starts_with(code::is_name);
    line.match_indices(text).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| {
            code::is_name(c) || (!starts_with_name && c == '.' && !text.starts_with(".."))
        })
    })
}

/// Whether code names this crate or module as the start of a path: `name::` or `use name;`.
fn names(line: &str, name: &str) -> bool {
    let path = if name == "env" { "env::var" } else { name };
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        let after = line.get(at + path.len()..).unwrap_or_default();
        let starts =
            name == "env" || !before.ends_with(|c: char| code::is_name(c) || c == ':' || c == '.');
        let continues = name == "env"
            || after.starts_with("::")
            || (before.ends_with("use ") && after.starts_with([';', ' ']));
        starts && continues
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, text: &str) -> Vec<String> {
        let file = File {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    fn what(name: &str, text: &str) -> Vec<String> {
        findings(name, text)
            .into_iter()
            .map(|finding| {
                finding
                    .split_once("; ")
                    .map_or(finding.clone(), |(what, _)| what.to_owned())
            })
            .collect()
    }

    #[test]
    fn a_finding_says_where_what_and_what_to_do() {
        assert_eq!(
            findings("client/src/a.rs", "//! A.\nfn f() { todo!() }\n"),
            ["client/src/a.rs:2: `todo!` in code; write it, or leave it out"]
        );
    }

    #[test]
    fn code_in_comments_and_literals_breaches_nothing() {
        assert_eq!(
            findings(
                "client/src/a.rs",
                "//! Never dbg! anything.\n// todo!\nconst A: &str = \"wasmtime::Engine\";\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        assert_eq!(
            what("client/src/a.rs", "\nuse std::fs;\n"),
            ["client/src/a.rs:2: the file does not open with `//!`"]
        );
    }

    #[test]
    fn outside_crates_are_named_in_their_place_only() {
        assert_eq!(
            findings("host/src/engine/mod.rs", "//! E.\nuse wasmtime::Engine;\n"),
            [""; 0]
        );
        assert_eq!(
            what("host/src/lib.rs", "//! L.\nuse wasmtime::Engine;\n"),
            ["host/src/lib.rs:2: `wasmtime` is named outside its place"]
        );
        assert_eq!(
            what(
                "client/src/lib.rs",
                "//! L.\nlet x = std::env::var(\"\");\n"
            ),
            ["client/src/lib.rs:2: `env` is named outside its place"]
        );
        assert_eq!(
            findings(
                "client/src/lib.rs",
                "//! L.\nuse crate::wasmtime_like::X;\nlet clap = 1;\n"
            ),
            [""; 0]
        );
    }

    #[test]
    fn paths_of_one_machine_are_found_and_longer_paths_are_not() {
        let path = concat!("see /wo", "rk/x");
        assert_eq!(what("README.md", path).len(), 1);
        assert_eq!(
            what("README.md", &path.replace("see /", "src/net")),
            [""; 0]
        );
        assert_eq!(what("README.md", &path.replace("see /", "src/")), [""; 0]);
    }

    #[test]
    fn libraries_do_not_say_what_to_type() {
        let flag = "//! A.\n// See `--store`.\nconst A: &str = \"name one with --store URL\";\n";
        assert_eq!(
            what("host/src/a.rs", flag),
            ["host/src/a.rs:3: `--store` is named in a text of a library"]
        );
        assert_eq!(findings("frontend/src/a.rs", flag), [""; 0]);
        let command = "//! A.\nconst A: &str = \"see `sortie dlq list`\";\n";
        assert_eq!(
            what("broker/src/a.rs", command),
            ["broker/src/a.rs:2: `sortie dlq` is named in a text of a library"]
        );
        let neither = "//! A.\nconst A: &str = \"a -- b --1 sortie mapping x--y\";\n";
        assert_eq!(findings("client/src/a.rs", neither), [""; 0]);
    }

    #[test]
    fn long_files_and_glob_exports_are_found() {
        assert_eq!(
            what("client/src/a.rs", &"//! A.\n".repeat(801)),
            ["client/src/a.rs:800: 801 lines are more than 800"]
        );
        assert_eq!(
            what("client/src/a.rs", "//! A.\npub use job::*;\n"),
            ["client/src/a.rs:2: everything of a module is re-exported"]
        );
    }

    #[test]
    fn versions_stand_in_the_root_manifest_only() {
        let member = "[package]\nversion = \"1\"\n[target.\"cfg(unix \
                      = \\\"x\\\")\".dependencies]\nserde.workspace = true\nlog = \"0.4\"\n";
        assert_eq!(
            what("client/Cargo.toml", member),
            ["client/Cargo.toml:5: a dependency has a version of its own"]
        );
        assert_eq!(
            findings("Cargo.toml", "[workspace.dependencies]\nlog = \"0.4\"\n"),
            [""; 0]
        );
    }
}
