//! A pattern that finds what may not be read: that is one failed task, which names it, and the
//! others run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use sortie_harness::{Ran, Sortie, component};
use tempfile::TempDir;

use crate::{endings, sorted};

/// Files that may be read and some that may not: `b.txt`, all in `locked`, whose names cannot be
/// read either, and all in `shut`, whose names can.
struct Files(TempDir);

const CLOSED: [(&str, u32); 3] = [("b.txt", 0o000), ("locked", 0o000), ("shut", 0o444)];

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a.txt", "b.txt", "open/c.txt", "locked/c.txt", "shut/c.txt"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "A").unwrap();
        }
        let copy = folder.path().join("behaviours.wasm");
        fs::copy(component("behaviours"), &copy).unwrap();
        let files = Self(folder);
        files.permit(&[("", 0o755), ("open", 0o755), ("behaviours.wasm", 0o644)]);
        files.permit(&CLOSED);
        files
    }

    fn permit(&self, modes: &[(&str, u32)]) {
        for (name, mode) in modes {
            let path = self.0.path().join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A command with `sum_of`, by somebody who may not read everything.
    fn sum_of(&self, command: &str, words: &[&str]) -> Sortie {
        let command = Sortie::new([command, "behaviours.wasm", "sum_of"])
            .args(words)
            .folder(self.path());
        // The superuser reads everything, so the command runs as nobody.
        if rustix::process::geteuid().is_root() {
            command.user(65_534)
        } else {
            command
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // So that they can be removed.
        self.permit(&CLOSED.map(|(name, _)| (name, 0o755)));
    }
}

/// Inputs, in order, each with how its task ended.
fn ended(ran: &Ran) -> Vec<(String, String)> {
    let input = |record: &serde_json::Value| record["input"].as_str().unwrap().to_owned();
    let inputs = sorted(ran).iter().map(input).collect::<Vec<_>>();
    inputs.into_iter().zip(endings(ran)).collect()
}

fn expect(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn a_pattern_with_one_match_that_may_not_be_read_is_one_failed_task() {
    let files = Files::new();
    for words in [&["b.*"][..], &["b.*", "a.txt"], &["a.txt", "b.*"]] {
        let ran = files.sum_of("map", words).run().code(1);
        let mut ended = ended(&ran);
        ended.sort();
        let all = expect(&[("a.txt", "completed"), ("b.txt", "input-denied")]);
        assert_eq!(ended, all[2 - words.len()..], "{ran}");
    }
    // One that is named as it is stays a mistake that is told before anything runs.
    files
        .sum_of("map", &["b.txt", "a.txt"])
        .run()
        .refused(&["`b.txt`", "Permission denied"]);
    files
        .sum_of("call", &["b.*"])
        .run()
        .refused(&["`b.*`", "Permission denied"]);
}

#[test]
fn folders_that_may_not_be_read_fail_a_task_each_and_the_others_run() {
    let files = Files::new();
    let every = [
        ("a.txt", "completed"),
        ("b.txt", "input-denied"),
        ("locked", "input-denied"),
        ("open/c.txt", "completed"),
        ("shut", "input-denied"),
    ];
    let one_below = [
        ("locked", "input-denied"),
        ("open/c.txt", "completed"),
        ("shut", "input-denied"),
    ];
    for (pattern, pairs) in [("**/*.txt", &every[..]), ("*/c.txt", &one_below)] {
        let told = files.sum_of("map", &[pattern]).run().code(1);
        assert_eq!(ended(&told), expect(pairs), "{told}");
        let lines = files.sum_of("map", &["--inputs", "-"]).input(pattern);
        assert_eq!(ended(&lines.run().code(1)), expect(pairs));
        for record in sorted(&told) {
            if record["input"] == "locked" {
                let error = &record["error"];
                assert_eq!(error["blame"], "input");
                let message = error["message"].as_str().unwrap();
                let parts = ["locked` may not be read", "not known what in it matches"];
                assert!(parts.iter().all(|part| message.contains(part)), "{message}");
                assert_eq!(error["attempts"], json!(0));
            }
        }
    }
    // Nothing is known to match.
    for (pattern, name) in [("locked/*", "locked"), ("shut/*.txt", "shut")] {
        let parts = [name, "Permission denied"];
        files.sum_of("map", &[pattern]).run().refused(&parts);
    }
}
