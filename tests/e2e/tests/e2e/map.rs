//! `sortie map` over values: which arguments a task gets, and what is written, where and in which
//! order.

use std::fs;

use serde_json::{Value, json};
use sortie_harness::Sortie;

use crate::sorted;

fn values(records: &[Value]) -> Vec<&Value> {
    records.iter().map(|record| &record["value"]).collect()
}

#[test]
fn a_record_has_exactly_the_documented_fields() {
    let record = Sortie::map("add", ["[1, 2]"]).run().code(0).value();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&record), ["bill", "index", "input", "status", "value"]);
    let bill = [
        "bytes_in",
        "bytes_out",
        "cached",
        "cpu_ms",
        "fetch_ms",
        "memory_peak_bytes",
        "queue_ms",
        "run_ms",
        "store_ms",
    ];
    assert_eq!(keys(&record["bill"]), bill);
    assert_eq!(
        (&record["index"], &record["input"], &record["value"]),
        (&json!(0), &json!([1, 2]), &json!(3))
    );
    let failed = Sortie::map("fails", [r#"["bad", "so\nbad"]"#])
        .run()
        .code(1)
        .value();
    assert_eq!(
        failed["error"],
        json!({ "code": "bad", "message": "so\nbad", "blame": "guest", "attempts": 1 })
    );
    assert_eq!(failed["status"], "failed");
}

#[test]
fn an_input_of_any_type_is_json_or_else_a_string() {
    let ran = Sortie::map("mirrors", ["plain text", r#""quoted""#, r#""42""#, "42"])
        .run()
        .code(0);
    let records = sorted(&ran);
    assert_eq!(
        values(&records),
        [
            &json!("plain text"),
            &json!("quoted"),
            &json!("42"),
            &json!(42)
        ]
    );
    assert_eq!(records[3]["input"], 42);
}

#[test]
fn the_parameter_that_is_not_fixed_varies() {
    let records = sorted(
        &Sortie::map("add", ["1", "2", "3"])
            .args(["--arg", "b=10"])
            .run()
            .code(0),
    );
    assert_eq!(values(&records), [&json!(11), &json!(12), &json!(13)]);
    let records = sorted(
        &Sortie::map("fails", ["a", "b"])
            .args(["--arg", "code=same"])
            .run()
            .code(1),
    );
    assert_eq!(records[1]["error"]["message"], "b");
}

#[test]
fn lines_are_inputs_and_may_hold_all_arguments() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("list"), "[1,2]\r\n\n[3, 4]\n[-5,6]").unwrap();
    let command = || Sortie::map("add", ["--inputs", "list"]).folder(folder.path());
    let records = sorted(&command().run().code(0));
    assert_eq!(values(&records), [&json!(3), &json!(7), &json!(1)]);
    let piped = Sortie::map("add", ["--inputs", "-", "--arg", "a=1"])
        .input("1\n2\n")
        .run()
        .code(0);
    assert_eq!(values(&sorted(&piped)), [&json!(2), &json!(3)]);
}

#[test]
fn results_go_to_the_file_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("results.jsonl");
    fs::write(
        &output,
        "what was there before, and longer than what comes".repeat(100),
    )
    .unwrap();
    let ran = Sortie::map("echo", ["a", "-o", "results.jsonl"])
        .folder(folder.path())
        .run()
        .code(0);
    assert_eq!(ran.stdout, "");
    let text = fs::read_to_string(&output).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["value"], "a");
    let _ = ran.says(&["1 task: 1 completed", "results: results.jsonl"]);
}

#[test]
fn ordered_results_are_in_the_order_of_the_inputs() {
    // The first takes longest, so that all others are done before it.
    let inputs = (0..200).map(|n| {
        if n == 0 {
            "100000000".to_owned()
        } else {
            n.to_string()
        }
    });
    let ran = Sortie::map("spins_for", inputs)
        .args(["--ordered", "--concurrency", "4"])
        .run()
        .code(0);
    let order: Vec<_> = ran
        .records()
        .iter()
        .map(|record| record["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
}

#[test]
fn ordered_results_do_not_pile_up_behind_a_slow_one() {
    // More inputs than may wait; the run ends all the same, in order.
    let mut inputs = "400000000\n".to_owned();
    inputs.extend((1..40_000).map(|n| format!("{}\n", n % 7)));
    let ran = Sortie::map("spins_for", ["--inputs", "-", "--ordered"])
        .input(inputs)
        .run()
        .code(0);
    let order: Vec<_> = ran
        .records()
        .iter()
        .map(|record| record["index"].as_u64().unwrap())
        .collect();
    assert_eq!(order, (0..40_000).collect::<Vec<_>>());
}

#[test]
fn a_hundred_thousand_inputs_stream_through() {
    let inputs: String = (0..100_000).map(|n| format!("\"{n}\"\n")).collect();
    let ran = Sortie::map("echo", ["--inputs", "-"])
        .input(inputs)
        .run()
        .code(0);
    let records = sorted(&ran);
    assert_eq!(records.len(), 100_000);
    for (n, record) in records.iter().enumerate() {
        let text = Value::from(n.to_string());
        assert_eq!(
            (record["index"].as_u64(), &record["input"], &record["value"]),
            (Some(n as u64), &text, &text)
        );
    }
    let _ = ran.says(&["100000 tasks: 100000 completed"]);
}

#[test]
fn a_second_run_takes_everything_from_the_cache_and_says_so() {
    let cache = sortie_harness::cache();
    let run = || {
        let inputs = ["2000000", "2000001", "2000002"];
        Sortie::map("spins_for", inputs)
            .cache(cache.path())
            .run()
            .code(0)
    };
    let (first, second) = (run(), run());
    assert!(
        sorted(&first)
            .iter()
            .all(|record| record["bill"]["cached"] == false),
        "{first}"
    );
    assert!(
        sorted(&second)
            .iter()
            .all(|record| record["bill"]["cached"] == true),
        "{second}"
    );
    assert_eq!(values(&sorted(&first)), values(&sorted(&second)));
    let _ = second.says(&["nothing ran: all 3 results were known"]);
}

#[test]
fn a_fresh_run_runs_everything_and_leaves_what_is_kept_alone() {
    let cache = sortie_harness::cache();
    let cached = |options: &[&str]| {
        let ran = Sortie::map("spins_for", ["2000000"])
            .args(options)
            .cache(cache.path())
            .run()
            .code(0);
        ran.value()["bill"]["cached"].as_bool().unwrap()
    };
    assert!(!cached(&["--fresh"]));
    assert!(!cached(&[]));
    assert!(!cached(&["--fresh"]));
    assert!(cached(&[]));
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let home = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let ran = Sortie::map("spins_for", ["2000000", "--cache", "off"])
            .env("HOME", home.path())
            .run()
            .code(0);
        assert_eq!(ran.value()["bill"]["cached"], false);
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
