//! Hostile functions are stopped at their limits and reported as such, and their neighbours in the
//! same job do not notice.

use std::fs;

use serde_json::{Value, json};
use sortie_harness::{Ran, Sortie};

use crate::{endings, sorted};

/// Run a function without parameters three times.
fn thrice(function: &str, options: &[&str]) -> Ran {
    Sortie::map(function, ["[]", "[]", "[]"])
        .args(options)
        .run()
        .code(1)
}

#[test]
fn endless_loops_end_at_the_limits_of_time() {
    let ran = thrice("spins_forever", &["--cpu-time", "200ms"]);
    assert_eq!(endings(&ran), ["cpu-time-limit"; 3]);
    for record in sorted(&ran) {
        assert!(
            record["error"]["message"]
                .as_str()
                .unwrap()
                .contains("200 ms"),
            "{record}"
        );
        assert_eq!(
            (&record["error"]["blame"], &record["error"]["attempts"]),
            (&json!("guest"), &json!(1))
        );
        let calls = record["error"]["backtrace"].as_array().unwrap();
        let is_entry = |call: &Value| call.as_str().unwrap().contains("handler");
        assert!(calls.iter().any(is_entry), "{record}");
        let cpu = record["bill"]["cpu_ms"].as_f64().unwrap();
        assert!((200.0..2000.0).contains(&cpu), "{record}");
    }
    assert_eq!(
        endings(&thrice("spins_forever", &["--timeout", "200ms"])),
        ["wall-time-limit"; 3]
    );
}

#[test]
fn a_task_that_computes_too_long_does_not_hold_up_the_others() {
    let ran = Sortie::map("spins_for", ["10", "1000000000000000", "20"])
        .args(["--cpu-time", "300ms"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["completed", "cpu-time-limit", "completed"]);
}

#[test]
fn memory_ends_at_its_limit() {
    assert_eq!(
        endings(&thrice("grows_memory", &["--memory", "64MiB"])),
        ["out-of-memory"; 3]
    );
    let ran = Sortie::map("allocates", ["4096", "1000000000", "8192"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["completed", "out-of-memory", "completed"]);
    let records = sorted(&ran);
    assert_eq!(
        (&records[0]["value"], &records[2]["value"]),
        (&json!(1), &json!(2))
    );
    let peak = records[1]["bill"]["memory_peak_bytes"].as_u64().unwrap();
    assert!(peak <= 256 << 20, "{peak}");
}

#[test]
fn a_result_of_a_gigabyte_is_refused() {
    // Not even a guest with all the memory there is gets it out; one with less fails to make it.
    let ran = Sortie::map("returns_bytes", ["10", "1000000000", "20"])
        .args(["--memory", "4GiB"])
        .run()
        .code(1);
    assert_eq!(
        endings(&ran),
        ["completed", "result-too-large", "completed"]
    );
    let ran = Sortie::map("returns_bytes", ["10", "1000000000", "20"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["completed", "memory-limit", "completed"]);
}

#[test]
fn stacks_end_at_their_limits() {
    assert_eq!(
        endings(&thrice("overflows_stack", &[])),
        ["stack-overflow"; 3]
    );
    assert_eq!(
        endings(&thrice("overflows_stack_memory", &[])),
        ["trapped"; 3]
    );
}

#[test]
fn traps_and_panics_end_their_own_task_only() {
    let ran = thrice("traps", &[]);
    assert_eq!(endings(&ran), ["trapped"; 3]);
    assert!(
        sorted(&ran)[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("unreachable"),
        "{ran}"
    );
    let ran = Sortie::map("panics", ["first words", "second words"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["trapped"; 2]);
    for (record, words) in sorted(&ran).iter().zip(["first words", "second words"]) {
        assert!(
            record["log"]["text"].as_str().unwrap().contains(words),
            "{record}"
        );
    }
    let ran = Sortie::map("exits", ["0", "3"]).run().code(1);
    assert_eq!(endings(&ran), ["trapped"; 2]);
    // WASI's `exit` tells whether the code is 0, and no other number.
    for (record, text) in sorted(&ran).iter().zip([
        "the function exited instead of returning",
        "the function exited with a failure instead of returning",
    ]) {
        assert_eq!(record["error"]["message"], text);
    }
}

#[test]
fn floods_are_kept_up_to_the_limit_and_counted_beyond() {
    let ran = Sortie::map("floods_log", ["1", "100000", "2"])
        .run()
        .code(0);
    let records = sorted(&ran);
    for (record, lines) in records.iter().zip([1, 100_000, 2]) {
        let (text, dropped) = (
            record["log"]["text"].as_str().unwrap(),
            record["log"]["dropped_bytes"].as_u64().unwrap(),
        );
        if lines > 1000 {
            assert!(
                text.len() <= 64 << 10 && dropped > 9_000_000,
                "{} bytes, {dropped} dropped",
                text.len()
            );
        } else {
            assert_eq!((text.lines().count(), dropped), (lines, 0));
        }
    }
    let ran = thrice("floods_stdout", &["--cpu-time", "200ms"]);
    assert_eq!(endings(&ran), ["cpu-time-limit"; 3]);
    assert!(
        sorted(&ran)
            .iter()
            .all(|record| record["log"]["text"].as_str().unwrap().len() <= 64 << 10)
    );
}

#[test]
fn objects_cannot_be_used_without_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "abc").unwrap();
    let map = |function: &str| {
        Sortie::map(function, ["a"])
            .args(["--cpu-time", "300ms"])
            .folder(folder.path())
            .run()
            .code(1)
    };
    let ran = map("leaks_handles");
    assert_eq!(endings(&ran), ["trapped"]);
    assert!(
        sorted(&ran)[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("more than 2048 objects"),
        "{ran}"
    );
    assert_eq!(endings(&map("reads_forever")), ["cpu-time-limit"]);
}
