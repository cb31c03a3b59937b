//! Lists of objects as one argument.

use std::fs;
use std::path::Path;

use serde_json::json;
use sortie_harness::{Ran, S3Server, Sortie};
use tempfile::TempDir;

use crate::{endings, sorted};

/// A folder with three files, one of which has a name that looks like a pattern.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("b.txt", "bb"), ("a.txt", "a"), ("c[1].txt", "ccc")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn map(folder: &Path, function: &str, inputs: &[&str]) -> Sortie {
    Sortie::map(function, inputs).folder(folder)
}

/// What a run answered for its inputs, in their order.
fn values(ran: &Ran) -> Vec<serde_json::Value> {
    let mut records = sorted(ran);
    records
        .iter_mut()
        .map(|record| record["value"].take())
        .collect()
}

#[test]
fn a_pattern_or_an_array_of_names_is_one_list() {
    let folder = folder();
    let all = json!([["a.txt", 1, null], ["b.txt", 2, 98], ["c[1].txt", 3, 99]]);
    let two = json!([["b.txt", 2, 98], ["a.txt", 1, null]]);
    let inputs = ["*.txt", r#"["b.txt", "a.txt"]"#, "[]"];
    let ran = map(folder.path(), "names_of", &inputs)
        .args(["--arg", "offset=1"])
        .run()
        .code(0);
    assert_eq!(values(&ran), [all, two, json!([])]);
    // Among several arguments an array of names, each taken as that of one object.
    let ran = map(
        folder.path(),
        "names_of",
        &[r#"[["b.txt", "c[1].txt"], 2]"#],
    )
    .run()
    .code(0);
    assert_eq!(
        values(&ran),
        [json!([["b.txt", 2, null], ["c[1].txt", 3, 99]])]
    );
    // Fixed for all tasks.
    let ran = map(folder.path(), "names_of", &["0", "2"])
        .args(["--arg", "objects=[ab].txt"])
        .run()
        .code(0);
    assert_eq!(
        values(&ran),
        [
            json!([["a.txt", 1, 97], ["b.txt", 2, 98]]),
            json!([["a.txt", 1, null], ["b.txt", 2, null]])
        ]
    );
    let called = Sortie::call("names_of", ["*.txt", "0"]).folder(folder.path());
    assert_eq!(called.run().code(0).value()[2], json!(["c[1].txt", 3, 99]));
}

#[test]
fn objects_of_a_bucket_are_a_list_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("parts/of")).unwrap();
    for number in 0..70 {
        fs::write(folder.path().join(format!("parts/of/{number:02}")), "x").unwrap();
    }
    let s3 = S3Server::start(folder.path());
    let ran = s3
        .for_command(Sortie::map("names_of", ["s3://parts/of/*"]).args(["--arg", "offset=0"]))
        .run()
        .code(0);
    let named = values(&ran).remove(0);
    let names: Vec<_> = named.as_array().unwrap().iter().map(|of| &of[0]).collect();
    let expected: Vec<_> = (0..70).map(|number| format!("{number:02}")).collect();
    assert_eq!(names, expected.iter().collect::<Vec<_>>());
}

#[test]
fn results_over_lists_are_kept_until_one_of_the_objects_changes() {
    let (folder, cache) = (folder(), sortie_harness::cache());
    let run = |names: &str| {
        let ran = map(folder.path(), "names_of", &[names])
            .args(["--arg", "offset=0"])
            .cache(cache.path())
            .run()
            .code(0);
        let cached = sorted(&ran)[0]["bill"]["cached"].as_bool();
        (values(&ran).remove(0)[0][2].clone(), cached.unwrap())
    };
    assert_eq!(run("*.txt"), (json!(97), false));
    assert_eq!(run("*.txt"), (json!(97), true));
    // Another order is another list.
    assert_eq!(run(r#"["b.txt", "a.txt", "c[1].txt"]"#), (json!(98), false));
    fs::write(folder.path().join("a.txt"), "z and more").unwrap();
    assert_eq!(run("*.txt"), (json!(122), false));
}

#[test]
fn objects_are_merged_in_a_tree() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("parts")).unwrap();
    for number in 0..20 {
        let path = folder.path().join(format!("parts/{number:02}"));
        fs::write(path, format!("{number:02} ")).unwrap();
    }
    let ran = map(folder.path(), "copies", &["parts/*"])
        .args([
            "--reduce",
            "concatenates",
            "--fan-in",
            "4",
            "--output",
            "merged-{index}",
        ])
        .run()
        .code(0);
    let merged = fs::read_to_string(folder.path().join("merged-0"))
        .unwrap_or_else(|error| panic!("{error}: {ran}"));
    let expected: String = (0..20).map(|number| format!("{number:02} ")).collect();
    assert_eq!(merged, expected);
    map(folder.path(), "sum_of", &["parts/*"])
        .args(["--reduce", "concatenates"])
        .run()
        .refused(&["takes a list of objects, but `sum_of(", "returns"]);
    map(folder.path(), "copies", &["parts/*"])
        .args(["--then", "concatenates"])
        .run()
        .refused(&[
            "takes a list of objects, but `copies(",
            "returns one object",
        ]);
}

#[test]
fn lists_that_cannot_be_are_refused_or_fail_their_own_task() {
    let folder = folder();
    let fixed = |names: &str, offset: &'static str| {
        map(folder.path(), "names_of", &[offset]).args(["--arg", &format!("objects={names}")])
    };
    fixed("missing.txt", "0").run().refused(&["missing.txt"]);
    fixed("*.pdf", "0").run().refused(&["*.pdf", "nothing"]);
    map(folder.path(), "names_of", &["[5, 1]"]).run().refused(&[
        "parameter `objects` takes a list of objects",
        "array of strings, not 5",
    ]);
    map(folder.path(), "names_of", &[r#"[["a.txt", 5], 1]"#])
        .run()
        .refused(&["array of strings, not 5"]);
    let ran = map(
        folder.path(),
        "names_of",
        &[r#"[["a.txt", "gone"], 0]"#, r#"[["a.txt"], 0]"#],
    )
    .run()
    .code(1);
    assert_eq!(endings(&ran), ["input-missing", "completed"]);
    // More than a list may have, and more than the memory limit pays for.
    for number in 0..1001 {
        fs::write(folder.path().join(format!("{number}.part")), "").unwrap();
    }
    fixed("*.part", "0")
        .run()
        .refused(&["more than 1000 objects"]);
    fs::remove_file(folder.path().join("0.part")).unwrap();
    let ran = fixed("*.part", "0").run().code(0);
    assert_eq!(values(&ran)[0].as_array().unwrap().len(), 1000);
    let ran = fixed("*.part", "0")
        .args(["--memory", "64MiB"])
        .run()
        .code(1);
    assert_eq!(endings(&ran), ["input-malformed"]);
    sorted(&ran)[0]["error"]["message"]
        .as_str()
        .filter(|message| message.contains("1000 objects") && message.contains("512"))
        .unwrap_or_else(|| panic!("{ran}"));
}
