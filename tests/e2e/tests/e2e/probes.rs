//! What a function can see of the world: nothing, and the same every time, unless it is granted
//! more.

use serde_json::{Value, json};
use sortie_harness::Sortie;

use crate::sorted;

fn see(function: &str, options: &[&str]) -> Value {
    Sortie::call(function, [""; 0])
        .args(options)
        .run()
        .code(0)
        .value()
}

/// Two tasks of the same content in one job, which must not be answered from memory.
fn twice(function: &str, options: &[&str]) -> (Value, Value) {
    let ran = Sortie::map(function, ["[]", "[]"])
        .args(["--cache", "off"])
        .args(options)
        .run()
        .code(0);
    let mut records = sorted(&ran);
    (
        records.remove(0)["value"].take(),
        records.remove(0)["value"].take(),
    )
}

#[test]
fn there_are_no_files_and_no_environment() {
    let ran = Sortie::map(
        "opens_file",
        ["/etc/passwd", "/", ".", "/proc/self/environ"],
    )
    .run()
    .code(0);
    assert!(
        sorted(&ran)
            .iter()
            .all(|record| record["value"] == json!(false)),
        "{ran}"
    );
    assert_eq!(
        Sortie::call("reads_environment", [""; 0])
            .env("SECRET", "value")
            .run()
            .code(0)
            .value(),
        json!([])
    );
}

#[test]
fn there_is_no_network() {
    // Somebody listens, so only the wall keeps the function out.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert_eq!(
        Sortie::call("connects", [&address]).run().code(0).value(),
        json!("PermissionDenied")
    );
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}

#[test]
fn time_is_the_same_in_every_run() {
    let (one, other) = twice("reads_clock", &[]);
    assert_eq!(one, other);
    assert_eq!(one, see("reads_clock", &[]));
    let granted = see("reads_clock", &["--grant", "clock"]);
    assert!(granted[0].as_u64().unwrap() > 1_700_000_000, "{granted}");
    assert_ne!(one[0], granted[0]);
}

#[test]
fn randomness_follows_from_the_task() {
    let (one, other) = twice("reads_random", &[]);
    assert_eq!(one, other);
    assert_eq!(one, see("reads_random", &[]));
    // A task with another limit is another task.
    assert_ne!(one, see("reads_random", &["--memory", "64MiB"]));
    let (one, other) = twice("reads_random", &["--grant", "random"]);
    assert_ne!(one, other);
}

#[test]
fn results_that_depend_on_a_grant_are_never_kept() {
    let cache = sortie_harness::cache();
    for _ in 0..2 {
        let ran = Sortie::map("spins_for", ["2000000"])
            .args(["--grant", "clock"])
            .cache(cache.path())
            .run()
            .code(0);
        assert_eq!(sorted(&ran)[0]["bill"]["cached"], false);
    }
}

#[test]
fn nan_is_canonical() {
    assert_eq!(see("makes_nan", &[]), json!("9221120237041090560"));
}

#[test]
fn sleep_passes_virtual_time_at_once() {
    let ran = Sortie::map("sleeps", ["86400000"]).run().code(0);
    let bill = &sorted(&ran)[0]["bill"];
    assert!(bill["run_ms"].as_f64().unwrap() < 10_000.0, "{bill}");
    let ran = Sortie::map("sleeps", ["30"])
        .args(["--grant", "clock"])
        .run()
        .code(0);
    let bill = &sorted(&ran)[0]["bill"];
    assert!(bill["run_ms"].as_f64().unwrap() >= 30.0, "{bill}");
}

#[test]
fn sleep_with_a_real_clock_ends_at_the_limit() {
    let ran = Sortie::map("sleeps", ["86400000"])
        .args(["--grant", "clock", "--timeout", "200ms", "--retries", "0"])
        .run()
        .code(1);
    assert_eq!(sorted(&ran)[0]["error"]["code"], "wall-time-limit");
}
