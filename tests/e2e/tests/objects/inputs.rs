//! What is wrong with an input for good: one clear error that names it, no second attempt, and the
//! other tasks' results.

use std::fs;
use std::net::TcpListener;

use serde_json::json;
use sortie_harness::{Fault, Link, Operation, StoreProxy};

use crate::{Store, Told as _, attempts, sum_of_a};

/// One input that is wrong beside one that is not.
const BOTH: [&str; 2] = ["s3://bucket/a.txt", "s3://bucket/b.txt"];

/// All that is asked about `b.txt` is answered with this; then its task fails at once, with this
/// code, and the message has these parts.
#[track_caller]
fn refuses(fault: Fault, code: &str, parts: &[&str]) {
    let store = Store::start();
    store.proxy.add(fault.on(Operation::Any, "bucket/b.txt"));
    let ran = store.sum_of(&BOTH).run().code(1);
    ran.found(BOTH[0], sum_of_a());
    ran.failed(BOTH[1], code, parts);
    assert_eq!(
        attempts(&ran, BOTH[1]),
        1,
        "a second attempt cannot help: {ran}"
    );
    let _ = ran.says(&["2 tasks: 1 completed, 1 failed"]);
}

#[test]
fn a_missing_bucket_is_named() {
    let store = Store::start();
    let ran = store
        .sum_of(&["s3://nowhere/a.txt", "s3://bucket/a.txt"])
        .run()
        .code(1);
    ran.failed("s3://nowhere/a.txt", "input-missing", &[]);
    ran.found("s3://bucket/a.txt", sum_of_a());
    assert_eq!(attempts(&ran, "s3://nowhere/a.txt"), 1, "{ran}");
    store
        .sum_of(&["s3://nowhere/*.txt"])
        .run()
        .refused(&["s3://nowhere/*.txt"]);
    refuses(Fault::NoSuchBucket, "input-missing", &[]);
}

#[test]
fn a_missing_object_is_named() {
    refuses(Fault::NoSuchKey, "input-missing", &[]);
}

#[test]
fn denied_access_is_named() {
    refuses(Fault::AccessDenied, "input-denied", &["credentials"]);
    let store = Store::start();
    store
        .proxy
        .add(Fault::AccessDenied.on(Operation::List, "bucket"));
    store
        .sum_of(&["s3://bucket/*.txt"])
        .run()
        .refused(&["s3://bucket/*.txt", "credentials"]);
}

#[test]
fn expired_credentials_are_named() {
    refuses(Fault::ExpiredToken, "input-denied", &["credentials"]);
}

#[test]
fn unknown_and_wrong_keys_are_named() {
    refuses(Fault::InvalidAccessKeyId, "input-denied", &["credentials"]);
    refuses(
        Fault::SignatureDoesNotMatch,
        "input-denied",
        &["credentials"],
    );
}

#[test]
fn a_wrong_secret_is_found_out_by_the_server() {
    let store = Store::start();
    let ran = store
        .sum_of(&["s3://bucket/a.txt"])
        .env("AWS_SECRET_ACCESS_KEY", "wrong-one")
        .run()
        .code(1);
    ran.failed("s3://bucket/a.txt", "input-denied", &["credentials"]);
    assert!(
        !ran.stdout.contains("wrong-one") && !ran.stderr.contains("wrong-one"),
        "{ran}"
    );
}

#[test]
fn a_wrong_region_is_named() {
    refuses(
        Fault::WrongRegion("eu-central-1"),
        "input-denied",
        &["region"],
    );
    let store = Store::start();
    store
        .proxy
        .add(Fault::WrongRegion("eu-central-1").on(Operation::List, "bucket"));
    store
        .sum_of(&["s3://bucket/*.txt"])
        .run()
        .refused(&["s3://bucket/*.txt", "region"]);
}

#[test]
fn a_redirect_is_named_and_the_other_server_sees_no_credentials() {
    let store = Store::start();
    let other = StoreProxy::start(store.proxy.address(), Link::default());
    store.proxy.add(
        Fault::Redirect(format!("{}/bucket/b.txt", other.endpoint()))
            .on(Operation::Any, "bucket/b.txt"),
    );
    let ran = store.sum_of(&BOTH).args(["--retries", "0"]).run().code(1);
    ran.found(BOTH[0], sum_of_a());
    ran.failed(BOTH[1], "input-denied", &["redirect"]);
    assert_eq!(other.counts().requests, 0, "{ran}");
}

#[test]
fn an_endpoint_where_nobody_answers_is_named() {
    let store = Store::start();
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let command = || {
        store
            .sum_of(&["--retries", "0"])
            .env("AWS_ENDPOINT_URL", format!("http://{nobody}"))
    };
    let ran = command().args(BOTH).run().code(1);
    for input in BOTH {
        ran.failed(input, "input-unavailable", &["onnect"]);
    }
    command()
        .args(["s3://bucket/*.txt"])
        .run()
        .refused(&["s3://bucket/*.txt", "onnect"]);
}

#[test]
fn a_malformed_url_is_refused_before_anything_runs() {
    let store = Store::start();
    for url in [
        "s3://",
        "s3:///a.txt",
        "s3://bucket",
        "s4://bucket/a.txt",
        "s3//bucket/a.txt",
    ] {
        store
            .sum_of(&["s3://bucket/a.txt", url])
            .run()
            .refused(&[&format!("`{url}`")]);
    }
    assert_eq!(store.proxy.counts().requests, 0);
}

#[test]
fn an_empty_object_is_an_object() {
    let store = Store::start();
    let ran = store
        .sum_of(&["s3://bucket/empty.txt", "s3://bucket/a.txt"])
        .run()
        .code(0);
    ran.found("s3://bucket/empty.txt", json!([0, 0]));
    ran.found("s3://bucket/a.txt", sum_of_a());
}

#[test]
fn an_object_beyond_four_gigabytes_is_read_by_a_guest_of_64_mib() {
    const SIZE: u64 = 4_400_000_000;
    let store = Store::start();
    let file = fs::File::create(store.file("huge.bin")).unwrap();
    // Nothing but zeros, which take no room, and the last byte.
    std::os::unix::fs::FileExt::write_at(&file, &[7], SIZE - 1).unwrap();
    let ran = store
        .sum_of(&["s3://bucket/huge.bin"])
        .args(["--memory", "64MiB"])
        .run()
        .code(0);
    ran.found("s3://bucket/huge.bin", json!([SIZE, 7]));
    assert!(
        ran.of("s3://bucket/huge.bin")["bill"]["memory_peak_bytes"]
            .as_u64()
            .unwrap()
            <= 64 << 20,
        "{ran}"
    );
    assert_eq!(
        store.proxy.counts().objects["bucket/huge.bin"].body_bytes,
        SIZE
    );
}
