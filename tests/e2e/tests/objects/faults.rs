//! Faults of the network and the store: one that passes costs a retry and nothing else; one that
//! stays costs the tasks whose objects it befalls.

use std::fs;

use serde_json::json;
use sortie_harness::{Fault, Operation};

use crate::{Store, Told as _, attempts, sum_of_a, sum_of_b, sum_of_large};

const SMALL: [&str; 2] = ["s3://bucket/a.txt", "s3://bucket/b.txt"];
const LARGE: &str = "s3://bucket/large.bin";

/// A fault at the first read of `b.txt`, then at the second of `large.bin`, then at the first
/// listing; each run completes all the same.
fn passes(fault: Fault) {
    let store = Store::start();
    store
        .proxy
        .add(fault.clone().on(Operation::Get, "bucket/b.txt").first(1));
    let ran = store.sum_of(&SMALL).run().code(0);
    ran.found(SMALL[0], sum_of_a());
    ran.found(SMALL[1], sum_of_b());
    assert_eq!(store.proxy.counts().struck, 1);
    store
        .proxy
        .add(fault.clone().on(Operation::Get, "large.bin").nth(2));
    store
        .sum_of(&[LARGE])
        .run()
        .code(0)
        .found(LARGE, sum_of_large());
    assert_eq!(store.proxy.counts().struck, 2);
    store
        .proxy
        .add(fault.on(Operation::List, "bucket").first(1));
    assert_eq!(
        store.sum_of(&["s3://bucket/*.txt"]).run().code(0).endings(),
        ["completed"; 4]
    );
    assert_eq!(store.proxy.counts().struck, 3);
}

/// A fault at each read of `b.txt`: its task fails after a second attempt, and says why; the others
/// complete.
fn stays(fault: Fault) {
    let store = Store::start();
    store.proxy.add(fault.on(Operation::Get, "bucket/b.txt"));
    let ran = store
        .sum_of(&["s3://bucket/*.txt", LARGE, "--retries", "1"])
        .run()
        .code(1);
    assert_eq!(
        ran.endings(),
        [
            "completed",
            "input-unavailable",
            "completed",
            "completed",
            "completed"
        ]
    );
    ran.failed("s3://bucket/b.txt", "input-unavailable", &[]);
    assert_eq!(attempts(&ran, "s3://bucket/b.txt"), 2, "{ran}");
    ran.found("s3://bucket/a.txt", sum_of_a());
    ran.found(LARGE, sum_of_large());
    let _ = ran.says(&["5 tasks: 4 completed, 1 failed"]);
}

#[test]
fn a_task_begins_with_the_first_of_its_input_where_nobody_else_computes() {
    let store = Store::start();
    // Half of the eight megabytes that are asked for ahead.
    store
        .proxy
        .add(Fault::Stall.on(Operation::Get, "large.bin"));
    let call =
        sortie_harness::Sortie::call("reads_range", [LARGE, "1000000", "4"]).args(["--fresh"]);
    assert_eq!(
        store.proxy.for_command(call).run().code(0).value(),
        json!("AQEBAQ==")
    );
    assert_eq!(store.proxy.counts().struck, 1);
}

#[test]
fn a_store_that_wants_fewer_requests_is_asked_again() {
    passes(Fault::SlowDown);
}

#[test]
fn a_store_that_always_wants_fewer_requests_costs_its_own_tasks() {
    stays(Fault::SlowDown);
}

#[test]
fn an_error_of_the_store_is_asked_again() {
    passes(Fault::InternalError);
}

#[test]
fn an_error_of_the_store_that_stays_costs_its_own_tasks() {
    stays(Fault::InternalError);
}

#[test]
fn a_reset_in_the_middle_of_a_body_is_asked_again() {
    passes(Fault::Reset);
}

#[test]
fn a_reset_each_time_costs_its_own_tasks() {
    stays(Fault::Reset);
}

#[test]
fn a_body_that_ends_too_early_is_asked_again() {
    passes(Fault::Truncate);
}

#[test]
fn a_body_that_always_ends_too_early_costs_its_own_tasks() {
    stays(Fault::Truncate);
}

#[test]
fn a_body_that_stops_is_asked_again() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Stall.on(Operation::Get, "bucket/b.txt").first(1));
    let ran = store.sum_of(&SMALL).run().code(0);
    ran.found(SMALL[1], sum_of_b());
    assert_eq!(store.proxy.counts().struck, 1);
}

#[test]
fn a_large_body_that_stops_is_asked_again() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Stall.on(Operation::Get, "large.bin").nth(2));
    store
        .sum_of(&[LARGE])
        .run()
        .code(0)
        .found(LARGE, sum_of_large());
    assert_eq!(store.proxy.counts().struck, 1);
}

#[test]
fn an_answer_that_never_comes_is_asked_again() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Silence.on(Operation::Any, "bucket/b.txt").first(1));
    store
        .sum_of(&SMALL)
        .run()
        .code(0)
        .found(SMALL[1], sum_of_b());
    assert_eq!(store.proxy.counts().struck, 1);
}

#[test]
fn a_body_that_always_stops_costs_its_own_tasks() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Stall.on(Operation::Get, "bucket/b.txt"));
    let ran = store.sum_of(&SMALL).args(["--retries", "0"]).run().code(1);
    ran.found(SMALL[0], sum_of_a());
    ran.failed(SMALL[1], "input-unavailable", &[]);
}

#[test]
fn a_task_has_no_more_time_than_its_limit_while_its_object_does_not_come() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::Stall.on(Operation::Get, "bucket/b.txt"));
    let ran = store
        .sum_of(&SMALL)
        .args(["--timeout", "2s", "--retries", "0"])
        .run()
        .code(1);
    ran.found(SMALL[0], sum_of_a());
    assert_eq!(
        ran.of(SMALL[1])["error"]["code"],
        "wall-time-limit",
        "{ran}"
    );
}

#[test]
fn many_faults_at_once_cost_no_task() {
    let store = Store::start();
    for number in 0..40 {
        fs::write(
            store.file(&format!("many-{number:02}.dat")),
            "x".repeat(number),
        )
        .unwrap();
    }
    for (fault, number) in [
        (Fault::SlowDown, 3),
        (Fault::Reset, 9),
        (Fault::InternalError, 14),
        (Fault::Truncate, 21),
        (Fault::SlowDown, 30),
    ] {
        store
            .proxy
            .add(fault.on(Operation::Get, "many-").nth(number));
    }
    store
        .proxy
        .add(Fault::InternalError.on(Operation::Head, "many-").first(5));
    let ran = store.sum_of(&["s3://bucket/many-*.dat"]).run().code(0);
    assert_eq!(ran.endings(), ["completed"; 40]);
    for number in 0..40u64 {
        ran.found(
            &format!("s3://bucket/many-{number:02}.dat"),
            json!([number, number * 120]),
        );
    }
    assert!(
        store.proxy.counts().struck >= 5,
        "{:?}",
        store.proxy.counts()
    );
}
