//! `sortie map` over objects: files, patterns, web servers and S3.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sortie_harness::{Ran, S3Server, Sortie, WebServer};
use tempfile::TempDir;

use crate::{endings, sorted};

/// Folders with files: `bucket/{a,b}.txt`, `bucket/deep/c.txt`, and a large one,
/// `bucket/large.bin`.
fn files() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("bucket/deep")).unwrap();
    for (name, content) in [("a.txt", "A"), ("b.txt", "BB"), ("deep/c.txt", "CCC")] {
        fs::write(folder.path().join("bucket").join(name), content).unwrap();
    }
    fs::write(folder.path().join("bucket/large.bin"), vec![1; 20 << 20]).unwrap();
    folder
}

fn sum_of(folder: &Path, inputs: &[&str]) -> Sortie {
    Sortie::map("sum_of", inputs).folder(folder)
}

/// Inputs with their values.
fn found(ran: &Ran) -> Vec<(String, Value)> {
    sorted(ran)
        .iter()
        .map(|record| {
            (
                record["input"].as_str().unwrap().to_owned(),
                record["value"].clone(),
            )
        })
        .collect()
}

fn expect(pairs: &[(&str, Value)]) -> Vec<(String, Value)> {
    pairs
        .iter()
        .map(|(input, value)| ((*input).to_owned(), value.clone()))
        .collect()
}

#[test]
fn files_and_patterns_are_found_and_shown_as_they_were_written() {
    let folder = files();
    let ran = sum_of(folder.path(), &["bucket/b.txt", "bucket/*.txt"])
        .run()
        .code(0);
    let (a, b, c) = (json!([1, 65]), json!([2, 132]), json!([3, 201]));
    assert_eq!(
        found(&ran),
        expect(&[
            ("bucket/b.txt", b.clone()),
            ("bucket/a.txt", a.clone()),
            ("bucket/b.txt", b.clone())
        ])
    );
    let absolute = folder.path().join("bucket/**/c.txt").display().to_string();
    let ran = sum_of(folder.path(), &[&absolute]).run().code(0);
    assert_eq!(
        found(&ran),
        expect(&[(&absolute.replace("**", "deep"), c.clone())])
    );
    let url = format!("file://{}", folder.path().join("bucket/a.txt").display());
    assert_eq!(
        found(&sum_of(folder.path(), &[&url]).run().code(0)),
        expect(&[(&url, a.clone())])
    );
    let lines = "bucket/a.txt\nbucket/[bc].txt\n";
    let ran = sum_of(folder.path(), &["--inputs", "-"])
        .input(lines)
        .run()
        .code(0);
    assert_eq!(
        found(&ran),
        expect(&[("bucket/a.txt", a), ("bucket/b.txt", b)])
    );
}

#[test]
fn objects_and_values_are_mixed_as_the_function_wants_them() {
    let folder = files();
    let range = Sortie::map(
        "reads_range",
        ["bucket/deep/c.txt", "--arg", "offset=1", "--arg", "len=9"],
    )
    .folder(folder.path());
    assert_eq!(sorted(&range.run().code(0))[0]["value"], "Q0M=");
    let two = Sortie::map(
        "two_objects",
        [
            "bucket/a.txt",
            "bucket/deep/c.txt",
            "--arg",
            "b=bucket/b.txt",
        ],
    )
    .folder(folder.path());
    let records = sorted(&two.run().code(0));
    assert_eq!(records[1]["value"], json!([["c.txt", 201], ["b.txt", 132]]));
    let all = Sortie::map("two_objects", [r#"["bucket/a.txt", "bucket/b.txt"]"#])
        .folder(folder.path())
        .run()
        .code(0);
    assert_eq!(all.value()["value"], json!([["a.txt", 65], ["b.txt", 132]]));
    let call = Sortie::call("two_objects", ["bucket/a.txt", "bucket/b.txt"])
        .folder(folder.path())
        .run()
        .code(0);
    assert_eq!(call.value(), json!([["a.txt", 65], ["b.txt", 132]]));
}

#[test]
fn a_missing_line_fails_its_own_task() {
    let folder = files();
    let ran = sum_of(folder.path(), &["--inputs", "-"])
        .input("bucket/a.txt\nbucket/z.txt\nbucket/b.txt\n")
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["completed", "input-missing", "completed"]);
    assert_eq!(sorted(&ran)[1]["error"]["blame"], "input");
}

#[test]
fn files_of_a_web_server_are_read_and_queries_are_not_shown() {
    let folder = files();
    let web = WebServer::start(folder.path());
    let inputs = [
        web.url("bucket/a.txt?signature=secret"),
        web.url("bucket/z.txt"),
        web.url("bucket/large.bin"),
    ];
    let ran = Sortie::map("sum_of", &inputs).run().code(1);
    assert_eq!(endings(&ran), ["completed", "input-missing", "completed"]);
    let records = sorted(&ran);
    assert_eq!(
        (&records[0]["value"], &records[2]["value"]),
        (&json!([1, 65]), &json!([20 << 20, 20 << 20]))
    );
    assert_eq!(records[0]["input"], web.url("bucket/a.txt"));
    assert!(
        !ran.stdout.contains("secret") && !ran.stderr.contains("secret"),
        "{ran}"
    );
    assert!(records[2]["bill"]["bytes_in"].as_u64().unwrap() >= 20 << 20);
}

#[test]
fn buckets_are_listed_and_read() {
    let folder = files();
    let s3 = S3Server::start(folder.path());
    let map = |inputs: &[&str]| s3.for_command(Sortie::map("sum_of", inputs));
    let ran = map(&["s3://bucket/*.txt", "s3://bucket/deep/c.txt"])
        .run()
        .code(0);
    let expected = [
        ("s3://bucket/a.txt", json!([1, 65])),
        ("s3://bucket/b.txt", json!([2, 132])),
        ("s3://bucket/deep/c.txt", json!([3, 201])),
    ];
    assert_eq!(found(&ran), expect(&expected));
    assert_eq!(
        found(&map(&["s3://bucket/**/*.txt"]).run().code(0)),
        expect(&expected)
    );
    let ran = map(&["s3://bucket/z.txt", "s3://bucket/large.bin"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["input-missing", "completed"]);
    map(&["s3://bucket/*.pdf"])
        .run()
        .refused(&["nothing matches `s3://bucket/*.pdf`"]);
}

#[test]
fn wrong_keys_are_the_inputs_fault_and_are_not_shown() {
    let folder = files();
    let s3 = S3Server::start(folder.path());
    let ran = s3
        .for_command(Sortie::map("sum_of", ["s3://bucket/a.txt"]))
        .env("AWS_SECRET_ACCESS_KEY", "wrong-one")
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["input-denied"]);
    assert!(
        !ran.stdout.contains("wrong-one") && !ran.stderr.contains("wrong-one"),
        "{ran}"
    );
}

#[test]
fn keys_come_from_a_profile() {
    let folder = files();
    let s3 = S3Server::start(folder.path());
    let (id, secret) = S3Server::KEYS;
    let credentials =
        format!("[work]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    fs::write(folder.path().join("credentials"), credentials).unwrap();
    fs::write(
        folder.path().join("config"),
        format!("[profile work]\nendpoint_url = {}\n", s3.endpoint()),
    )
    .unwrap();
    let command = Sortie::map("sum_of", ["s3://bucket/a.txt"]).env("AWS_PROFILE", "work");
    let command = command.env(
        "AWS_SHARED_CREDENTIALS_FILE",
        folder.path().join("credentials"),
    );
    let ran = command
        .env("AWS_CONFIG_FILE", folder.path().join("config"))
        .run()
        .code(0);
    assert_eq!(ran.value()["value"], json!([1, 65]));
}

#[test]
fn results_over_objects_are_kept_until_the_object_changes() {
    let folder = files();
    let cache = sortie_harness::cache();
    let (web, s3) = (
        WebServer::start(folder.path()),
        S3Server::start(folder.path()),
    );
    let url = web.url("bucket/large.bin");
    let run = || {
        s3.for_command(sum_of(
            folder.path(),
            &["bucket/large.bin", "s3://bucket/large.bin", &url],
        ))
        .cache(cache.path())
        .run()
        .code(0)
    };
    let cached = |ran: &Ran| {
        sorted(ran)
            .iter()
            .map(|record| record["bill"]["cached"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(cached(&run()), [false; 3]);
    let second = run();
    assert_eq!(cached(&second), [true; 3]);
    fs::write(folder.path().join("bucket/large.bin"), vec![2; 20 << 20]).unwrap();
    let third = run();
    assert_eq!(cached(&third), [false; 3]);
    assert_eq!(sorted(&third)[1]["value"], json!([20 << 20, 40 << 20]));
}
