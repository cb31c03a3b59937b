//! Results as CSV and Parquet files: what a program reads back that knows nothing of us.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use sortie_e2e::tables::Table;
use sortie_harness::{Ran, Running, Sortie};
use tempfile::TempDir;

/// The columns that every table has before those of the function's fields.
const FIRST: [&str; 3] = ["index", "input", "status"];
/// Those behind them.
const LAST: [&str; 17] = [
    "rest",
    "error_code",
    "error_message",
    "error_blame",
    "error_attempts",
    "error_function",
    "queue_ms",
    "fetch_ms",
    "run_ms",
    "cpu_ms",
    "memory_peak_bytes",
    "bytes_in",
    "bytes_out",
    "cached",
    "store_ms",
    "log",
    "log_dropped_bytes",
];
const TITLES: [&str; 5] = [
    "plain",
    "\"quoted\", and a comma",
    "two\nlines\r\n",
    "Ünïcode 漢字 🦀",
    " spaces ",
];
/// How often to look whether results are there.
const LOOKS_MAX: usize = 2000;
const TABLES: [&str; 2] = ["results.csv", "results.parquet"];

fn read(path: &Path) -> Table {
    if path.extension().is_some_and(|end| end == "csv") {
        Table::csv(path)
    } else {
        Table::parquet(path)
    }
}

/// Run `mirrors` over these inputs into this file, in their order. Whether a result is worth
/// keeping depends on how long it took, so none is taken from the cache.
fn mirror(inputs: &[Value], folder: &TempDir, name: &str) -> Ran {
    let lines: String = inputs.iter().map(|input| format!("{input}\n")).collect();
    Sortie::map(
        "mirrors",
        ["--inputs", "-", "--ordered", "--fresh", "-o", name],
    )
    .folder(folder.path())
    .input(lines)
    .run()
}

fn columns(fields: &[&str]) -> Vec<String> {
    FIRST
        .iter()
        .chain(fields)
        .chain(&LAST)
        .map(|name| (*name).to_owned())
        .collect()
}

/// The cell as the format has it: every CSV cell is text.
fn cell(name: &str, value: Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value,
        other if name.ends_with(".csv") => other.to_string().into(),
        other => other,
    }
}

#[test]
fn tables_have_a_column_for_each_field_and_a_row_for_each_task() {
    let document = |n: u64| {
        json!({
            "pages": n,
            "score": if n.is_multiple_of(2) { json!(n) } else { json!(n as f64 + 0.5) },
            "hash": (1u64 << 60) + n,
            "title": (TITLES[usize::try_from(n % 5).unwrap()]),
            "scanned": n.is_multiple_of(3),
            "authors": [{ "name": "A, \"B\"" }, n],
        })
    };
    let inputs: Vec<_> = (0..88)
        .map(|n| {
            if n % 11 == 5 {
                json!("!broken")
            } else {
                document(n)
            }
        })
        .collect();
    for name in TABLES {
        let folder = tempfile::tempdir().unwrap();
        let ran = mirror(&inputs, &folder, name).code(1).says(&[
            "88 tasks: 80 completed, 8 failed",
            &format!("results: {name}"),
        ]);
        assert_eq!(ran.stdout, "");
        let table = read(&folder.path().join(name));
        assert_eq!(
            table.columns,
            columns(&["authors", "hash", "pages", "scanned", "score", "title"])
        );
        assert_eq!(table.rows.len(), 88);
        for (input, n) in inputs.iter().zip(0..) {
            let row = table.row(n);
            assert_eq!((&row["rest"], &row["log"]), (&Value::Null, &Value::Null));
            assert_eq!(row["cached"], cell(name, json!(false)));
            if n % 11 == 5 {
                let failure =
                    ["failed", "broken", "as it was \"asked\",\nfor", "guest"].map(Value::from);
                assert_eq!(
                    ["status", "error_code", "error_message", "error_blame"]
                        .map(|column| row[column].clone()),
                    failure
                );
                assert_eq!(
                    (&row["error_attempts"], &row["pages"], &row["input"]),
                    (&cell(name, json!(1)), &Value::Null, input)
                );
                continue;
            }
            assert_eq!(
                (&row["status"], &row["error_code"]),
                (&json!("completed"), &Value::Null)
            );
            assert_eq!(
                serde_json::from_str::<Value>(row["input"].as_str().unwrap()).unwrap(),
                *input
            );
            for column in ["hash", "pages", "scanned", "title"] {
                assert_eq!(
                    row[column],
                    cell(name, input[column].clone()),
                    "{column} of {n}"
                );
            }
            assert_eq!(row["score"], cell(name, json!(input["score"].as_f64())));
            assert_eq!(
                serde_json::from_str::<Value>(row["authors"].as_str().unwrap()).unwrap(),
                input["authors"]
            );
        }
    }
}

#[test]
fn values_without_fields_are_one_column_and_failures_alone_are_none() {
    for name in TABLES {
        let folder = tempfile::tempdir().unwrap();
        let _ = mirror(&[json!(3), json!(null), json!(4)], &folder, name).code(0);
        let table = read(&folder.path().join(name));
        assert_eq!(table.columns, columns(&["value"]));
        assert_eq!(
            [0, 1, 2].map(|n| table.row(n)["value"].clone()),
            [json!(3), Value::Null, json!(4)].map(|value| cell(name, value))
        );
        let _ = mirror(&[json!("!a"), json!("!b")], &folder, name).code(1);
        let table = read(&folder.path().join(name));
        assert_eq!(table.columns, columns(&[]));
        assert_eq!(
            [0, 1].map(|n| table.row(n)["error_code"].clone()),
            [json!("a"), json!("b")]
        );
    }
}

#[test]
fn what_comes_too_late_for_a_column_is_in_the_rest() {
    // More than decide what columns there are.
    let mut inputs = vec![json!({ "n": 1, "status": "mine" }); 1500];
    inputs.extend([
        json!({ "n": 0.5, "new": [1, "a"], "status": null }),
        json!([1, 2]),
        json!("text"),
    ]);
    for name in TABLES {
        let folder = tempfile::tempdir().unwrap();
        let _ = mirror(&inputs, &folder, name).code(0);
        let table = read(&folder.path().join(name));
        assert_eq!(table.columns, columns(&["n", "value_status"]));
        assert_eq!(table.rows.len(), 1503);
        assert_eq!(
            (&table.row(7)["status"], &table.row(7)["value_status"]),
            (&json!("completed"), &json!("mine"))
        );
        let rest = [1500, 1501, 1502]
            .map(|n| table.row(n)["rest"].as_str().unwrap_or_default().to_owned());
        // Had one of them been among the first to complete, it would have columns.
        assert_eq!(rest, [r#"{"n":0.5,"new":[1,"a"]}"#, "[1,2]", "\"text\""]);
        assert_eq!(table.row(1500)["n"], Value::Null);
    }
}

#[test]
fn a_table_without_results_has_its_columns() {
    for name in TABLES {
        let folder = tempfile::tempdir().unwrap();
        mirror(&[], &folder, name).refused(&["no inputs"]);
        assert_eq!(
            read(&folder.path().join(name)),
            Table {
                columns: columns(&[]),
                rows: Vec::new()
            }
        );
    }
}

/// A run over twenty inputs that are done, and none that comes.
fn waiting(folder: &TempDir, cache: &TempDir, name: &str) -> Running {
    let lines: String = (0..20).map(|n| format!("{}\n", 2_000_000 + n)).collect();
    let command = Sortie::map("spins_for", ["--inputs", "-", "-o", name])
        .folder(folder.path())
        .cache(cache.path());
    let running = command.input(lines).keep_input_open().start();
    let are_done = |_| {
        Sortie::new(["cache", "info", "--json"])
            .cache(cache.path())
            .run()
            .code(0)
            .value()["memo"]["files"]
            == 20
    };
    // Each look takes its time.
    assert!((0..LOOKS_MAX).any(are_done), "not all results are there");
    running
}

#[test]
fn an_interrupted_run_leaves_a_whole_table_of_what_is_done() {
    for name in TABLES {
        let (folder, cache) = (tempfile::tempdir().unwrap(), sortie_harness::cache());
        let running = waiting(&folder, &cache, name);
        running.signal(Signal::INT);
        let _ = running.wait().code(130).says(&[
            "20 completed",
            &format!("results: {name}"),
            "interrupted",
        ]);
        let table = read(&folder.path().join(name));
        assert_eq!((table.rows.len(), table.columns), (20, columns(&["value"])));
        assert_eq!(files(&folder), [name]);
    }
}

#[test]
fn a_killed_run_leaves_no_half_parquet_file() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), sortie_harness::cache());
    fs::write(folder.path().join("results.parquet"), "precious").unwrap();
    let running = waiting(&folder, &cache, "results.parquet");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    assert_eq!(
        fs::read_to_string(folder.path().join("results.parquet")).unwrap(),
        "precious"
    );
    // Another run is not in its way, nor held up by what it left.
    let _ = mirror(&[json!(1)], &folder, "results.parquet").code(0);
    assert_eq!(read(&folder.path().join("results.parquet")).rows.len(), 1);
}

#[test]
fn a_table_that_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder.parquet")).unwrap();
    for (name, parts) in [
        (
            "no/such/folder.parquet",
            ["no folder `no/such`", "create it first"],
        ),
        (
            "no/such/folder.csv",
            ["no folder `no/such`", "create it first"],
        ),
        (
            "folder.parquet",
            ["`folder.parquet` is a folder", "name a file in it"],
        ),
        (
            "/dev/null/a.parquet",
            ["/dev/null/a.parquet`", "a part of its path is a file"],
        ),
        ("s3://bucket", ["s3://bucket", "s3://bucket/key"]),
        ("https://example.org/a.csv", ["web server", "object store"]),
        ("nowhere://a/b.csv", ["nowhere://", "s3://"]),
    ] {
        mirror(&[json!(1)], &folder, name).refused(&["--output", parts[0], parts[1]]);
    }
    assert_eq!(files(&folder), ["folder.parquet"]);
}

#[test]
fn a_parquet_file_is_not_written_over_an_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.parquet"), "x").unwrap();
    Sortie::map("sum_of", ["a.parquet", "-o", "./a.parquet"])
        .folder(folder.path())
        .run()
        .refused(&["is an input and the output"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("a.parquet")).unwrap(),
        "x"
    );
}

fn files(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
