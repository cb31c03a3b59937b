//! Results as objects in a store: there when all are there, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use sortie_e2e::tables::Table;
use sortie_harness::{Fault, Link, Operation, Ran, S3Server, Sortie, StoreProxy};
use tempfile::TempDir;

/// Texts that make an upload of several parts.
const LONG_BYTES: usize = 100_000;
const LONG_COUNT: usize = 200;

/// A bucket in a server, behind a proxy.
struct Store {
    folder: TempDir,
    _server: S3Server,
    proxy: StoreProxy,
}

impl Store {
    fn start() -> Self {
        Self::with(S3Server::start)
    }

    fn with(start: impl Fn(&Path) -> S3Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bucket")).unwrap();
        let server = start(folder.path());
        let proxy = StoreProxy::start(server.address(), Link::default());
        Self {
            folder,
            _server: server,
            proxy,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("bucket").join(name)
    }

    /// `mirrors` of inputs that come on standard input.
    fn mirrors(&self, url: &str) -> Sortie {
        self.proxy
            .for_command(Sortie::map("mirrors", ["--inputs", "-", "-o", url]))
    }

    /// The names of all objects, and of what the server keeps of uploads that are under way. What
    /// it notes of objects is left out.
    fn names(&self) -> Vec<String> {
        fn below(folder: &Path, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder)
                .into_iter()
                .flatten()
                .map(Result::unwrap)
            {
                if entry.path().is_dir() {
                    below(&entry.path(), names)
                } else {
                    names.push(entry.file_name().to_string_lossy().into())
                }
            }
        }
        let mut names = Vec::new();
        below(self.folder.path(), &mut names);
        names.retain(|name| !name.ends_with(".internal.json") && !name.ends_with(".metadata.json"));
        names.sort();
        names
    }
}

fn lines(inputs: impl IntoIterator<Item = Value>) -> String {
    inputs
        .into_iter()
        .map(|input| format!("{input}\n"))
        .collect()
}

fn long() -> String {
    lines(
        (0..LONG_COUNT).map(|n| json!({ "n": n, "text": format!("{n} ").repeat(LONG_BYTES / 4) })),
    )
}

/// One line says what is wrong with the object, beside the sums of a run that got that far.
#[track_caller]
fn names_the_object(ran: &Ran, parts: &[&str]) {
    let wrong: Vec<_> = ran
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(wrong.len(), 1, "{ran}");
    assert!(
        parts.iter().all(|part| wrong[0].contains(part)),
        "{parts:?}: {ran}"
    );
    assert!(!ran.stderr.contains(S3Server::KEYS.1), "{ran}");
}

#[test]
fn results_are_not_written_over_an_input() {
    let store = Store::start();
    for name in ["a", "results.jsonl"] {
        fs::write(store.file(name), "precious\n").unwrap();
    }
    let output = "s3://bucket/results.jsonl";
    let map = |inputs: &[&str]| {
        let arguments = inputs.iter().copied().chain(["-o", output]);
        store.proxy.for_command(Sortie::map("sum_of", arguments))
    };
    let said = format!("`{output}` is an input and the output");
    map(&["s3://bucket/a", output]).run().refused(&[&said]);
    map(&["s3://bucket/results.jsonl#bytes=0-3"])
        .run()
        .refused(&[&said]);
    let list = store.folder.path().join("list");
    fs::write(&list, format!("s3://bucket/a\n{output}\n")).unwrap();
    map(&["--inputs", list.to_str().unwrap()])
        .run()
        .refused(&["line 2", &said]);
    assert_eq!(
        store.proxy.counts().objects.get("bucket/a"),
        None,
        "something ran"
    );
    // What is listed, or comes through a pipe, is seen when its turn comes.
    let listed = map(&["s3://bucket/*"]).run().code(2);
    names_the_object(&listed, &[&said]);
    let piped = map(&["--inputs", "-"])
        .input(format!("s3://bucket/a\n{output}\n"))
        .run()
        .code(2);
    names_the_object(&piped, &["line 2", &said]);
    assert_eq!(
        fs::read_to_string(store.file("results.jsonl")).unwrap(),
        "precious\n"
    );
    // Nothing stays behind of what was begun.
    assert_eq!(store.names(), ["a", "list", "results.jsonl"]);
    // The same key in another bucket is another object.
    fs::create_dir(store.folder.path().join("other")).unwrap();
    fs::write(store.folder.path().join("other/results.jsonl"), "1").unwrap();
    let _ = map(&["s3://other/results.jsonl"]).run().code(0);
}

#[test]
fn each_format_is_an_object_with_all_results() {
    let store = Store::start();
    let inputs = || lines((0..88).map(|n| json!({ "n": n, "text": "a, \"b\"\nü" })));
    for name in ["r.jsonl", "deep/er/r.csv", "r.parquet"] {
        let url = format!("s3://bucket/{name}");
        let ran = store
            .mirrors(&url)
            .input(inputs())
            .run()
            .code(0)
            .says(&["88 completed", &format!("results: {url}")]);
        assert_eq!(ran.stdout, "", "{ran}");
    }
    let records = fs::read_to_string(store.file("r.jsonl")).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(records.len() == 88 && records.iter().all(|record| record["status"] == "completed"));
    let (csv, parquet) = (
        Table::csv(&store.file("deep/er/r.csv")),
        Table::parquet(&store.file("r.parquet")),
    );
    assert_eq!(csv.columns, parquet.columns);
    for n in 0..88 {
        assert_eq!(
            (&csv.row(n)["text"], &parquet.row(n)["text"]),
            (&json!("a, \"b\"\nü"), &json!("a, \"b\"\nü"))
        );
        assert_eq!(
            (&csv.row(n)["n"], &parquet.row(n)["n"]),
            (&json!(n.to_string()), &json!(n))
        );
    }
    assert_eq!(store.names(), ["r.csv", "r.jsonl", "r.parquet"]);
}

#[test]
fn a_large_object_is_sent_in_parts_and_survives_a_store_that_falters() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::SlowDown.on(Operation::Put, "r.jsonl").first(2));
    let _ = store
        .mirrors("s3://bucket/r.jsonl")
        .input(long())
        .run()
        .code(0);
    assert_eq!(store.proxy.counts().struck, 2);
    let content = fs::read_to_string(store.file("r.jsonl")).unwrap();
    assert!(content.len() > 3 * sortie::objects::PART_BYTES);
    let mut texts: Vec<_> = content
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["value"].clone())
        .collect();
    texts.sort_by_key(|value| value["n"].as_u64());
    let sent: Vec<Value> = long()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(texts == sent);
    assert_eq!(store.names(), ["r.jsonl"]);
}

#[test]
fn a_place_that_cannot_be_written_to_is_refused_before_anything_runs() {
    let store = Store::start();
    for name in ["r.jsonl", "r.csv", "r.parquet"] {
        let refused = store
            .mirrors(&format!("s3://nowhere/{name}"))
            .input("1\n")
            .run();
        refused.refused(&[
            "--output",
            &format!("`s3://nowhere/{name}`"),
            "no such bucket",
        ]);
    }
    let denied = Store::with(S3Server::start_read_only);
    denied
        .mirrors("s3://bucket/r.csv")
        .input("1\n")
        .run()
        .refused(&["--output", "`s3://bucket/r.csv`", "credentials"]);
    let wrong = store
        .mirrors("s3://bucket/r.csv")
        .env("AWS_SECRET_ACCESS_KEY", "wrong")
        .input("1\n")
        .run();
    wrong.refused(&["--output", "`s3://bucket/r.csv`", "credentials"]);
    let profile = store
        .mirrors("s3://bucket/r.csv")
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "");
    profile
        .env("AWS_PROFILE", "nobody")
        .input("1\n")
        .run()
        .refused(&["--output", "`s3://bucket/r.csv`", "nobody"]);
    assert_eq!(store.names().len() + denied.names().len(), 0);
}

#[test]
fn a_store_that_breaks_in_the_middle_leaves_what_was_there() {
    let store = Store::start();
    fs::write(store.file("r.jsonl"), "precious").unwrap();
    store
        .proxy
        .add(Fault::AccessDenied.on(Operation::Put, "r.jsonl").nth(2));
    let ran = store
        .mirrors("s3://bucket/r.jsonl")
        .input(long())
        .run()
        .code(3);
    names_the_object(
        &ran,
        &[
            "failed to write the results to `s3://bucket/r.jsonl`",
            "as it was before",
            "may not be written to",
        ],
    );
    assert_eq!(
        fs::read_to_string(store.file("r.jsonl")).unwrap(),
        "precious"
    );
    // The next run has all of it.
    let _ = store
        .mirrors("s3://bucket/r.jsonl")
        .input(long())
        .run()
        .code(0);
    assert_eq!(
        fs::read_to_string(store.file("r.jsonl"))
            .unwrap()
            .lines()
            .count(),
        LONG_COUNT
    );
}

#[test]
fn an_object_that_cannot_be_completed_is_a_platform_failure() {
    let store = Store::start();
    // The question that begins, the part, and then the end.
    store
        .proxy
        .add(Fault::AccessDenied.on(Operation::Any, "r.csv").nth(3));
    let ran = store
        .mirrors("s3://bucket/r.csv")
        .input("1\n")
        .run()
        .code(3);
    names_the_object(&ran, &["`s3://bucket/r.csv`", "may not be written to"]);
    assert!(!store.file("r.csv").exists());
}

#[test]
fn an_interrupted_run_leaves_no_object_and_no_parts() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Hold.on(Operation::Put, "r.jsonl").nth(2));
    let running = store.mirrors("s3://bucket/r.jsonl").input(long()).start();
    store.proxy.wait_until_struck(1);
    running.signal(Signal::INT);
    let _ = running
        .wait()
        .code(130)
        .says(&["no results: s3://bucket/r.jsonl", "interrupted"]);
    assert_eq!(store.names(), Vec::<String>::new());
}

#[test]
fn a_run_whose_inputs_break_off_leaves_no_object() {
    let store = Store::start();
    let ran = store
        .mirrors("s3://bucket/r.csv")
        .input(b"1\n2\n\xff\xfe\n".as_slice())
        .run()
        .code(2)
        .says(&["no results: s3://bucket/r.csv"]);
    names_the_object(&ran, &["line 3"]);
    assert_eq!(store.names(), Vec::<String>::new());
}
