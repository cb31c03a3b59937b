//! Ordinary answers: values, failures, logs, and what `inspect` says.

use serde_json::{Value, json};
use sortie_harness::{Sortie, component};

use crate::{endings, sorted};

#[test]
fn a_value_is_printed_as_json() {
    assert_eq!(
        Sortie::call("add", ["2", "-3"]).run().code(0).value(),
        json!(-1)
    );
    assert_eq!(
        Sortie::call("add", ["2"])
            .args(["--arg", "a=40"])
            .run()
            .code(0)
            .value(),
        json!(42)
    );
    assert_eq!(
        Sortie::call("sum", ["[1, 2, -5]"]).run().code(0).value(),
        json!(-2)
    );
    assert_eq!(
        Sortie::call("empty", [""; 0]).run().code(0).value(),
        Value::Null
    );
    assert_eq!(
        Sortie::call("echo", ["a \u{1b}[31m \"b\""])
            .run()
            .code(0)
            .value(),
        json!("a \u{1b}[31m \"b\"")
    );
    assert_eq!(
        Sortie::call("returns_bytes", ["4"]).run().code(0).value(),
        json!("WlpaWg==")
    );
}

#[test]
fn raw_strings_and_bytes_are_printed_as_they_are() {
    assert_eq!(
        Sortie::call("echo", ["two\nlines"])
            .args(["--raw"])
            .run()
            .code(0)
            .stdout,
        "two\nlines"
    );
    assert_eq!(
        Sortie::call("returns_bytes", ["3"])
            .args(["--raw"])
            .run()
            .code(0)
            .stdout,
        "ZZZ"
    );
    assert_eq!(
        Sortie::call("add", ["1", "2"])
            .args(["--raw"])
            .run()
            .code(0)
            .stdout,
        "3\n"
    );
}

#[test]
fn a_failure_is_one_line_and_exit_code_1() {
    let ran = Sortie::call("fails", ["encrypted", "needs a\n\u{1b}[31mpassword"])
        .run()
        .code(1);
    assert_eq!(
        (&*ran.stdout, &*ran.stderr),
        (
            "",
            "error: encrypted: needs a [31mpassword (blame: guest)\n"
        ),
        "{ran}"
    );
}

#[test]
fn a_failure_that_asks_for_it_is_retried_as_often_as_allowed() {
    let ran = Sortie::map("fails_and_wants_retry", ["1"])
        .args(["--retries", "2"])
        .run()
        .code(1);
    let error =
        json!({ "code": "not-now", "message": "try again", "blame": "guest", "attempts": 3 });
    assert_eq!(sorted(&ran)[0]["error"], error);
    let ran = Sortie::map("fails_and_wants_retry", ["1"])
        .args(["--retries", "0"])
        .run()
        .code(1);
    assert_eq!(sorted(&ran)[0]["error"]["attempts"], 1);
}

#[test]
fn messages_without_end_are_cut() {
    let ran = Sortie::map("huge_message", ["[]"]).run().code(1);
    assert_eq!(endings(&ran), ["huge"]);
    let message = sorted(&ran)[0]["error"]["message"].as_str().unwrap().len();
    assert!((1000..=4096).contains(&message), "{message} bytes");
    assert!(ran.stderr.len() < 1000, "the summary is short: {ran}");
}

#[test]
fn what_a_function_logs_comes_with_its_result() {
    let lines = [
        "ERROR",
        "an error",
        "WARN",
        "INFO",
        "number 3",
        "a line on stdout",
        "a line on stderr",
    ];
    let ran = Sortie::map("logs_a_little", ["[]"]).run().code(0);
    let record = &sorted(&ran)[0];
    let text = record["log"]["text"].as_str().unwrap();
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    assert!(!text.contains("a detail"), "{text}");
    assert_eq!(record["log"]["dropped_bytes"], 0);
    let ran = Sortie::call("logs_a_little", [""; 0])
        .run()
        .code(0)
        .says(&lines);
    assert_eq!(ran.stdout, "null\n");
}

#[test]
fn a_component_is_described_for_people_and_for_programs() {
    let path = component("behaviours");
    let people = Sortie::new(["inspect".as_ref(), path.as_os_str()])
        .run()
        .code(0);
    for part in [
        "digest   sha256:",
        "sortie:task/objects@",
        "\nadd(a: i64, b: i64) -> i64\n    Adds two numbers; a sum that",
    ] {
        assert!(people.stdout.contains(part), "`{part}` is not in: {people}");
    }
    let programs = Sortie::new(["inspect".as_ref(), path.as_os_str(), "--json".as_ref()])
        .run()
        .code(0)
        .value();
    assert_eq!(programs["size"], std::fs::metadata(&path).unwrap().len());
    let functions = programs["functions"].as_array().unwrap();
    let sum_of = functions
        .iter()
        .find(|function| function["name"] == "sum_of")
        .unwrap();
    assert_eq!(
        sum_of["parameters"],
        json!([{ "name": "object", "kind": "object", "type": "Object" }])
    );
}
