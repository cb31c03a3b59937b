//! `sortie map --then … --reduce …` over a fleet: what comes out is what one process gives, and
//! nothing is left at the broker.

use rustix::process::Signal;
use serde_json::{Value, json};
use sortie_harness::{Ran, Sortie};

use crate::beside::{Beside, refused, results};

/// `add` 1, then `mirrors`, of so many numbers, and any further options.
fn chain(beside: &Beside, numbers: u64, options: &[&str]) -> Sortie {
    let inputs: String = (0..numbers).map(|n| format!("{n}\n")).collect();
    beside
        .map(
            "add",
            ["--inputs", "-", "--arg", "b=1", "--then", "mirrors"],
        )
        .args(options)
        .input(inputs)
}

fn left(beside: &Beside) -> Ran {
    beside.sortie(&["job", "list", "--json"]).run().code(0)
}

#[test]
fn a_chain_and_a_tree_over_a_broker_give_what_one_process_gives() {
    let mut beside = Beside::with_worker();
    beside.add_worker();
    for options in [&[][..], &["--reduce", "mirrors", "--fan-in", "3"]] {
        let over = chain(&beside, 500, options).run().code(0);
        let without = chain(&beside, 500, options)
            .args(["--broker", "local"])
            .run()
            .code(0);
        assert_eq!(results(&over), results(&without));
        // The job is removed with its last result.
        assert_eq!(left(&beside).stdout, "");
    }
    let ran = chain(&beside, 5000, &["--reduce", "sum"])
        .run()
        .code(0)
        .says(&["5000 inputs: 5000 completed", "reduced to one result"]);
    assert_eq!(ran.value()["value"], (1..=5000).sum::<u64>());
}

#[test]
fn a_failure_over_a_broker_names_its_input_and_the_function() {
    let beside = Beside::with_worker();
    let map = |options: &[&str]| {
        beside
            .map("mirrors", ["a", "!bad", "c"])
            .args(["--then", "echo"])
            .args(options)
            .run()
            .code(1)
    };
    let ran = map(&[]);
    let records = ran.records();
    let failed: Vec<_> = records
        .iter()
        .filter(|record| record["status"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{ran}");
    for record in [failed[0], &map(&["--reduce", "mirrors"]).value()] {
        assert_eq!(
            (
                &record["input"],
                &record["error"]["code"],
                &record["error"]["function"]
            ),
            (&json!("!bad"), &json!("bad"), &json!("mirrors"))
        );
    }
    assert_eq!(left(&beside).stdout, "");
    // Whoever looks after the fleet finds the input's name, whichever function failed.
    let letters = beside.sortie(&["dlq", "list", "--json"]).run().code(0);
    assert!(
        letters
            .records()
            .iter()
            .all(|letter| letter["input"] == "!bad"),
        "{letters}"
    );
}

#[test]
fn an_interrupted_pipeline_leaves_nothing_at_the_broker_and_frees_its_workers() {
    let beside = Beside::with_worker();
    for options in [&[][..], &["--reduce", "mirrors"]] {
        let inputs = ["1", "1000000000000000", "1000000000000001"];
        let running = beside
            .map("mirrors", inputs)
            .args(["--then", "spins_for"])
            .args(options)
            .start();
        beside.job();
        running.signal(Signal::INT);
        let ran = running
            .wait()
            .code(130)
            .says(&["interrupted", "run the same command again"]);
        assert!(!ran.stderr.contains("may go on"), "{ran}");
        assert!(
            ran.records()
                .iter()
                .all(|record| record["status"] != "failed"),
            "{ran}"
        );
        assert_eq!(left(&beside).stdout, "");
        let _ = beside.call("echo", ["free"]).run().code(0);
    }
}

#[test]
fn a_pipeline_that_another_client_cancels_says_so() {
    let beside = Beside::with_worker();
    for options in [&[][..], &["--reduce", "mirrors"]] {
        let running = beside
            .map("mirrors", ["1000000000000000"])
            .args(["--then", "spins_for"])
            .args(options)
            .start();
        let _ = beside
            .sortie(&["job", "cancel", &beside.job()])
            .run()
            .code(0);
        let ran = running
            .wait()
            .code(3)
            .says(&["cancelled by another client; run the same command again"]);
        assert_eq!(ran.value()["status"], "cancelled");
    }
}

#[test]
fn a_pipeline_is_not_left_to_a_fleet() {
    let beside = Beside::start();
    for options in [["--then", "mirrors"], ["--reduce", "mirrors"]] {
        let ran = beside
            .map("echo", ["x"])
            .args(options)
            .args(["--detach"])
            .run();
        refused(ran, 2, &["--detach", "has to stay"]);
    }
    assert_eq!(left(&beside).stdout, "");
}

#[test]
fn a_pipeline_goes_on_when_its_broker_was_away() {
    let beside = Beside::with_worker();
    let runtime = &beside.runtime;
    let mut running = chain(&beside, 2000, &["--ordered"]).start();
    let first: Value = serde_json::from_str(&running.line()).unwrap();
    assert_eq!(first["value"], 1);
    beside.fleet.server().kill();
    runtime.block_on(beside.fleet.server().restart());
    let ran = running.wait().code(0);
    let values: Vec<_> = results(&ran)
        .into_iter()
        .map(|(_, _, value, _)| value)
        .collect();
    assert!(values.into_iter().eq((1..=2000).map(Value::from)));
}

#[test]
fn a_pipeline_whose_broker_stays_away_says_how_far_it_came() {
    let mut beside = Beside::with_worker();
    // The task without end was published before the last one of the other input.
    let mut running = beside
        .map("spins_for", ["1", "1000000000000000"])
        .args(["--then", "mirrors", "--outage-timeout", "1s"])
        .start();
    running.line();
    beside.fleet.server().kill();
    beside.workers.clear();
    let _ = running.wait().code(3).says(&[
        "ended early, after 1 of 2 inputs",
        "does not answer",
        "run the same command again",
    ]);
}
