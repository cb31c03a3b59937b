//! Results that one process keeps and another takes: through a store, and through a folder that
//! both use.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;
use sortie_harness::{NatsServer, Ran, S3Server, Sortie};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{known, values};

/// Rounds of a task that is worth sharing on any machine: some hundred milliseconds.
const DEAR: u64 = 200_000_000;
/// Rounds of a task that is worth keeping here and not worth sharing: some milliseconds.
const CHEAP: u64 = 1_000_000;

/// A server with the buckets `inputs` and `shared`.
fn buckets() -> (TempDir, S3Server) {
    let folder = tempfile::tempdir().unwrap();
    for bucket in ["inputs", "shared"] {
        fs::create_dir(folder.path().join(bucket)).unwrap();
    }
    let server = S3Server::start(folder.path());
    (folder, server)
}

fn dear(count: u64) -> Vec<String> {
    (0..count).map(|n| (DEAR + n).to_string()).collect()
}

/// `sortie map` of tasks that are worth sharing, with an empty cache of its own.
fn map(count: u64) -> Sortie {
    Sortie::map("spins_for", dear(count)).args(["--store", "s3://shared/results"])
}

/// Files anywhere below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(Result::unwrap)
    {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()))
        } else {
            found.push(entry.path())
        }
    }
    found
}

/// How often the shared memo is spoken of.
fn warnings(ran: &Ran) -> usize {
    ran.stderr
        .lines()
        .filter(|line| line.contains("shared memo"))
        .count()
}

#[test]
fn a_second_process_with_an_empty_cache_recomputes_nothing() {
    let (folder, s3) = buckets();
    let first = s3.for_command(map(3)).run().code(0);
    assert_eq!(known(&first), [false; 3], "{first}");
    assert_eq!(
        files(&folder.path().join("shared/results/memo/default")).len(),
        3
    );
    let second = s3
        .for_command(map(3))
        .run()
        .code(0)
        .says(&["nothing ran: all 3 results were known"]);
    assert_eq!(
        (known(&second), values(&second)),
        (vec![true; 3], values(&first))
    );
    // By the variable, without a local cache, and without the store.
    let third = Sortie::map("spins_for", dear(3))
        .args(["--cache", "off"])
        .env("SORTIE_STORE", "s3://shared/results/");
    assert_eq!(known(&s3.for_command(third).run().code(0)), [true; 3]);
    assert_eq!(
        known(
            &s3.for_command(Sortie::map("spins_for", dear(1)))
                .run()
                .code(0)
        ),
        [false]
    );
    let fresh = s3.for_command(map(1).args(["--fresh"])).run().code(0);
    assert_eq!(known(&fresh), [false]);
}

#[test]
fn what_a_store_has_is_kept_here_too() {
    let (folder, s3) = buckets();
    let _ = s3.for_command(map(2)).run().code(0);
    let cache = sortie_harness::cache();
    assert_eq!(
        known(&s3.for_command(map(2)).cache(cache.path()).run().code(0)),
        [true; 2]
    );
    fs::remove_dir_all(folder.path().join("shared")).unwrap();
    let without = Sortie::map("spins_for", dear(2))
        .cache(cache.path())
        .run()
        .code(0);
    assert_eq!(known(&without), [true; 2]);
}

#[test]
fn a_store_may_be_a_folder_named_relative_to_where_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let run = || {
        Sortie::map("spins_for", dear(1))
            .args(["--store", "our results"])
            .folder(folder.path())
            .run()
            .code(0)
    };
    assert_eq!((known(&run()), known(&run())), (vec![false], vec![true]));
    assert_eq!(
        files(&folder.path().join("our results/memo/default")).len(),
        1
    );
    Sortie::map("spins_for", ["1", "--store", "https://example.org/store"])
        .run()
        .refused(&["--store", "web server"]);
    Sortie::map("spins_for", ["1"])
        .env("SORTIE_STORE", "ftp://x/y")
        .run()
        .refused(&["SORTIE_STORE", "ftp://x/y"]);
}

#[test]
fn results_over_objects_are_shared_until_the_object_changes() {
    let (folder, s3) = buckets();
    let large = folder.path().join("inputs/large.bin");
    fs::write(&large, vec![1; 60 << 20]).unwrap();
    let run = || {
        s3.for_command(Sortie::map(
            "sum_of",
            ["s3://inputs/large.bin", "--store", "s3://shared/results"],
        ))
        .run()
        .code(0)
    };
    let first = run();
    assert_eq!(
        (known(&first), values(&first)),
        (vec![false], vec![json!([60 << 20, 60 << 20])])
    );
    assert_eq!(known(&run()), [true]);
    fs::write(&large, vec![2; 60 << 20]).unwrap();
    let changed = run();
    assert_eq!(
        (known(&changed), values(&changed)),
        (vec![false], vec![json!([60 << 20, 120 << 20])])
    );
}

#[test]
fn what_costs_less_than_a_request_is_kept_here_only() {
    let (folder, s3) = buckets();
    let cache = sortie_harness::cache();
    let inputs: Vec<String> = (0..3).map(|n| (CHEAP + n).to_string()).collect();
    let run = || {
        s3.for_command(Sortie::map("spins_for", &inputs).args(["--store", "s3://shared/results"]))
            .cache(cache.path())
            .run()
            .code(0)
    };
    assert_eq!(
        (known(&run()), known(&run())),
        (vec![false; 3], vec![true; 3])
    );
    assert_eq!(files(&folder.path().join("shared")), [] as [PathBuf; 0]);
}

#[test]
fn entries_that_are_damaged_or_lie_under_anothers_name_are_computed_again() {
    let (folder, s3) = buckets();
    let run = || s3.for_command(map(3)).run().code(0);
    let first = run();
    let entries = files(&folder.path().join("shared/results/memo"));
    let [a, b, c] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    fs::copy(a, b).unwrap();
    fs::write(c, "no entry at all").unwrap();
    let second = run();
    assert_eq!(
        known(&second).iter().filter(|known| **known).count(),
        1,
        "{second}"
    );
    assert_eq!(values(&second), values(&first));
    assert_eq!(known(&run()), [true; 3]);
}

#[test]
fn a_store_that_is_down_costs_a_warning() {
    let cache = sortie_harness::cache();
    let command = |count: u64| {
        let command = map(count)
            .cache(cache.path())
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        command
            .env("AWS_ACCESS_KEY_ID", "id")
            .env("AWS_SECRET_ACCESS_KEY", "not-to-be-seen")
    };
    let ran = command(12).run().code(0);
    assert_eq!(known(&ran), [false; 12]);
    assert!((1..=2).contains(&warnings(&ran)), "{ran}");
    assert!(!ran.stderr.contains("not-to-be-seen"), "{ran}");
    assert_eq!(known(&command(12).run().code(0)), [true; 12]);
}

#[test]
fn a_store_that_denies_everything_or_writing_costs_a_warning() {
    let (folder, s3) = buckets();
    let ran = s3
        .for_command(map(4))
        .env("AWS_SECRET_ACCESS_KEY", "wrong-one")
        .run()
        .code(0);
    assert!(
        known(&ran) == [false; 4]
            && (1..=2).contains(&warnings(&ran))
            && !ran.stderr.contains("wrong-one"),
        "{ran}"
    );
    let read_only = S3Server::start_read_only(folder.path());
    let ran = read_only.for_command(map(4)).run().code(0).says(&[
        "keeping results in the shared memo",
        "may not be written to",
    ]);
    assert!(known(&ran) == [false; 4] && warnings(&ran) == 1, "{ran}");
    // What others wrote is read all the same.
    let _ = s3.for_command(map(4)).run().code(0);
    let ran = read_only.for_command(map(4)).run().code(0);
    assert!(known(&ran) == [true; 4] && warnings(&ran) == 0, "{ran}");
}

#[test]
fn two_processes_use_one_cache_folder_at_once() {
    let cache = sortie_harness::cache();
    let inputs: String = (0..2000).map(|n| format!("{}\n", CHEAP + n)).collect();
    let start = || {
        Sortie::map("spins_for", ["--inputs", "-"])
            .input(inputs.clone())
            .cache(cache.path())
    };
    let (one, two) = (start().start(), start().start());
    let (one, two) = (one.wait().code(0), two.wait().code(0));
    assert_eq!(values(&one), values(&two));
    let third = start()
        .run()
        .code(0)
        .says(&["nothing ran: all 2000 results were known"]);
    assert_eq!(values(&third), values(&one));
}

#[test]
fn results_of_functions_with_grants_are_not_kept_and_it_is_said_why() {
    let (folder, s3) = buckets();
    let run = |grants: &[&str]| s3.for_command(map(1)).args(grants).run().code(0);
    for _ in 0..2 {
        let ran = run(&["--grant", "clock"])
            .says(&["results were not cached: the function was granted the clock"]);
        assert_eq!(known(&ran), [false]);
    }
    assert_eq!(files(&folder.path().join("shared")), [] as [PathBuf; 0]);
    let ran = run(&[]);
    assert!(!ran.stderr.contains("were not cached"), "{ran}");
    let call = Sortie::call("spins_for", ["1", "--grant", "clock,random"])
        .run()
        .code(0);
    let _ =
        call.says(&["results were not cached: the function was granted the clock and randomness"]);
}

#[test]
fn a_worker_takes_from_the_store_what_another_kept() {
    let (_folder, s3) = buckets();
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(NatsServer::start());
    let worker = || {
        s3.for_command(Sortie::new([
            "worker",
            "--broker",
            &server.url(),
            "--store",
            "s3://shared/fleet",
        ]))
        .start()
    };
    let run = || {
        Sortie::map("spins_for", dear(3))
            .args(["--broker", &server.url()])
            .run()
            .code(0)
    };
    let first = worker();
    assert_eq!(known(&run()), [false; 3]);
    first.signal(Signal::TERM);
    let _ = first.wait().code(0);
    let second = worker();
    let ran = run().says(&["nothing ran: all 3 results were known"]);
    assert_eq!(known(&ran), [true; 3]);
    second.signal(Signal::TERM);
    let _ = second.wait().code(0);
}
