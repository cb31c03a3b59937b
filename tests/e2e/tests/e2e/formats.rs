//! How results are laid out and compressed, by the extension of their name.

use std::fs;
use std::io::Read as _;

use serde_json::json;
use sortie_e2e::tables::Table;
use sortie_harness::{Sortie, component};

fn written(output: &str, inputs: &[&str]) -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let _ = Sortie::map("mirrors", inputs)
        .args(["-o", output, "--ordered"])
        .folder(folder.path())
        .run()
        .code(0);
    let bytes = fs::read(folder.path().join(output)).unwrap();
    (folder, bytes)
}

#[test]
fn results_are_compressed_where_the_name_says_so() {
    let (_folder, plain) = written("r.jsonl", &["1", "2"]);
    let lines = String::from_utf8(plain).unwrap().lines().count();
    let (_folder, gzip) = written("r.jsonl.gz", &["1", "2"]);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*gzip)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!((text.lines().count(), lines), (2, 2));
    let (_folder, zstd) = written("r.jsonl.zst", &["1", "2"]);
    let text = zstd::decode_all(&*zstd).unwrap();
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), 2);
    let (_folder, gzip) = written("r.csv.gz", &["{\"a\":1}", "{\"a\":2}"]);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*gzip)
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with("index,input,status,a,rest,"), "{text}");
}

#[test]
fn tabs_stand_between_cells_where_the_name_says_so() {
    let (_folder, bytes) = written("r.tsv", &["{\"a\":\"x,y\",\"b\":\"p\\tq\"}"]);
    let text = String::from_utf8(bytes).unwrap();
    let header = text.lines().next().unwrap();
    assert!(
        header.starts_with("index\tinput\tstatus\ta\tb\trest\t"),
        "{text}"
    );
    assert!(text.contains("\tx,y\t\"p\tq\"\t"), "{text}");
}

#[test]
fn what_nests_is_nested_in_parquet() {
    let inputs = [
        r#"{"tags":["a","b"],"at":{"x":1,"y":0.5},"rows":[{"n":1},{"n":null,"m":"z"}]}"#,
        r#"{"tags":[],"at":null,"rows":[]}"#,
        r#"{"tags":[null],"at":{"x":2,"y":1.5},"rows":[{"n":7}]}"#,
    ];
    let (folder, _) = written("r.parquet", &inputs);
    let table = Table::parquet(&folder.path().join("r.parquet"));
    let row = |n| {
        let row = table.row(n);
        (row["tags"].clone(), row["at"].clone(), row["rows"].clone())
    };
    assert_eq!(
        row(0),
        (
            json!(["a", "b"]),
            json!({ "x": 1, "y": 0.5 }),
            json!([{ "n": 1, "m": null }, { "n": null, "m": "z" }])
        )
    );
    assert_eq!(row(1), (json!([]), json!(null), json!([])));
    assert_eq!(
        row(2),
        (
            json!([null]),
            json!({ "x": 2, "y": 1.5 }),
            json!([{ "n": 7, "m": null }])
        )
    );
    // What is not alike is text.
    let (folder, _) = written("r.parquet", &[r#"{"v":[1]}"#, r#"{"v":{"a":"b"}}"#]);
    let table = Table::parquet(&folder.path().join("r.parquet"));
    assert_eq!(table.row(0)["v"], "[1]");
    assert_eq!(table.row(1)["v"], r#"{"a":"b"}"#);
}

#[test]
fn a_table_that_is_not_written_is_refused_with_those_that_are() {
    for output in [
        "r.xlsx",
        "r.arrow",
        "s3://bucket/r.feather",
        "r.orc",
        "r.avro",
    ] {
        Sortie::map("echo", ["x", "-o", output]).run().refused(&[
            "--output",
            output,
            ".csv, .tsv",
            ".parquet",
        ]);
    }
}

#[test]
fn a_dash_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Sortie::map("echo", ["x", "-o", "-"])
        .folder(folder.path())
        .run()
        .code(0);
    assert_eq!(ran.records().len(), 1);
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn a_terminal_that_takes_text_only_gets_nothing_else() {
    // `script` makes a terminal, here of twenty columns.
    let inputs: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    for (term, moves) in [("dumb", false), ("xterm", true)] {
        let script = format!(
            "export TERM={term}; exec script -qec \"stty cols 20; '$1' map '{}' echo {} -o r.jsonl \
             --progress bar\" /dev/null",
            component("behaviours").display(),
            inputs.join(" ")
        );
        let folder = tempfile::tempdir().unwrap();
        let ran = Sortie::new([""; 0])
            .folder(folder.path())
            .by_script(&script)
            .run()
            .code(0);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains("300 tasks: 300 completed"), "{ran}");
        assert!(moves || !all.contains('\u{1b}'), "{term}: {all:?}");
    }
}
