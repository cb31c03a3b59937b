//! What is written for a value is made to what its parameter takes, or refused before anything
//! runs.

use std::fs;

use serde_json::{Value, json};
use sortie_harness::Sortie;

use crate::sorted;

fn values(ran: &sortie_harness::Ran) -> Vec<Value> {
    sorted(ran)
        .iter()
        .map(|record| record["value"].clone())
        .collect()
}

#[test]
fn an_integer_is_a_number_with_a_fraction_and_the_other_way_round() {
    let ran = Sortie::map("halves", ["5", "2.5", "-4"]).run().code(0);
    assert_eq!(values(&ran), [json!(2.5), json!(1.25), json!(-2.0)]);
    let ran = Sortie::map("add", ["[1.0, 2]", "[3, 4.0]"]).run().code(0);
    assert_eq!(values(&ran), [json!(3), json!(7)]);
    assert_eq!(Sortie::call("halves", ["8"]).run().code(0).value(), 4.0);
    let fixed = Sortie::map("add", ["1"]).args(["--arg", "b=2.0"]).run();
    assert_eq!(values(&fixed.code(0)), [json!(3)]);
}

#[test]
fn a_text_that_looks_like_json_is_a_text() {
    let texts = ["42", "true", "null", "[1, 2]", "plain", "\"quoted\""];
    let ran = Sortie::map("echo", texts).run().code(0);
    assert_eq!(
        values(&ran),
        ["42", "true", "null", "[1, 2]", "plain", "quoted"].map(Value::from)
    );
    assert_eq!(sorted(&ran)[0]["input"], "42");
    assert_eq!(Sortie::call("echo", ["42"]).run().code(0).value(), "42");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    Sortie::map("halves", ["5", "x"])
        .run()
        .refused(&["parameter `value` takes a number, not `x`"]);
    Sortie::map("spins_for", ["-1"])
        .run()
        .refused(&["parameter `iterations` takes an integer from 0", "`-1`"]);
    Sortie::map("add", ["[1, 0.5]"])
        .run()
        .refused(&["parameter `b` takes an integer", "`0.5`"]);
    Sortie::map("fails", [r#"["code", 7]"#])
        .run()
        .refused(&["parameter `message` takes a text", "`7`"]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("list"), "1\n2\nthree\n").unwrap();
    Sortie::map("halves", ["--inputs", "list"])
        .folder(folder.path())
        .run()
        .refused(&["line 3 of `list`", "takes a number, not `three`"]);
    Sortie::map("add", ["1"])
        .args(["--arg", "b=x"])
        .run()
        .refused(&["--arg b", "takes an integer"]);
}

#[test]
fn a_call_without_all_arguments_is_told_how_to_name_them() {
    Sortie::call("add", ["1"])
        .run()
        .refused(&["takes 2 arguments", "--arg a=VALUE --arg b=VALUE"]);
    Sortie::call("add", ["--arg", "a=1"]).run().refused(&[
        "takes 1 argument in addition to the fixed ones: `b`",
        "--arg b=VALUE",
    ]);
}

#[test]
fn nobody_is_told_to_set_a_variable_that_changes_nothing() {
    let ran = Sortie::call("panics", ["in the middle"]).run().code(1);
    assert!(
        ran.stderr.contains("in the middle") && !ran.stderr.contains("RUST_BACKTRACE"),
        "{ran}"
    );
    let ran = Sortie::map("panics", ["in the middle"]).run().code(1);
    assert!(
        ran.stdout.contains("in the middle") && !ran.stdout.contains("RUST_BACKTRACE"),
        "{ran}"
    );
}
