//! Objects that change after they were listed or first seen: a clear error, never a mixture, and
//! never another task's result.

use std::fs;

use sortie_harness::{Fault, Operation, Ran};

use crate::{LARGE, Store, Told as _, sum_of_a, sum_of_large};

/// Run over this pattern, do this at the first such request, and let it pass then.
fn meanwhile(
    store: &Store,
    pattern: &str,
    operation: Operation,
    key: &str,
    number: u64,
    change: impl FnOnce(),
) -> Ran {
    store.proxy.add(Fault::Hold.on(operation, key).nth(number));
    let running = store.sum_of(&[pattern]).start();
    store.proxy.wait_until_struck(1);
    change();
    store.proxy.release();
    running.wait()
}

#[test]
fn an_object_that_was_deleted_since_it_was_listed_is_missing() {
    let store = Store::start();
    let change = || fs::remove_file(store.file("b.txt")).unwrap();
    let ran = meanwhile(
        &store,
        "s3://bucket/*.txt",
        Operation::Any,
        "bucket/b.txt",
        1,
        change,
    )
    .code(1);
    assert_eq!(
        ran.endings(),
        ["completed", "input-missing", "completed", "completed"]
    );
    ran.failed("s3://bucket/b.txt", "input-missing", &[]);
    ran.found("s3://bucket/a.txt", sum_of_a());
}

#[test]
fn an_object_that_was_replaced_since_it_was_listed_has_changed() {
    let store = Store::start();
    let change = || fs::write(store.file("b.txt"), "other").unwrap();
    let ran = meanwhile(
        &store,
        "s3://bucket/*.txt",
        Operation::Any,
        "bucket/b.txt",
        1,
        change,
    )
    .code(1);
    assert_eq!(
        ran.endings(),
        ["completed", "input-changed", "completed", "completed"]
    );
    ran.failed("s3://bucket/b.txt", "input-changed", &[]);
    ran.found("s3://bucket/a.txt", sum_of_a());
}

#[test]
fn an_object_that_was_replaced_between_two_reads_is_no_mixture() {
    let store = Store::start();
    let change = || {
        fs::write(store.file("other"), vec![2; LARGE]).unwrap();
        fs::rename(store.file("other"), store.file("large.bin")).unwrap();
    };
    let ran = meanwhile(
        &store,
        "s3://bucket/large.bin",
        Operation::Get,
        "large.bin",
        2,
        change,
    )
    .code(1);
    ran.failed("s3://bucket/large.bin", "input-changed", &[]);
}

#[test]
fn an_object_that_was_deleted_between_two_reads_is_missing() {
    let store = Store::start();
    let change = || fs::remove_file(store.file("large.bin")).unwrap();
    let ran = meanwhile(
        &store,
        "s3://bucket/large.bin",
        Operation::Get,
        "large.bin",
        2,
        change,
    )
    .code(1);
    ran.failed("s3://bucket/large.bin", "input-missing", &[]);
}

#[test]
fn an_answer_with_another_etag_is_not_read() {
    let store = Store::start();
    store
        .proxy
        .add(Fault::WrongEtag.on(Operation::Get, "large.bin").nth(2));
    let ran = store
        .sum_of(&["s3://bucket/large.bin", "s3://bucket/a.txt"])
        .run()
        .code(1);
    ran.failed("s3://bucket/large.bin", "input-changed", &[]);
    ran.found("s3://bucket/a.txt", sum_of_a());
    assert_eq!(store.proxy.counts().struck, 1);
}

#[test]
fn a_replaced_object_is_read_anew_by_the_next_run() {
    let store = Store::start();
    store
        .sum_of(&["s3://bucket/large.bin"])
        .run()
        .code(0)
        .found("s3://bucket/large.bin", sum_of_large());
    fs::write(store.file("large.bin"), vec![2; LARGE]).unwrap();
    store
        .sum_of(&["s3://bucket/large.bin"])
        .run()
        .code(0)
        .found(
            "s3://bucket/large.bin",
            serde_json::json!([LARGE, 2 * LARGE]),
        );
}
