//! Web servers are no stores: what is read from those that answer `HEAD` in ways of their own, have
//! weak validators, or know no ranges.

use serde_json::{Value, json};
use sortie_harness::{HabitServer, Ran, Sortie};
use tempfile::TempDir;

use crate::Told as _;

thread_local! {
    /// One for all runs of a test.
    static CACHE: TempDir = sortie_harness::cache();
}

fn sum_of(inputs: &[&str], more: &[&str]) -> Ran {
    CACHE.with(|cache| {
        let ran = Sortie::map("sum_of", inputs)
            .args(["--fresh"])
            .args(more)
            .cache(cache.path())
            .run();
        crate::secrets::are_not_in(&ran);
        ran
    })
}

/// What `sum_of` returns for this path.
fn sum(path: &str) -> Value {
    let content = HabitServer::content(path);
    let sum: u64 = content.iter().map(|byte| u64::from(*byte)).sum();
    json!([content.len(), sum])
}

#[test]
fn what_get_answers_is_read_whatever_head_would_say() {
    let server = HabitServer::start();
    for habit in [
        "plain",
        "no-head",
        "denied-head",
        "empty-head",
        "no-ranges",
        "weak",
        "unquoted",
        "bare",
        "redirect",
    ] {
        for name in ["small", "large"] {
            for more in [&[][..], &["--prefetch", "off"]] {
                let path = format!("{habit}/{name}");
                let url = server.url(&path);
                let ran = sum_of(&[&url], more).code(0);
                ran.found(&url, sum(&path));
            }
        }
    }
    assert!(server.asked().iter().all(|asked| asked.starts_with("GET ")));
    let empty = server.url("empty/file");
    sum_of(&[&empty], &[]).code(0).found(&empty, json!([0, 0]));
}

#[test]
fn a_small_file_costs_one_request_and_one_without_ranges_too() {
    let server = HabitServer::start();
    for path in ["plain/small", "no-ranges/large"] {
        let _ = sum_of(&[&server.url(path)], &[]).code(0);
        assert_eq!(server.asked(), [format!("GET /{path}")]);
    }
}

#[test]
fn ranges_of_a_file_are_read_where_they_are() {
    let server = HabitServer::start();
    let content = HabitServer::content("large");
    for habit in ["plain", "no-ranges", "weak"] {
        for (range, part) in [
            ("2000000-2000009", 2_000_000..2_000_010),
            ("1048570-1048580", 1_048_570..1_048_581),
            ("2400000-", 2_400_000..2_500_000),
            ("-10", 2_499_990..2_500_000),
        ] {
            let url = format!("{}#bytes={range}", server.url(&format!("{habit}/large")));
            let bytes = &content[part];
            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
            sum_of(&[&url], &[])
                .code(0)
                .found(&url, json!([bytes.len(), sum]));
        }
        let url = format!("{}#bytes=2500000-", server.url(&format!("{habit}/large")));
        let ran = sum_of(&[&url], &[]).code(1);
        assert_eq!(ran.of(&url)["error"]["code"], "input-malformed", "{ran}");
    }
}

#[test]
fn a_file_that_changes_is_not_mixed() {
    let server = HabitServer::start();
    let url = server.url("changing/large");
    let ran = sum_of(&[&url], &["--retries", "0"]).code(1);
    ran.failed(&url, "input-changed", &["replaced"]);
}

#[test]
fn a_path_goes_to_the_server_as_it_was_written() {
    let server = HabitServer::start();
    let url = server.url(HabitServer::exact());
    sum_of(&[&url], &["--literal"])
        .code(0)
        .found(&url, sum("small"));
    let ran = sum_of(&[&server.url("exact/a/b")], &[]).code(1);
    ran.failed(&server.url("exact/a/b"), "input-missing", &[]);
    let query = server.url("plain/small?a=%2F&b");
    let _ = sum_of(&[&query], &[]).code(0);
    assert!(server.asked().contains(&"GET /plain/small?a=%2F&b".into()));
}
