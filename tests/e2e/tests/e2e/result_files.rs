//! Files that results go to have one writer at a time.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use sortie_harness::{Running, Sortie, until};

/// A command that writes to this file until it is told to stop, and has written its first result.
fn writes_to(file: &Path, command: Sortie) -> Running {
    let running = command.start();
    let written = until("the first result", || {
        fs::read(file).is_ok_and(|written| written.ends_with(b"\n"))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(written);
    running
}

#[test]
fn a_file_that_another_command_writes_to_is_refused_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.jsonl");
    std::os::unix::fs::symlink(&file, folder.path().join("link.csv")).unwrap();
    let map = |words: &[&str]| Sortie::map("echo", words).folder(folder.path());
    let first = map(&["--inputs", "-", "-o", "r.jsonl"]).input("one\n");
    let first = writes_to(&file, first.keep_input_open());
    for name in ["r.jsonl", "./r.jsonl", "link.csv"] {
        let parts = ["--output", name, "another process", "another file"];
        map(&["two", "-o", name]).run().refused(&parts);
    }
    assert!(fs::read_to_string(&file).unwrap().contains("\"one\""));
    // A file that is written whole is its last writer's, whole.
    let _ = map(&["two", "-o", "r.parquet"]).run().code(0);
    first.signal(Signal::INT);
    let _ = first.wait().code(130);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1);
    let _ = map(&["two", "-o", "r.jsonl"]).run().code(0);
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("\"two\"") && !written.contains("\"one\""));
}

#[test]
fn what_is_no_regular_file_has_any_number_of_writers() {
    let map = |word| Sortie::map("echo", ["--inputs", "-", "-o", "/dev/null"]).input(word);
    let running = [map("one\n").start(), map("two\n").start()];
    for running in running {
        let _ = running.wait().code(0);
    }
}
