//! The same over two servers that have nothing in common but the protocol: `s3s-fs`, which verifies
//! signatures, and moto.

use std::fs;

use serde_json::json;
use sortie_harness::{MotoServer, Ran, S3Server, Sortie, repository};
use tempfile::TempDir;

use crate::Told as _;

/// A text in each of these PDFs, as a person reads it.
const PDFS: [(&str, &str); 2] = [
    ("groff-report", "groff-report.pdf"),
    ("rotated", "rotated.pdf"),
];
/// More than a host reads at once.
const LARGE: usize = 20 << 20;

/// The objects of the bucket `papers`.
fn objects() -> Vec<(String, Vec<u8>)> {
    let samples = repository().join("examples/pdf-text/samples");
    let pdfs = PDFS.map(|(_, file)| {
        (
            format!("2024/{file}"),
            fs::read(samples.join(file)).unwrap(),
        )
    });
    let others = [
        ("2024/notes.txt", b"A".to_vec()),
        ("2024/deep/more.txt", b"BB".to_vec()),
        ("2024/empty.txt", Vec::new()),
    ];
    let others = others
        .into_iter()
        .map(|(key, content)| (key.to_owned(), content));
    let odd = [
        ("2024/with space & ümlaut+.txt".to_owned(), b"CCC".to_vec()),
        ("large.bin".to_owned(), vec![1; LARGE]),
    ];
    pdfs.into_iter().chain(others).chain(odd).collect()
}

/// Listings, reads, PDFs, what is missing and what has changed, over a store that has [`objects`]
/// and can replace one.
fn serves(map: impl Fn(&str, &str, &[&str]) -> Sortie, replace: impl Fn(&str, &[u8])) {
    let cache = sortie_harness::cache();
    let sums = |inputs: &[&str]| {
        map("behaviours", "sum_of", inputs)
            .cache(cache.path())
            .run()
    };
    let ran = sums(&["s3://papers/2024/*.txt", "s3://papers/large.bin"]).code(0);
    ran.found("s3://papers/2024/notes.txt", json!([1, 65]));
    ran.found("s3://papers/2024/empty.txt", json!([0, 0]));
    ran.found("s3://papers/2024/with space & ümlaut+.txt", json!([3, 201]));
    ran.found("s3://papers/large.bin", json!([LARGE, LARGE]));
    assert_eq!(ran.endings(), ["completed"; 4]);
    assert_eq!(
        sums(&["s3://papers/**/*.txt"]).code(0).endings(),
        ["completed"; 4]
    );

    let ran = sums(&[
        "s3://papers/none.txt",
        "s3://nowhere/a.txt",
        "s3://papers/2024/notes.txt",
    ])
    .code(1);
    ran.failed("s3://papers/none.txt", "input-missing", &[]);
    ran.failed("s3://nowhere/a.txt", "input-missing", &[]);
    ran.found("s3://papers/2024/notes.txt", json!([1, 65]));
    sums(&["s3://papers/2024/*.tar"]).refused(&["nothing matches `s3://papers/2024/*.tar`"]);

    let cached = |ran: &Ran| ran.of("s3://papers/large.bin")["bill"]["cached"].clone();
    assert_eq!(cached(&sums(&["s3://papers/large.bin"]).code(0)), true);
    replace("large.bin", &vec![2; LARGE]);
    let ran = sums(&["s3://papers/large.bin"]).code(0);
    ran.found("s3://papers/large.bin", json!([LARGE, 2 * LARGE]));
    assert_eq!(cached(&ran), false);

    let ran = map("pdf-text", "extract", &["s3://papers/2024/*.pdf"])
        .cache(cache.path())
        .run()
        .code(0);
    assert_eq!(ran.endings(), ["completed"; PDFS.len()]);
    for (name, file) in PDFS {
        let expected =
            fs::read_to_string(repository().join(format!("examples/pdf-text/samples/{name}.txt")))
                .unwrap();
        let word = expected
            .split_whitespace()
            .max_by_key(|word| word.len())
            .unwrap();
        let record = ran.of(&format!("s3://papers/2024/{file}")).to_string();
        assert!(record.contains(word), "`{word}` is not in {record}");
    }
}

fn command(component: &str, function: &str, inputs: &[&str]) -> Sortie {
    Sortie::new([
        "map".as_ref(),
        sortie_harness::component(component).as_os_str(),
        function.as_ref(),
    ])
    .args(inputs)
}

#[test]
fn functions_are_mapped_over_objects_of_s3s_fs() {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let put = |key: &str, content: &[u8]| {
        let path = folder.path().join("papers").join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    objects()
        .iter()
        .for_each(|(key, content)| put(key, content));
    let server = S3Server::start(folder.path());
    serves(
        |component, function, inputs| server.for_command(command(component, function, inputs)),
        put,
    );
}

#[test]
fn functions_are_mapped_over_objects_of_moto() {
    let server = match MotoServer::start() {
        Ok(server) => server,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    server.create_bucket("papers");
    objects()
        .iter()
        .for_each(|(key, content)| server.put("papers", key, content));
    let put = |key: &str, content: &[u8]| server.put("papers", key, content);
    serves(
        |component, function, inputs| server.for_command(command(component, function, inputs)),
        put,
    );
}
