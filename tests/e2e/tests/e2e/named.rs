//! Objects that tasks make get the names that a pattern gives them.

use std::fs;
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
        .refused(&["inputs are values", "{index}"]);
    Sortie::map("echo", ["x", "-o", "out/{index}"])
        .run()
        .refused(&["names objects that tasks make", "returns none"]);
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
