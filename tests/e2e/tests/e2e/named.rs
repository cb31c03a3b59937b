//! Objects that tasks make get the names that a pattern gives them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;
use sortie_harness::{Ran, S3Server, Sortie};

use crate::{endings, sorted};

fn inputs(folder: &Path) {
    for (path, text) in [
        ("a/x.txt", "one"),
        ("b/y.tar.gz", "two"),
        ("b/x.txt", "three"),
    ] {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn copies(folder: &Path, words: &[&str]) -> Ran {
    Sortie::map("copies", words)
        .folder(folder)
        .cache(&folder.join("cache"))
        .run()
}

#[test]
fn objects_are_under_the_names_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    let words = ["a/x.txt", "b/y.tar.gz", "-o", "out/{stem}.copy"];
    for known in [false, true] {
        let ran = copies(folder.path(), &words).code(0);
        let records = sorted(&ran);
        assert_eq!(records[0]["bill"]["cached"], json!(known));
        for (record, (name, text)) in records
            .iter()
            .zip([("x.copy", "one"), ("y.tar.copy", "two")])
        {
            let path = folder.path().join("out").join(name);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(
                record["object"]["url"],
                format!("file://{}", path.display())
            );
            fs::remove_file(path).unwrap();
        }
    }
    let digest = sortie::protocol::Digest::of(b"three").to_hex();
    let _ = copies(folder.path(), &["b/x.txt", "-o", "{index}-{digest}"]).code(0);
    assert!(folder.path().join(format!("0-{digest}")).is_file());
}

#[test]
fn results_and_names_go_where_each_was_told() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    fs::create_dir(folder.path().join("out")).unwrap();
    let server = S3Server::start(folder.path());
    let sizes: Vec<String> = (0..40).map(|n| format!("[{}, null]", n * 1000)).collect();
    let ran = server
        .for_command(
            Sortie::map("makes_object", &sizes)
                .args(["-o", "r.csv", "-o", "s3://out/n/{index}.bin"])
                .folder(folder.path()),
        )
        .run()
        .code(0);
    assert_eq!(ran.stdout, "");
    let table = sortie_e2e::tables::Table::csv(&folder.path().join("r.csv"));
    for n in 0..40u64 {
        let url = format!("s3://out/n/{n}.bin");
        assert_eq!(table.row(n)["url"], url);
        let path = folder.path().join(format!("out/n/{n}.bin"));
        assert_eq!(fs::metadata(path).unwrap().len(), n * 1000);
    }
}

#[test]
fn names_that_cannot_be_given_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    let refused = |words: &[&str], parts: &[&str]| {
        copies(folder.path(), words).refused(parts);
        assert!(!folder.path().join("out").exists());
    };
    refused(
        &["a/x.txt", "b/x.txt", "-o", "out/{stem}"],
        &[
            "--output",
            "out/x` would be the name of two objects",
            "`b/x.txt`",
            "{index}",
        ],
    );
    refused(
        &["*/x.txt", "-o", "out/{stem}"],
        &["would be the name of two objects"],
    );
    fs::write(folder.path().join("list"), "a/x.txt\nb/x.txt\n").unwrap();
    refused(
        &["--inputs", "list", "-o", "out/{stem}"],
        &["line 2 of `list`", "would be the name of two objects"],
    );
    refused(
        &["a/x.txt", "-o", "out/{name}"],
        &["`{name}` stands for nothing", "{stem}, {index}, {digest}"],
    );
    refused(
        &["a/x.txt", "-o", "{stem}.txt", "-o", "{stem}"],
        &["second one"],
    );
    refused(&["a/x.txt", "-o", "a/{stem}.txt"], &["would replace it"]);
    refused(&["a/x.txt", "-o", "https://host/{stem}"], &["web server"]);
    Sortie::map("makes_object", ["[1, null]", "-o", "{stem}"])
        .run()
        .refused(&["have no names", "{index}"]);
    Sortie::map("echo", ["x", "-o", "out/{index}"])
        .run()
        .refused(&["names objects that tasks make", "returns none"]);
}

#[test]
fn where_objects_cannot_be_written_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    fs::write(folder.path().join("r.jsonl"), "precious\n").unwrap();
    let words = ["a/x.txt", "-o", "a/x.txt/{stem}", "-o", "r.jsonl"];
    copies(folder.path(), &words).refused(&["--output", "a part of its path is a file"]);
    let open = fs::Permissions::from_mode(0o755);
    for name in ["shut", "shut/below"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::set_permissions(folder.path().join(name), open.clone()).unwrap();
    }
    fs::set_permissions(folder.path(), open).unwrap();
    let copy = folder.path().join("behaviours.wasm");
    fs::copy(sortie_harness::component("behaviours"), &copy).unwrap();
    fs::set_permissions(copy, fs::Permissions::from_mode(0o644)).unwrap();
    for mode in ["shut", "shut/below"] {
        let path = folder.path().join(mode);
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    for pattern in [
        "shut/{stem}",
        "shut/new/{stem}",
        "shut/below/{stem}/{index}",
    ] {
        let words = ["map", "behaviours.wasm", "copies", "a/x.txt", "-o", pattern];
        let command = Sortie::new(words).folder(folder.path());
        // The superuser writes everywhere, so the command runs as nobody.
        let command = if rustix::process::geteuid().is_root() {
            command.user(65_534)
        } else {
            command
        };
        command
            .run()
            .refused(&["--output", "shut/", "may not be written to"]);
    }
    let left = fs::read_to_string(folder.path().join("r.jsonl")).unwrap();
    assert_eq!(left, "precious\n");
}

#[test]
fn a_bucket_that_takes_no_objects_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    let store = tempfile::tempdir().unwrap();
    fs::create_dir(store.path().join("out")).unwrap();
    let read_only = S3Server::start_read_only(store.path());
    let server = S3Server::start(store.path());
    for (server, pattern, parts) in [
        (
            &read_only,
            "s3://out/{stem}.txt",
            ["`s3://out/{stem}.txt`", "credentials"],
        ),
        (
            &server,
            "s3://nowhere/{stem}",
            ["no such bucket", "create it"],
        ),
    ] {
        let command = Sortie::map("copies", ["a/x.txt", "-o", pattern]);
        let ran = server.for_command(command.folder(folder.path())).run();
        ran.refused(&[&["--output"], &parts[..]].concat());
    }
    assert_eq!(fs::read_dir(store.path().join("out")).unwrap().count(), 0);
}

#[test]
fn where_inputs_come_one_by_one_the_second_of_a_name_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path());
    let ran = Sortie::map("copies", ["--inputs", "-", "-o", "out/{stem}", "--ordered"])
        .folder(folder.path())
        .input("a/x.txt\nb/x.txt\n")
        .run()
        .code(2)
        .says(&["would be the name of two objects"]);
    assert!(endings(&ran).len() <= 1, "{ran}");
}

#[test]
fn without_a_store_a_function_that_makes_objects_is_refused_before_anything_runs() {
    for ran in [
        Sortie::map("makes_object", ["[1, null]"]),
        Sortie::call("makes_object", ["1", "null"]),
    ] {
        ran.args(["--cache", "off"])
            .run()
            .refused(&["makes an object", "no store", "--store"]);
    }
}
