//! `sortie map --then … --reduce …`: functions that take each other's results, in one process.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use sortie_e2e::tables::Table;
use sortie_harness::{Ran, Sortie, WebServer, component};

use crate::{endings, sorted};

fn values(ran: &Ran) -> Vec<Value> {
    let records = sorted(ran);
    records
        .into_iter()
        .map(|mut record| record["value"].take())
        .collect()
}

/// One line of standard error for each misfit, in this order, and nothing else.
#[track_caller]
fn misfits(ran: &Ran, expected: &[&str]) {
    let said: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(said.len(), expected.len(), "{ran}");
    for (said, expected) in said.iter().zip(expected) {
        assert_eq!(*said, format!("error: {expected}"), "{ran}");
    }
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran}");
}

#[test]
fn each_result_goes_on_to_the_next_function() {
    let ran = Sortie::map("add", ["1", "2", "3"])
        .args(["--arg", "b=10", "--then", "add", "--arg", "add.b=100"])
        .args(["--then", "mirrors"])
        .run()
        .code(0)
        .says(&["3 inputs: 3 completed;"]);
    assert_eq!(values(&ran), [111, 112, 113]);
    let records = sorted(&ran);
    let inputs: Vec<_> = records.iter().map(|record| &record["input"]).collect();
    assert_eq!(inputs, [1, 2, 3]);
    // The bill is that of three tasks, each with an argument and a result.
    let bill = &records[0]["bill"];
    assert!(bill["bytes_out"].as_u64() >= Some(3), "{ran}");
    assert!(bill["run_ms"].as_f64() > Some(0.0), "{ran}");
}

#[test]
fn results_come_in_the_order_of_the_inputs_where_that_is_asked_for() {
    // The first takes longest.
    let inputs = (0..100).map(|n| {
        if n == 0 {
            "50000000".into()
        } else {
            n.to_string()
        }
    });
    let ran = Sortie::map("spins_for", inputs)
        .args(["--then", "mirrors", "--ordered"])
        .run()
        .code(0);
    let order: Vec<_> = ran
        .records()
        .iter()
        .map(|record| record["index"].as_u64().unwrap())
        .collect();
    assert!(order.into_iter().eq(0..100));
}

#[test]
fn a_function_may_be_of_another_component() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other#1.wasm");
    fs::copy(component("word-count"), &other).unwrap();
    fs::write(folder.path().join("a.txt"), "b a b").unwrap();
    let ran = Sortie::new(["map"])
        .args([&other])
        .args(["count", "*.txt", "--then", "top", "--arg", "top.words=1"])
        .args([
            "--then".into(),
            [component("behaviours").to_str().unwrap(), "mirrors"].join("#"),
        ])
        .folder(folder.path())
        .run()
        .code(0);
    assert_eq!(values(&ran), [json!([["b", 2]])]);
}

#[test]
fn what_one_function_prints_is_with_what_the_others_do() {
    let ran = Sortie::map("logs_a_little", ["[]"])
        .args(["--then", "mirrors"])
        .run()
        .code(0);
    let log = ran.value()["log"]["text"].as_str().unwrap().to_owned();
    assert!(log.contains("a line on stdout"), "{ran}");
}

#[test]
fn an_object_that_a_function_makes_is_the_next_ones_object() {
    let folder = tempfile::tempdir().unwrap();
    let sized = |then: &[&str]| {
        Sortie::map("makes_object", ["[1000, null]", "[2000, null]"])
            .args(then)
            .folder(folder.path())
            .run()
    };
    let ran = sized(&["--then", "copies", "--then", "sum_of"]).code(0);
    let sizes: Vec<_> = values(&ran).iter().map(|value| value[0].clone()).collect();
    assert_eq!(sizes, [1000, 2000]);
    // The last one's object gets its name from the input.
    let ran = sized(&["--then", "copies", "-o", "{index}.bin"]).code(0);
    assert_eq!(sorted(&ran)[1]["object"]["size"], 2000, "{ran}");
    assert_eq!(
        fs::metadata(folder.path().join("1.bin")).unwrap().len(),
        2000
    );
}

#[test]
fn a_failure_names_its_input_and_the_function_and_nothing_below_runs() {
    let ran = Sortie::map("mirrors", ["!early", "fine", "7"])
        .args(["--then", "echo", "--then", "mirrors"])
        .run()
        .code(1)
        .says(&[
            "3 inputs: 1 completed, 2 failed;",
            "1 x early (blame: guest), such as !early, in `mirrors`:",
            ", in `echo`:",
        ]);
    assert_eq!(endings(&ran)[..2], ["early", "completed"]);
    let records = sorted(&ran);
    assert_eq!(
        records[0]["error"],
        json!({
            "code": "early",
            "message": "as it was \"asked\",\nfor",
            "blame": "guest",
            "attempts": 1,
            "function": "mirrors",
        })
    );
    assert_eq!(records[0]["input"], "!early");
    assert_eq!(records[2]["error"]["function"], "echo", "{ran}");
    assert_eq!(records[2]["input"], 7);
    // The last function fails like any other.
    let ran = Sortie::map("echo", ["!late"])
        .args(["--then", "mirrors"])
        .run()
        .code(1);
    let error = &ran.value()["error"];
    assert_eq!(
        (&error["code"], &error["function"]),
        (&json!("late"), &json!("mirrors"))
    );
    // One function alone needs no name.
    let ran = Sortie::map("mirrors", ["!alone"]).run().code(1);
    assert_eq!(ran.value()["error"].get("function"), None);
}

#[test]
fn tables_say_which_function_failed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["results.csv", "results.parquet"] {
        let _ = Sortie::map("echo", ["fine", "!late", "--ordered", "-o", name])
            .args(["--then", "mirrors"])
            .folder(folder.path())
            .run()
            .code(1);
        let path = folder.path().join(name);
        let table = if name.ends_with("csv") {
            Table::csv(&path)
        } else {
            Table::parquet(&path)
        };
        let functions: Vec<_> = table
            .rows
            .iter()
            .map(|row| &row["error_function"])
            .collect();
        assert_eq!(functions, [&Value::Null, &json!("mirrors")], "{name}");
    }
}

#[test]
fn all_results_are_reduced_to_one_in_the_order_of_the_inputs() {
    // A list is returned as it is: the result shows which calls were made.
    let reduce = |inputs: &[&str], fan_in: &str| {
        Sortie::map("echo", inputs)
            .args(["--reduce", "mirrors", "--fan-in", fan_in])
            .run()
            .code(0)
    };
    let ran = reduce(&["a", "b", "c", "d", "e"], "2")
        .says(&["5 inputs: 5 completed, reduced to one result;"]);
    let record = ran.value();
    assert_eq!(record["value"], json!([[["a", "b"], ["c", "d"]], "e"]));
    assert_eq!(
        (&record["index"], &record["input"], &record["status"]),
        (&json!(0), &Value::Null, &json!("completed"))
    );
    let ran = reduce(&["a", "b", "c", "d"], "3");
    assert_eq!(ran.value()["value"], json!([["a", "b", "c"], "d"]));
    // One alone stays as it is.
    let ran = reduce(&["a"], "16").says(&["1 input: 1 completed, reduced to one result;"]);
    assert_eq!(ran.value()["value"], "a");
}

#[test]
fn many_inputs_stream_through_two_functions_and_a_tree() {
    let inputs: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    let folder = tempfile::tempdir().unwrap();
    let ran = Sortie::map("add", ["--inputs", "-", "--arg", "b=1", "-o", "sum.csv"])
        .args(["--then", "mirrors", "--reduce", "sum"])
        .input(inputs)
        .folder(folder.path())
        .run()
        .code(0)
        .says(&[
            "20000 inputs: 20000 completed, reduced to one result;",
            "results: sum.csv",
        ]);
    assert_eq!(ran.stdout, "");
    let table = Table::csv(&folder.path().join("sum.csv"));
    assert_eq!(table.rows.len(), 1);
    assert_eq!(
        table.rows[0]["value"],
        json!((1..=20_000).sum::<u64>().to_string())
    );
}

#[test]
fn a_second_run_takes_everything_from_the_cache() {
    let cache = sortie_harness::cache();
    let run = || {
        Sortie::map("spins_for", ["2000000", "2000001", "2000002"])
            .args(["--then", "mirrors", "--reduce", "mirrors"])
            .cache(cache.path())
            .run()
            .code(0)
    };
    let (first, second) = (run(), run());
    assert_eq!(first.value()["value"], second.value()["value"]);
    assert_eq!(first.value()["bill"]["cached"], false);
    // Which of the short calls are worth keeping depends on how long they took.
    let said = [
        "3 inputs: 3 completed",
        "nothing ran: all 3 results were known",
    ];
    assert!(
        said.iter().any(|said| second.stderr.contains(said)),
        "{second}"
    );
}

#[test]
fn a_reduction_fails_with_the_first_input_that_fails() {
    let ran = Sortie::map("mirrors", ["a", "!broken", "c"])
        .args(["--then", "echo", "--reduce", "mirrors"])
        .run()
        .code(1)
        .says(&[
            "1 failed, not reduced;",
            "1 x broken (blame: guest), such as !broken, in `mirrors`:",
        ]);
    let record = ran.value();
    assert_eq!(
        (&record["input"], &record["status"]),
        (&json!("!broken"), &json!("failed"))
    );
    let error = &record["error"];
    assert_eq!(
        (&error["code"], &error["function"]),
        (&json!("broken"), &json!("mirrors"))
    );
    // A call of the tree is of no input.
    let ran = Sortie::map("mirrors", ["1", "2", "text", "4", "5"])
        .args(["--reduce", "sum", "--fan-in", "2"])
        .run()
        .code(1)
        .says(&["not reduced;", "1 x bad-argument", ", in `sum`:"]);
    let record = ran.value();
    assert_eq!(
        (&record["input"], &record["error"]["function"]),
        (&Value::Null, &json!("sum"))
    );
}

#[test]
fn an_input_that_fails_ends_a_reduction_at_once() {
    // The others never end by themselves.
    let inputs = ["1", "1000000000000000", "1000000000000001", "!now"];
    let ran = Sortie::map("mirrors", inputs)
        .args(["--then", "spins_for", "--reduce", "mirrors"])
        .run()
        .code(1);
    assert_eq!(ran.value()["input"], "!now", "{ran}");
}

#[test]
fn functions_that_do_not_fit_are_refused_one_line_for_each_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kept.jsonl"), "as before").unwrap();
    let map = |function: &str, options: &[&str]| {
        Sortie::map(function, ["1", "-o", "kept.jsonl"])
            .args(options)
            .folder(folder.path())
            .run()
    };
    misfits(
        &map("spins_for", &["--then", "echo"]),
        &[
            "--then: parameter `value` of `echo(value: String) -> String` takes `String`, but \
             `spins_for(iterations: u64) -> u64` returns `u64`",
        ],
    );
    misfits(
        &map(
            "spins_for",
            &["--then", "halves", "--then", "add", "--reduce", "echo"],
        ),
        &[
            "--then: parameter `value` of `halves(value: f64) -> f64` takes `f64`, but \
             `spins_for(iterations: u64) -> u64` returns `u64`",
            "--then: `add(a: i64, b: i64) -> i64` takes the result of `halves` as one argument, \
             but 2 of its parameters are open: fix all but one of `add.a`, `add.b`",
            "--reduce: parameter `value` of `echo(value: String) -> String` takes `String`, but a \
             function that reduces takes a list of results, such as `Vec<i64>`",
        ],
    );
    misfits(
        &map("echo", &["--reduce", "sum"]),
        &[
            "--reduce: parameter `numbers` of `sum(numbers: Vec<i64>) -> i64` takes `Vec<i64>`, \
             but `echo(value: String) -> String` returns `String`",
        ],
    );
    misfits(
        &map("echo", &["--then", "sum_of"]),
        &[
            "--then: parameter `object` of `sum_of(object: Object) -> (u64, u64)` takes an \
             object, but `echo(value: String) -> String` returns a value",
        ],
    );
    misfits(
        &map("echo", &["--then", "empty"]),
        &["--then: `empty() -> ()` has no parameter for the result of `echo`"],
    );
    misfits(
        &map(
            "spins_for",
            &["--then", "spins_for", "--arg", "spins_for.iterations=3"],
        ),
        &[
            "--then: `spins_for(iterations: u64) -> u64` has no parameter left for the result of \
             `spins_for`: all of them are fixed",
        ],
    );
    misfits(
        &map(
            "echo",
            &[
                "--then",
                "mirrors",
                "--arg",
                "sum.x=1",
                "--arg",
                "mirrors.y=1",
            ],
        ),
        &[
            "--arg sum.x: no function `sum` is called; there are `echo`, `mirrors`",
            "--arg mirrors.y: `mirrors(value: Anything) -> Anything` has no parameter of this name",
        ],
    );
    misfits(
        &map("echo", &["--then", "add", "--arg", "b=1"]),
        &[
            "--arg b: `echo(value: String) -> String` has no parameter of this name; that of \
             `add` is named `add.b`",
            "--then: `add(a: i64, b: i64) -> i64` takes the result of `echo` as one argument, but \
             2 of its parameters are open: fix all but one of `add.a`, `add.b`",
        ],
    );
    let ran = map("echo", &["--then", "ecko", "--reduce", "no/such.wasm#f"]);
    assert_eq!(
        (ran.code, ran.stderr.lines().count()),
        (Some(2), 2),
        "{ran}"
    );
    let ran = ran.says(&["no function `ecko` in the component", "no/such.wasm"]);
    assert!(!ran.stderr.contains("completed"), "{ran}");
    let kept = fs::read_to_string(folder.path().join("kept.jsonl")).unwrap();
    assert_eq!(kept, "as before");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let refused = |options: &[&str], parts: &[&str]| {
        Sortie::map("echo", ["x"])
            .args(options)
            .run()
            .refused(parts);
    };
    refused(
        &["--then", "mirrors", "--detach"],
        &["--detach", "as results come", "has to stay"],
    );
    refused(&["--reduce", "mirrors", "--detach"], &["--detach"]);
    refused(
        &["--reduce", "mirrors", "--fan-in", "1"],
        &["--fan-in", "2 to 1000"],
    );
    refused(&["--fan-in", "4"], &["--reduce"]);
    refused(
        &["--then", "mirrors", "-o", "{index}.png"],
        &["`mirrors(", "returns none"],
    );
    Sortie::map("echo", ["--inputs", "-"])
        .args(["--reduce", "mirrors"])
        .run()
        .refused(&["there are no inputs"]);
}

#[test]
fn an_invalid_line_ends_a_reduction_without_a_result() {
    let ran = Sortie::map("spins_for", ["--inputs", "-", "--reduce", "mirrors"])
        .input("1\n2\nthree\n4\n")
        .run()
        .code(2)
        .says(&["line 3", "`three`"]);
    assert_eq!(ran.stdout, "", "{ran}");
}

#[test]
fn an_interrupted_run_keeps_what_it_has_and_goes_on_from_there() {
    let cache = sortie_harness::cache();
    let stop = || {
        let inputs: String = (0..20).map(|n| format!("{}\n", 2_000_000 + n)).collect();
        let mut running = Sortie::map("spins_for", ["--inputs", "-", "--then", "mirrors"])
            .cache(cache.path())
            .input(inputs)
            .keep_input_open()
            .start();
        for _ in 0..20 {
            running.line();
        }
        running.signal(Signal::INT);
        let ran = running.wait().code(130).says(&[
            "20 inputs: 20 completed",
            "interrupted",
            "run the same command again",
        ]);
        let cpu_ms = |record: &Value| record["bill"]["cpu_ms"].as_f64().unwrap();
        ran.records().iter().map(cpu_ms).sum::<f64>()
    };
    let (first, second) = (stop(), stop());
    // What the first function computed is not computed again.
    assert!(second < first / 2.0, "{first} ms, then {second} ms");
}

#[test]
fn inputs_on_their_way_are_cancelled_when_a_run_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let web = WebServer::start(folder.path());
    let running = Sortie::map("reads_forever", [web.url("file"), web.url("file")])
        .args(["--then", "mirrors"])
        .start();
    // It is under way when it has read.
    web.wait_for(1);
    running.signal(Signal::INT);
    let ran = running.wait().code(130);
    let endings = endings(&ran);
    assert!(
        !endings.is_empty() && endings.iter().all(|ending| ending == "cancelled"),
        "{ran}"
    );
}

#[test]
fn an_interrupted_reduction_is_cancelled_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let web = WebServer::start(folder.path());
    let running = Sortie::map("reads_forever", [web.url("file"), web.url("file")])
        .args(["--reduce", "mirrors"])
        .start();
    // It is under way when it has read.
    web.wait_for(1);
    running.signal(Signal::INT);
    let ran = running
        .wait()
        .code(130)
        .says(&["not reduced", "run the same command again"]);
    let record = ran.value();
    assert_eq!(
        (&record["status"], &record["input"]),
        (&json!("cancelled"), &Value::Null),
        "{ran}"
    );
}
