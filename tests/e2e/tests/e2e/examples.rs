//! The examples `word-count` and `pipeline` on real texts, against words that are counted here, and
//! `monte-carlo`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sortie_e2e::Fleet;
use sortie_harness::{Sortie, component, example, repository};
use tokio::runtime::Runtime;

type Counts = BTreeMap<String, u64>;

/// The texts of the samples of `pdf-text`, in several languages.
fn samples() -> PathBuf {
    repository().join("examples/pdf-text/samples")
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    texts.sort();
    texts
}

/// The words of texts, the plain way.
fn counted(texts: &[PathBuf]) -> Counts {
    let mut counts = Counts::new();
    for text in texts {
        let text = fs::read_to_string(text).unwrap().replace('’', "'");
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
        for word in words.map(|word| word.trim_matches('\'')) {
            if (1..=64).contains(&word.chars().count()) {
                *counts.entry(word.to_lowercase()).or_default() += 1;
            }
        }
    }
    counts
}

fn word_count(options: &[&str]) -> Sortie {
    Sortie::new(["map".as_ref(), component("word-count").as_os_str()])
        .args(options)
        .folder(samples())
}

#[test]
fn words_are_counted_in_each_text_and_in_all_together() {
    let expected = counted(&texts(&samples()));
    assert!(expected.len() > 1000, "{} words", expected.len());
    for options in [&[][..], &["--fan-in", "2"]] {
        let ran = word_count(&["count", "*.txt", "--reduce", "merge"])
            .args(options)
            .run()
            .code(0)
            .says(&["reduced to one result"]);
        assert_eq!(ran.value()["value"], json!(expected), "{options:?}");
    }
    // Each by itself, and of each the word that is most frequent.
    let ran = word_count(&["count", "*.txt", "--then", "top", "--arg", "top.words=1"])
        .run()
        .code(0);
    for record in ran.records() {
        let text = samples().join(record["input"].as_str().unwrap());
        let most = counted(&[text]).into_values().max().unwrap();
        assert_eq!(record["value"][0][1], most, "{record}");
    }
}

#[test]
fn a_text_that_is_none_is_named() {
    let ran = word_count(&[
        "count",
        "groff-report.pdf",
        "groff-report.txt",
        "--reduce",
        "merge",
    ])
    .run()
    .code(1);
    let record = ran.value();
    assert_eq!(
        (
            &record["input"],
            &record["error"]["code"],
            &record["error"]["function"]
        ),
        (
            &json!("groff-report.pdf"),
            &json!("not-utf8"),
            &json!("count")
        )
    );
}

/// Two folders with some of the samples each.
fn folders(within: &Path) -> [PathBuf; 2] {
    let folders = ["one", "other"].map(|name| within.join(name));
    for folder in &folders {
        fs::create_dir(folder).unwrap();
    }
    for (number, text) in texts(&samples()).iter().enumerate() {
        let name = text.file_name().unwrap();
        fs::copy(text, folders[number % 2].join(name)).unwrap();
    }
    folders
}

/// What `pipeline` prints for the two.
fn joined(folders: &[PathBuf; 2]) -> String {
    let [one, other] = [&folders[0], &folders[1]].map(|folder| {
        let mut ranked: Vec<_> = counted(&texts(folder)).into_iter().collect();
        ranked.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        ranked.truncate(50);
        ranked
    });
    let other: Counts = other.into_iter().collect();
    let shared = one.iter().filter_map(|(word, count)| {
        let of_other = other.get(word)?;
        Some(format!("{word}\t{count}\t{of_other}\n"))
    });
    shared.collect()
}

fn pipeline(folders: &[PathBuf; 2], broker: Option<&str>) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(example("sortie-pipeline"));
    command
        .arg(component("word-count"))
        .args(folders)
        .env_remove("SORTIE_BROKER")
        .env("HOME", home.path())
        .envs(broker.map(|broker| ("SORTIE_BROKER", broker)));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

#[test]
fn three_stages_and_a_join_are_one_graph_in_one_process_and_over_a_fleet() {
    let within = tempfile::tempdir().unwrap();
    let folders = folders(within.path());
    let expected = joined(&folders);
    assert!(expected.lines().count() > 3, "{expected}");
    assert_eq!(pipeline(&folders, None).as_ref(), Ok(&expected));
    let runtime = Runtime::new().unwrap();
    let fleet = runtime.block_on(Fleet::start());
    let _worker = runtime.block_on(fleet.worker(2));
    let over_fleet = || pipeline(&folders, Some(&fleet.url()));
    assert_eq!(over_fleet().as_ref(), Ok(&expected));
    fs::write(folders[1].join("no.txt"), [0xff]).unwrap();
    let failed = over_fleet().unwrap_err();
    assert!(failed.contains("not-utf8"), "{failed}");
    // Nothing of it is left, however it ended.
    let jobs = Sortie::new(["job", "list", "--json"])
        .env("SORTIE_BROKER", fleet.url())
        .run()
        .code(0);
    assert_eq!(jobs.records(), Vec::<Value>::new());
}

/// Calls a function of `monte-carlo`.
fn monte_carlo(arguments: &[&str]) -> f64 {
    let component = component("monte-carlo");
    let called = Sortie::new(["call".as_ref(), component.as_os_str()]).args(arguments);
    called.run().code(0).value().as_f64().unwrap()
}

#[test]
fn tasks_that_make_tasks_add_up_what_these_return() {
    let estimate = monte_carlo(&["pi", "200", "20000"]);
    assert!((estimate - std::f64::consts::PI).abs() < 0.01, "{estimate}");
    // The antiderivative of sin(1/x) is x sin(1/x) - Ci(1/x).
    let integral = monte_carlo(&["integral", "0.001", "1", "1e-10"]);
    assert!(
        (integral - 0.504_066_497_877_487).abs() < 1e-8,
        "{integral}"
    );
}
