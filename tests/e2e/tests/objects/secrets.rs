//! Keys, tokens and signatures are seen nowhere, whatever goes wrong and however much is said about
//! it.

use std::fs;
use std::path::Path;

use sortie_harness::{Fault, Operation, Ran, S3Server};

use crate::{Store, TOKEN, Told as _};

/// Parts of a signed request that only the store may see.
const SIGNED: [&str; 6] = [
    "AWS4-HMAC-SHA256",
    "Credential=",
    "X-Amz-Signature",
    "SignatureProvided",
    "StringToSign",
    "x-amz-security-token",
];

/// Look through all that a run said.
#[track_caller]
pub(crate) fn are_not_in(ran: &Ran) {
    let (id, secret) = S3Server::KEYS;
    for text in [&ran.stdout, &ran.stderr] {
        for part in [id, secret, TOKEN].into_iter().chain(SIGNED) {
            assert!(!text.contains(part), "`{part}` is in: {ran}");
        }
    }
}

/// Look through all files below a folder.
fn are_not_below(folder: &Path) {
    let (id, secret) = S3Server::KEYS;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            are_not_below(&path);
            continue;
        }
        let content = fs::read(&path).unwrap();
        for part in [id, secret, TOKEN] {
            assert!(
                !content
                    .windows(part.len())
                    .any(|bytes| bytes == part.as_bytes()),
                "`{part}` is in `{}`",
                path.display()
            );
        }
    }
}

#[test]
fn answers_that_repeat_keys_and_signatures_are_not_passed_on() {
    for fault in [
        Fault::ExpiredToken,
        Fault::InvalidAccessKeyId,
        Fault::SignatureDoesNotMatch,
        Fault::WrongRegion("eu-central-1"),
    ] {
        let store = Store::start();
        store
            .proxy
            .add(fault.clone().on(Operation::Any, "bucket/b.txt"));
        store
            .proxy
            .add(fault.clone().on(Operation::Get, "bucket/large.bin").nth(2));
        store.proxy.add(fault.clone().on(Operation::List, "bucket"));
        let output = store.folder.path().join("results.jsonl");
        let command = store
            .sum_of(&[
                "s3://bucket/a.txt",
                "s3://bucket/b.txt",
                "s3://bucket/large.bin",
            ])
            .args(["-v", "-v", "--retries", "1", "-o", output.to_str().unwrap()]);
        let ran = command.env("SORTIE_LOG", "trace").run().code(1);
        are_not_in(&ran);
        are_not_below(store.cache.path());
        let results = fs::read_to_string(&output).unwrap();
        assert!(
            results.contains("s3://bucket/b.txt") && results.contains("completed"),
            "{fault:?}: {results}"
        );
        fs::remove_dir_all(store.folder.path().join("bucket")).unwrap();
        are_not_below(store.folder.path());
        let ran = store
            .sum_of(&["s3://bucket/*.txt"])
            .args(["-v", "-v"])
            .env("SORTIE_LOG", "trace")
            .run()
            .code(2);
        are_not_in(&ran);
    }
}

#[test]
fn nothing_that_a_run_without_errors_says_or_keeps_has_them() {
    let store = Store::start();
    let ran = store.proxy.for_command(
        sortie_harness::Sortie::map("sum_of", ["s3://bucket/*.txt"]).cache(store.cache.path()),
    );
    let ran = ran
        .env("AWS_SESSION_TOKEN", TOKEN)
        .args(["-v", "-v"])
        .env("SORTIE_LOG", "trace")
        .run()
        .code(0);
    assert_eq!(ran.endings(), ["completed"; 4]);
    are_not_below(store.cache.path());
}
