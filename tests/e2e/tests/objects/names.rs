//! Names are what the user wrote, byte for byte: in S3, at Google and Azure, in listings, as
//! outputs, and on this machine. Exactly the object that was named is read, or one task fails and
//! names it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use sortie_harness::{BucketServer, Dialect, MotoServer, Ran, S3Server, Sortie};
use tempfile::TempDir;

use crate::Told as _;

thread_local! {
    /// One for all runs of a test.
    static CACHE: TempDir = sortie_harness::cache();
}

fn sum_of<'a>(inputs: impl IntoIterator<Item = &'a str>) -> Sortie {
    CACHE.with(|cache| {
        Sortie::map("sum_of", inputs)
            .args(["--fresh"])
            .cache(cache.path())
    })
}

fn told(command: Sortie) -> Ran {
    let ran = command.run();
    crate::secrets::are_not_in(&ran);
    ran
}

/// The command, with this server for the service of the scheme.
fn at(scheme: &str, bucket: &BucketServer, command: Sortie) -> Sortie {
    match scheme {
        "s3" => command
            .env("AWS_ENDPOINT_URL", bucket.endpoint())
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "hidden"),
        "gs" => command.env("STORAGE_EMULATOR_HOST", bucket.endpoint()),
        _ => command
            .env("AZURE_STORAGE_ACCOUNT", "account")
            .env("AZURE_STORAGE_KEY", "aGlkZGVu")
            .env(
                "AZURE_STORAGE_ENDPOINT",
                format!("{}/account", bucket.endpoint()),
            ),
    }
}

const SERVICES: [(&str, Dialect); 3] = [
    ("s3", Dialect::S3),
    ("gs", Dialect::S3),
    ("az", Dialect::Azure),
];

/// A sum that tells which of several objects was read: each has its own number of the letter `A`.
fn letters(count: usize) -> Value {
    json!([count, count * 65])
}

/// Sorted inputs and values of what completed.
fn completed(ran: &Ran) -> Vec<(String, Value)> {
    let mut found: Vec<_> = ran
        .records()
        .into_iter()
        .filter(|record| record["status"] == "completed")
        .map(|record| {
            (
                record["input"].as_str().unwrap_or_default().to_owned(),
                record["value"].clone(),
            )
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Keys that a path type would strip, refuse or encode, each with a content of its own length.
const KEYS: [&str; 16] = [
    "r.txt",
    "/r.txt",
    "//r.txt",
    "a/x.txt",
    "a//x.txt",
    "a/x.txt/",
    "br1.txt",
    "br[1].txt",
    "st*r.txt",
    "stxr.txt",
    "q?.txt",
    "100%/%2e%41.txt",
    "caf\u{e9}#{c}|d\\^`\"<>~/ y .txt",
    "n/new\nline\ttab\rcr.txt",
    "..two/...dots",
    "x#bytes=1-2",
];

fn content(index: usize) -> String {
    "A".repeat(index + 1)
}

fn bucket_of_keys(dialect: Dialect) -> BucketServer {
    let contents: Vec<String> = (0..KEYS.len()).map(content).collect();
    let objects: Vec<(&str, &str)> = KEYS
        .into_iter()
        .zip(contents.iter().map(String::as_str))
        .collect();
    BucketServer::start(dialect, &objects)
}

#[test]
fn every_key_is_read_as_it_was_named_and_listed_once() {
    for (scheme, dialect) in SERVICES {
        let bucket = bucket_of_keys(dialect);
        let urls: Vec<String> = KEYS
            .iter()
            .map(|key| format!("{scheme}://box/{key}"))
            .collect();
        let mut expected: Vec<_> = urls
            .iter()
            .enumerate()
            .map(|(index, url)| (url.clone(), letters(index + 1)))
            .collect();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        // As they are named, one by one.
        let literal = sum_of(urls.iter().map(String::as_str)).args(["--literal"]);
        let ran = told(at(scheme, &bucket, literal)).code(0);
        assert_eq!(completed(&ran), expected, "{scheme}");
        // From a listing.
        let all = format!("{scheme}://box/**");
        let ran = told(at(scheme, &bucket, sum_of([all.as_str()]))).code(0);
        assert_eq!(completed(&ran), expected, "{scheme}");
        // Below a prefix.
        let whole = format!("{scheme}://box/");
        let listed = Sortie::call("lists", [whole.as_str(), "\"\""]);
        let ran = told(at(scheme, &bucket, listed)).code(0);
        let mut names: Vec<(String, usize)> = serde_json::from_value(ran.value()).unwrap();
        names.sort();
        let mut keys: Vec<(String, usize)> = KEYS
            .iter()
            .zip(1..)
            .map(|(key, size)| ((*key).to_owned(), size))
            .collect();
        keys.sort();
        assert_eq!(names, keys, "{scheme}");
        let below = Sortie::call(
            "reads_below",
            [format!("{scheme}://box/a/"), "/x.txt".into()],
        );
        let ran = told(at(scheme, &bucket, below)).code(0);
        assert_eq!(ran.value(), content(4), "{scheme}");
    }
}

#[test]
fn what_is_sent_is_what_is_signed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bucket")).unwrap();
    let names = [
        "br[1]*?.txt",
        "100%25.txt",
        "caf\u{e9}#{c}|~^`.txt",
        "a b+c&d=e;:@,$!.txt",
        "quote\"'()\\<>.txt",
        "x#bytes=0-0",
    ];
    for (index, name) in names.iter().enumerate() {
        fs::write(folder.path().join("bucket").join(name), content(index)).unwrap();
    }
    // It checks signatures.
    let server = S3Server::start(folder.path());
    let urls = names.map(|name| format!("s3://bucket/{name}"));
    let named = sum_of(urls.iter().map(String::as_str)).args(["--literal"]);
    let ran = told(server.for_command(named)).code(0);
    for (index, url) in urls.iter().enumerate() {
        ran.found(url, letters(index + 1));
    }
    let ran = told(server.for_command(sum_of(["s3://bucket/**"]))).code(0);
    assert_eq!(completed(&ran).len(), names.len());
    // Keys that no folder can hold are signed as well.
    let odd = ["s3://bucket/a//b", "s3://bucket/a/"];
    let ran = told(server.for_command(sum_of(odd))).code(1);
    for url in odd {
        ran.failed(url, "input-missing", &[]);
    }
    let output = "s3://bucket/out [1]+\u{e9}%.jsonl";
    let command = sum_of([urls[1].as_str()]).args(["-o", output]);
    let _ = told(server.for_command(command)).code(0);
    assert!(folder.path().join("bucket/out [1]+\u{e9}%.jsonl").is_file());
}

#[test]
fn moto_has_the_same_names() {
    let server = match MotoServer::start() {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    server.create_bucket("bucket");
    let keys = [
        "r.txt",
        "a//x.txt",
        "a/x.txt",
        "a/x.txt/",
        "br[1].txt",
        "100%/a.txt",
        "caf\u{e9}/#~.txt",
    ];
    for (index, key) in keys.iter().enumerate() {
        server.put("bucket", key, content(index).as_bytes());
    }
    let urls = keys.map(|key| format!("s3://bucket/{key}"));
    let mut expected: Vec<_> = urls.iter().cloned().zip((1..).map(letters)).collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let literal = sum_of(urls.iter().map(String::as_str)).args(["--literal"]);
    for command in [literal, sum_of(["s3://bucket/**"])] {
        let ran = told(server.for_command(command)).code(0);
        assert_eq!(completed(&ran), expected);
    }
}

#[test]
fn a_pattern_below_a_folder_of_any_name_finds_what_is_there() {
    for (scheme, dialect) in SERVICES {
        for (index, folder) in [
            "plain dir",
            "caf\u{e9}",
            "100%",
            "tilde~dir",
            "hash#dir",
            "{c}",
            "pipe|d",
            "date=2024-01-01 00%3A00%3A00",
            "",
            "a//",
        ]
        .into_iter()
        .enumerate()
        {
            let (key, size) = (format!("{folder}/a.txt"), index + 1);
            let content = "A".repeat(size);
            let bucket = BucketServer::start(
                dialect,
                &[(key.as_str(), content.as_str()), ("other.txt", "B")],
            );
            let pattern = format!("{scheme}://box/{folder}/*.txt");
            let ran = told(at(scheme, &bucket, sum_of([pattern.as_str()]))).code(0);
            assert_eq!(
                completed(&ran),
                [(format!("{scheme}://box/{key}"), letters(size))],
                "{pattern}"
            );
        }
    }
}

#[test]
fn what_has_that_very_name_is_meant() {
    let bucket = bucket_of_keys(Dialect::S3);
    let folder = tempfile::tempdir().unwrap();
    for (key, size) in [("br[1].txt", 8), ("st*r.txt", 9), ("q?.txt", 11)] {
        let url = format!("s3://box/{key}");
        let lines = folder.path().join("lines");
        fs::write(&lines, format!("{url}\n")).unwrap();
        let named = sum_of([url.as_str()]);
        let from_lines = sum_of([]).args(["--inputs".as_ref(), lines.as_os_str()]);
        for command in [named, from_lines] {
            let ran = told(at("s3", &bucket, command)).code(0);
            assert_eq!(completed(&ran), [(url.clone(), letters(size))]);
        }
    }
    // Without such an object it is a pattern.
    let ran = told(at("s3", &bucket, sum_of(["s3://box/b?[1].txt"]))).code(0);
    assert_eq!(completed(&ran), [("s3://box/br1.txt".into(), letters(7))]);
}

#[test]
fn a_key_that_no_url_can_hold_is_one_failed_task_that_names_it() {
    for (scheme, dialect) in [SERVICES[0], SERVICES[2]] {
        let bucket = BucketServer::start(
            dialect,
            &[
                ("x/./a.txt", "A"),
                ("x/../b.txt", "A"),
                ("x/c.txt", "A"),
                ("b.txt", "AA"),
            ],
        );
        let pattern = format!("{scheme}://box/x/**");
        let ran = told(at(scheme, &bucket, sum_of([pattern.as_str()]))).code(1);
        ran.found(&format!("{scheme}://box/x/c.txt"), letters(1));
        for key in ["x/./a.txt", "x/../b.txt"] {
            ran.failed(
                &format!("{scheme}://box/{key}"),
                "input-malformed",
                &["segment"],
            );
        }
        assert_eq!(ran.records().len(), 3);
    }
    // Google's keys are one segment on the wire.
    let bucket = BucketServer::start(Dialect::S3, &[("x/../b.txt", "AAA"), ("b.txt", "A")]);
    let ran = told(at("gs", &bucket, sum_of(["gs://box/x/../b.txt"]))).code(0);
    assert_eq!(
        completed(&ran),
        [("gs://box/x/../b.txt".into(), letters(3))]
    );
}

#[test]
fn what_stands_for_a_folder_is_no_input_unless_it_is_named() {
    let bucket = BucketServer::start(
        Dialect::S3,
        &[
            ("d/", ""),
            ("d/one.txt", "A"),
            ("d/sub/", ""),
            ("d/sub/three.txt", "AAA"),
            ("trail.txt/", "AA"),
        ],
    );
    let found = |pattern: &str| {
        let ran = told(at("s3", &bucket, sum_of([pattern]))).code(0);
        let names = completed(&ran).into_iter();
        names
            .map(|(name, _)| name.replace("s3://box/", ""))
            .collect::<Vec<_>>()
    };
    assert_eq!(found("s3://box/d/*"), ["d/one.txt"]);
    assert_eq!(
        found("s3://box/**"),
        ["d/one.txt", "d/sub/three.txt", "trail.txt/"]
    );
    assert_eq!(found("s3://box/d/"), ["d/"]);
    assert_eq!(found("s3://box/*/"), ["d/", "trail.txt/"]);
}

#[test]
fn an_output_is_written_where_it_was_named() {
    for (scheme, dialect) in SERVICES {
        let bucket = BucketServer::start(dialect, &[("r.txt", "A"), ("x.jsonl", "kept")]);
        let (input, output) = (
            format!("{scheme}://box/r.txt"),
            format!("{scheme}://box//x.jsonl"),
        );
        let command = sum_of([input.as_str()]).args(["-o", output.as_str()]);
        let ran = at(scheme, &bucket, command).run().code(0);
        crate::secrets::are_not_in(&ran);
        assert_eq!(bucket.content("x.jsonl").unwrap(), "kept", "{scheme}");
        let written = bucket.content("/x.jsonl").expect("the output");
        assert!(
            String::from_utf8_lossy(&written).contains("r.txt"),
            "{written:?}"
        );
    }
}

#[test]
fn a_version_that_is_named_is_read() {
    let bucket = BucketServer::start(Dialect::S3, &[("k", "A"), ("k?versionId=v.1", "AAAA")]);
    bucket.keep_version("k", "v.1", "AAA");
    let url = "s3://box/k?versionId=v.1";
    let (part, gone) = (
        "s3://box/k?versionId=v.1#bytes=1-",
        "s3://box/k?versionId=v.2",
    );
    let ran = told(at("s3", &bucket, sum_of(["s3://box/k", url, part, gone]))).code(1);
    ran.found("s3://box/k", letters(1));
    ran.found(url, letters(3));
    ran.found(part, letters(2));
    assert_eq!(ran.of(gone)["error"]["code"], "input-missing", "{ran}");
    let ran = told(at("s3", &bucket, sum_of([url]).args(["--literal"]))).code(0);
    ran.found(url, letters(4));
}

#[test]
fn a_bucket_whose_name_bends_a_url_is_refused_before_anything_is_asked() {
    let bucket = BucketServer::start(Dialect::S3, &[("k", "A")]);
    for url in [
        "s3://victim?policy&x=/k",
        "s3://../k",
        "s3://b#/k",
        "s3://b%2fc/k",
        "s3://a@b/k",
        "gs://../k",
    ] {
        let scheme = &url[..2];
        at(scheme, &bucket, sum_of([url]))
            .run()
            .refused(&["bucket's name"]);
    }
    assert!(bucket.asked().is_empty());
}

#[test]
fn local_files_of_any_name_are_each_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let names: [&[u8]; 7] = [
        b"a",
        b"a#bytes=0-0",
        b"latin\xe9.txt",
        b"new\nline.txt",
        b"page#1",
        b"tab\t.txt",
        b"[x]*.txt",
    ];
    fs::create_dir(folder.path().join("w")).unwrap();
    for (index, name) in names.iter().enumerate() {
        fs::write(
            folder.path().join("w").join(OsStr::from_bytes(name)),
            content(index),
        )
        .unwrap();
    }
    let ran = told(sum_of(["w/*"]).folder(folder.path())).code(0);
    let mut sums: Vec<Value> = completed(&ran)
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    sums.sort_by_key(|sum| sum[0].as_u64());
    assert_eq!(sums, (1..=7).map(letters).collect::<Vec<_>>());
    ran.found("w/a#bytes=0-0", letters(2));
    ran.found("w/page#1", letters(5));
    let ran = told(sum_of(["w/[x]*.txt"]).folder(folder.path())).code(0);
    assert_eq!(completed(&ran), [("w/[x]*.txt".into(), letters(7))]);
    let ran = told(sum_of(["latin?.txt"]).folder(folder.path().join("w"))).code(0);
    assert_eq!(completed(&ran)[0].1, letters(3));
}

#[test]
fn a_wildcard_in_the_name_of_the_working_folder_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("[ab]", "A"), ("a", "AA")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("x.txt"), content).unwrap();
    }
    let ran = told(sum_of(["*.txt"]).folder(folder.path().join("[ab]"))).code(0);
    assert_eq!(completed(&ran), [("x.txt".into(), letters(1))]);
}

#[test]
fn links_that_lead_back_cost_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["d", "e"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.txt"), "A").unwrap();
    }
    symlink(".", folder.path().join("d/loop")).unwrap();
    symlink(".", folder.path().join("e/l1")).unwrap();
    symlink(".", folder.path().join("e/l2")).unwrap();
    symlink("nowhere", folder.path().join("d/dangling.txt")).unwrap();
    for (pattern, file) in [
        ("e/**/*.txt", "e/a.txt"),
        ("e/**", "e/a.txt"),
        ("**/a.txt", "d/a.txt"),
        ("e/l1/*.txt", "e/l1/a.txt"),
    ] {
        let ran = told(sum_of([pattern]).folder(folder.path())).code(0);
        assert_eq!(completed(&ran)[0], (file.into(), letters(1)), "{pattern}");
        let expected = if pattern.starts_with("**") { 2 } else { 1 };
        assert_eq!(ran.records().len(), expected, "{pattern}");
    }
    // A link that leads nowhere is a name that matches: its task says what is wrong.
    let ran = told(sum_of(["d/**/*.txt"]).folder(folder.path())).code(1);
    assert_eq!(completed(&ran), [("d/a.txt".into(), letters(1))]);
    assert_eq!(ran.of("d/dangling.txt")["error"]["code"], "input-missing");
}
