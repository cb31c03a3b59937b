//! Signals and closed pipes: a run ends soon, keeps what was written, and goes on from there when
//! it is started again.

use rustix::process::Signal;
use serde_json::Value;
use sortie_harness::{
    Fault, Link, Operation, Ran, Running, S3Server, Sortie, StoreProxy, WebServer,
};

/// Inputs that take some milliseconds each come first; the rest take longer than any test waits.
const QUICK: usize = 20;

fn endless(cache: &std::path::Path) -> Sortie {
    let quick = (0..QUICK).map(|n| (2_000_000 + n).to_string());
    let inputs = quick.chain((0..10).map(|n| (1_000_000_000_000_000u64 + n).to_string()));
    Sortie::map("spins_for", inputs).cache(cache)
}

/// Reads the quick results, sends the signal, and returns how the run ended.
fn stop(mut running: Running, signal: Signal) -> Ran {
    for _ in 0..QUICK {
        running.line();
    }
    running.signal(signal);
    running
        .wait()
        .code(130)
        .says(&["interrupted", "run the same command again"])
}

fn count(records: &[Value], matches: impl Fn(&Value) -> bool) -> usize {
    records.iter().filter(|record| matches(record)).count()
}

#[test]
fn an_interrupted_run_keeps_its_results_and_goes_on_from_there() {
    let cache = sortie_harness::cache();
    let first = stop(endless(cache.path()).start(), Signal::INT).records();
    assert_eq!(
        count(&first, |record| record["status"] == "completed"
            && record["bill"]["cached"] == false),
        QUICK
    );
    assert_eq!(
        count(&first, |record| record["status"] == "cancelled"),
        first.len() - QUICK
    );
    let second = stop(endless(cache.path()).start(), Signal::TERM).records();
    assert_eq!(
        count(&second, |record| record["status"] == "completed"
            && record["bill"]["cached"] == true),
        QUICK
    );
}

#[test]
fn an_interrupted_call_has_no_result() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let web = WebServer::start(folder.path());
    let running = Sortie::call("reads_forever", [web.url("file")]).start();
    // It is under way when it has read.
    web.wait_for(1);
    running.signal(Signal::INT);
    let ran = running.wait().code(130);
    assert_eq!(
        (&*ran.stdout, &*ran.stderr),
        ("", "error: interrupted\n"),
        "{ran}"
    );
}

/// A large result is in the store, and the store stops in the middle of it.
#[test]
fn a_result_that_does_not_come_from_the_store_holds_up_no_interrupted_command() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let server = S3Server::start(folder.path());
    let proxy = StoreProxy::start(server.address(), Link::default());
    proxy.add(Fault::Stall.on(Operation::Get, "/objects/"));
    let interrupt = |command: Sortie, requests: u64| {
        let running = proxy
            .for_command(command.args(["--store", "s3://bucket/store"]))
            .start();
        proxy.wait_until_struck(requests);
        let struck = proxy.counts().struck;
        running.signal(Signal::INT);
        let ran = running.wait().code(130);
        // A command that waited for the stalled request to fail would have repeated it.
        assert_eq!(proxy.counts().struck, struck, "{ran}");
        ran
    };
    let ran = interrupt(Sortie::map("returns_bytes", ["300000"]), 1).says(&[
        "1 task: ",
        "1 failed",
        "run the same command again",
    ]);
    // What became of it is said, with the place where it is.
    let record = ran.value();
    assert_eq!(record["status"], "failed", "{ran}");
    assert!(
        record["error"]["message"]
            .as_str()
            .unwrap()
            .contains("s3://bucket/store/objects/"),
        "{ran}"
    );
    let struck = proxy.counts().struck;
    let ran = interrupt(Sortie::call("returns_bytes", ["300000"]), struck + 1);
    assert_eq!(
        (&*ran.stdout, &*ran.stderr),
        ("", "error: interrupted\n"),
        "{ran}"
    );
}

#[test]
fn a_run_that_waits_for_inputs_can_be_interrupted() {
    let mut running = Sortie::map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    assert!(running.line().contains("one"));
    running.signal(Signal::INT);
    let ran = running
        .wait()
        .code(130)
        .says(&["1 task: 1 completed", "interrupted"]);
    assert_eq!(ran.records().len(), 1);
}

#[test]
fn a_run_whose_results_nobody_reads_can_be_interrupted() {
    let mut running = Sortie::map("echo", ["--inputs", "-"])
        .input("x\n".repeat(100_000))
        .start();
    running.line();
    running.signal(Signal::INT);
    let ran = running.wait_without_reading();
    assert_eq!(ran.code, Some(130), "{ran}");
}

#[test]
fn a_reader_that_has_enough_is_told_from_one_that_has_all() {
    let mut running = Sortie::map("echo", ["--inputs", "-"])
        .input("x\n".repeat(100_000))
        .start();
    running.line();
    let ran = running.close().code(3);
    assert_eq!(
        ran.stderr, "error: standard output was closed before everything was written to it\n",
        "{ran}"
    );
}

#[test]
fn a_standard_output_that_was_never_there_is_one_whose_reader_has_gone() {
    let echo = |redirected: &str| {
        let script = format!("exec \"$@\" {redirected}");
        Sortie::map("echo", ["x"]).by_script(&script).run()
    };
    let closed = "error: standard output was closed before everything was written to it\n";
    // One that was opened for reading only takes nothing, either.
    for redirected in [">&-", ">&- <&-", "1< /dev/null"] {
        let ran = echo(redirected).code(3);
        assert_eq!(ran.stderr, closed, "{ran}");
    }
    // What a caller chose to throw away is another matter, however it was opened.
    for redirected in ["> /dev/null", "1<> /dev/null"] {
        let _ = echo(redirected).code(0).says(&["1 completed"]);
    }
    let commands = [
        Sortie::call("echo", ["x"]),
        Sortie::new([
            "inspect".as_ref(),
            sortie_harness::component("behaviours").as_os_str(),
        ]),
        Sortie::new(["cache", "info"]),
    ];
    for command in commands {
        let ran = command.by_script("exec \"$@\" >&-").run().code(3);
        assert_eq!(ran.stderr, closed, "{ran}");
    }
}

#[test]
fn an_output_without_room_is_an_error() {
    for words in [
        "map behaviours echo x",
        "call behaviours echo x",
        "inspect behaviours",
        "--help",
    ] {
        let component = sortie_harness::component("behaviours");
        let words = words.replace("behaviours", &component.to_string_lossy());
        let ran = Sortie::new(words.split(' '))
            .by_script("exec \"$@\" > /dev/full")
            .run()
            .code(3);
        assert!(ran.stderr.contains("standard output"), "{ran}");
    }
}

#[test]
fn nothing_is_promised_of_a_fresh_run_that_is_interrupted() {
    let cache = sortie_harness::cache();
    let ran = stop(endless(cache.path()).args(["--fresh"]).start(), Signal::INT);
    assert!(
        ran.stderr.contains("the results of this run are not kept")
            && !ran.stderr.contains("kept in the cache"),
        "{ran}"
    );
}
