//! `sortie cache`: what it shows and removes, here and in a store.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use sortie_harness::{Ran, S3Server, Sortie};
use tempfile::TempDir;

use crate::known;

const DEAR: &str = "200000000";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn spins(cache: &Path, input: &str) -> Sortie {
    Sortie::map("spins_for", [input]).cache(cache)
}

fn cache(folder: &Path, words: &[&str]) -> Sortie {
    Sortie::new(["cache"]).args(words).cache(folder)
}

fn counts(ran: &Ran) -> [u64; 2] {
    let shown = ran.value();
    ["artifacts", "memo"].map(|part| shown[part]["files"].as_u64().unwrap())
}

fn age(folder: &Path, days: u32) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            age(&entry.path(), days);
        } else {
            let file = fs::File::options().append(true).open(entry.path()).unwrap();
            let used = file.metadata().unwrap().modified().unwrap();
            file.set_modified(used - DAY * days).unwrap();
        }
    }
}

#[test]
fn what_is_kept_is_shown_and_cleared() {
    let folder = tempfile::tempdir().unwrap();
    for input in ["3000000", "3000001"] {
        let _ = spins(folder.path(), input).run().code(0);
    }
    let info = cache(folder.path(), &["info", "--json"]).run().code(0);
    assert_eq!(counts(&info), [1, 2], "{info}");
    assert!(
        info.value()["artifacts"]["bytes"].as_u64().unwrap() > 10_000,
        "{info}"
    );
    let text = cache(folder.path(), &["info"]).run().code(0);
    assert!(
        text.stdout.contains("compiled components") && text.stdout.contains("results"),
        "{text}"
    );
    let cleared = cache(folder.path(), &["clear"])
        .run()
        .code(0)
        .says(&["removed 3 files"]);
    assert_eq!(cleared.stdout, "");
    assert_eq!(
        counts(&cache(folder.path(), &["info", "--json"]).run().code(0)),
        [0, 0]
    );
    assert_eq!(
        known(&spins(folder.path(), "3000000").run().code(0)),
        [false]
    );
    // A folder that is not there is empty.
    assert_eq!(
        counts(
            &cache(&folder.path().join("none"), &["info", "--json"])
                .run()
                .code(0)
        ),
        [0, 0]
    );
}

#[test]
fn what_was_not_used_for_long_goes_and_what_was_stays() {
    let folder = tempfile::tempdir().unwrap();
    let _ = spins(folder.path(), "3000000").run().code(0);
    age(&folder.path().join("memo"), 40);
    let _ = spins(folder.path(), "3000001").run().code(0);
    let gc = cache(folder.path(), &["gc", "--older-than", "30d", "--json"])
        .run()
        .code(0);
    assert_eq!(counts(&gc), [0, 1], "{gc}");
    assert_eq!(
        known(&spins(folder.path(), "3000001").run().code(0)),
        [true]
    );
    assert_eq!(
        known(&spins(folder.path(), "3000000").run().code(0)),
        [false]
    );
    // Using a result counts.
    age(&folder.path().join("memo"), 40);
    assert_eq!(
        known(&spins(folder.path(), "3000001").run().code(0)),
        [true]
    );
    assert_eq!(
        counts(
            &cache(folder.path(), &["gc", "--older-than", "30d", "--json"])
                .run()
                .code(0)
        ),
        [0, 1]
    );
    assert_eq!(
        known(&spins(folder.path(), "3000001").run().code(0)),
        [true]
    );
    let all = cache(folder.path(), &["gc", "--max", "0B", "--json"])
        .run()
        .code(0);
    assert_eq!(counts(&all), [1, 1], "{all}");
    cache(folder.path(), &["gc", "--max", "lots"])
        .run()
        .refused(&["--max", "lots"]);
    cache(folder.path(), &["gc", "--older-than", "30"])
        .run()
        .refused(&["--older-than", "30s"]);
}

#[test]
fn commands_go_on_while_the_cache_is_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let inputs: String = (0..3000).map(|n| format!("{}\n", 1_000_000 + n)).collect();
    let mut running = Sortie::map("spins_for", ["--inputs", "-"])
        .input(inputs)
        .cache(folder.path())
        .start();
    for _ in 0..20 {
        running.line();
        let _ = cache(folder.path(), &["clear"]).run().code(0);
    }
    let ran = running.wait().code(0);
    assert_eq!(ran.records().len(), 3000);
    assert!(!ran.stderr.contains("failed to cache"), "{ran}");
}

fn shared() -> (TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("shared")).unwrap();
    let server = S3Server::start(folder.path());
    (folder, server)
}

#[test]
fn objects_that_no_result_refers_to_are_swept_from_a_store() {
    let (folder, s3) = shared();
    let local = tempfile::tempdir().unwrap();
    let place = ["--store", "s3://shared/results"];
    let make = |len: &str, memo: &[&str]| {
        let input = format!("[{len}, null]");
        let map = Sortie::map("makes_object", [&input]).cache(local.path());
        let ran = s3.for_command(map.args(place).args(memo)).run().code(0);
        ran.value()["object"]["url"].as_str().unwrap().to_owned()
    };
    // Large enough to take as long as what is kept in a store.
    let kept = make("60000000", &[]);
    let garbage = make("1000", &["--fresh"]);
    let file = |url: &str| folder.path().join(url.strip_prefix("s3://").unwrap());
    let sweep = |words: &[&str]| {
        let gc = Sortie::new(["cache", "gc", "--older-than", "30d", "--json"]);
        let ran = s3.for_command(gc.args(words).args(place)).run().code(0);
        ran.value()["shared_objects"]["objects"].clone()
    };
    cache(local.path(), &["gc", "--objects"])
        .run()
        .refused(&["--store"]);
    assert_eq!(sweep(&["--objects"]), 0);
    age(&folder.path().join("shared/results/objects"), 40);
    assert_eq!(sweep(&[]), Value::Null);
    assert!(file(&kept).exists() && file(&garbage).exists());
    assert_eq!(sweep(&["--objects"]), 1);
    assert!(file(&kept).exists() && !file(&garbage).exists());
    // Its result goes for its age, and it goes with that.
    age(&folder.path().join("shared/results"), 40);
    assert_eq!(sweep(&["--objects"]), 1);
    assert!(!file(&kept).exists());
}

#[test]
fn what_is_removed_from_a_store_stays_on_this_machine() {
    let (_folder, s3) = shared();
    let home = tempfile::tempdir().unwrap();
    let local = home.path().join("cache/sortie");
    // The default folder: nothing but the store is named.
    let here = |command: Sortie| {
        let command = command.env("XDG_CACHE_HOME", home.path().join("cache"));
        s3.for_command(command)
            .args(["--store", "s3://shared/results"])
    };
    let run = || known(&here(Sortie::map("spins_for", [DEAR])).run().code(0));
    assert_eq!(run(), [false]);
    let kept = || counts(&cache(&local, &["info", "--json"]).run().code(0));
    let before = kept();
    assert_eq!(before, [1, 1]);
    for words in [
        &["cache", "gc", "--older-than", "1ns"][..],
        &["cache", "clear", "--everyone"],
    ] {
        let ran = here(Sortie::new(words)).args(["--json"]).run().code(0);
        let keys: Vec<_> = ran.value().as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["shared_memo"], "{ran}");
        assert_eq!(kept(), before);
    }
    assert_eq!(run(), [true]);
    let both = ["cache", "gc", "--older-than", "1ns"];
    let refused = |words: &[&str], parts: &[&str]| {
        here(Sortie::new(both).args(words)).run().refused(parts);
    };
    refused(
        &["--cache", local.to_str().unwrap()],
        &["--cache", "two places"],
    );
    refused(&["--max", "1B"], &["--max", "--store"]);
    assert_eq!(kept(), before);
}

#[test]
fn a_stores_results_are_removed_only_by_whoever_says_so() {
    let (folder, s3) = shared();
    let local = tempfile::tempdir().unwrap();
    let with = |words: &[&str]| {
        let cache = Sortie::new(["cache"]).args(words);
        s3.for_command(cache.args(["--store", "s3://shared/results"]))
    };
    let run = || {
        s3.for_command(spins(local.path(), DEAR).args(["--store", "s3://shared/results"]))
            .run()
            .code(0)
    };
    assert_eq!(known(&run()), [false]);
    let objects = |ran: &Ran| ran.value()["shared_memo"]["objects"].clone();
    assert_eq!(objects(&with(&["info", "--json"]).run().code(0)), 1);
    with(&["clear"]).run().refused(&["--everyone"]);
    with(&["gc"]).run().refused(&["--older-than"]);
    cache(local.path(), &["clear", "--everyone"])
        .run()
        .refused(&["--store"]);
    // Not the variable, either: it is there for other commands.
    let _ = s3
        .for_command(cache(local.path(), &["clear"]))
        .env("SORTIE_STORE", "s3://shared/results")
        .run()
        .code(0);
    assert_eq!(objects(&with(&["info", "--json"]).run().code(0)), 1);
    assert_eq!(
        objects(&with(&["gc", "--older-than", "30d", "--json"]).run().code(0)),
        0
    );
    assert_eq!(known(&run()), [true]);
    age(&folder.path().join("shared"), 40);
    let gone = with(&["gc", "--older-than", "30d", "--json"]).run().code(0);
    assert_eq!(objects(&gone), 1, "{gone}");
    assert_eq!(gone.value().get("memo"), None, "{gone}");
    let _ = cache(local.path(), &["clear"]).run().code(0);
    assert_eq!(known(&run()), [false]);
    let _ = with(&["clear", "--everyone"])
        .run()
        .code(0)
        .says(&["of the results in s3://shared/results"]);
    let _ = cache(local.path(), &["clear"]).run().code(0);
    assert_eq!(known(&run()), [false]);
    let nobody = with(&["info"])
        .env("AWS_SECRET_ACCESS_KEY", "wrong-one")
        .run()
        .code(3);
    assert!(
        nobody.stderr.starts_with("error: ") && !nobody.stderr.contains("wrong-one"),
        "{nobody}"
    );
}
