//! Commands that look at what a broker has, and find nothing: they make nothing, and say so.

use crate::beside::{Beside, refused};

#[test]
fn looking_at_an_empty_server_makes_nothing_there() {
    let beside = Beside::start();
    for (words, what) in [
        (["job", "list"], "there are no jobs"),
        (["dlq", "list"], "there are no dead letters"),
        (["worker", "list"], "there are no workers"),
    ] {
        for format in [&[][..], &["--json"]] {
            let ran = beside.sortie(&words).args(format).run().code(0);
            let ran = ran.says(&[what, "not laid out for Sortie yet", "sortie broker init"]);
            assert_eq!(ran.stdout, "", "{ran}");
        }
    }
    let job = format!("job-{}", "0".repeat(32));
    for words in [
        &["job", "status", &job][..],
        &["job", "gather", &job],
        &["job", "cancel", &job],
        &["job", "forget", &job],
        &["job", "logs", "job-0"],
        &["dlq", "remove", "1"],
    ] {
        refused(beside.sortie(words).run(), 2, &["not laid out"]);
    }
    refused(
        beside.sortie(&["broker", "check"]).run(),
        3,
        &["not laid out"],
    );
}

#[test]
fn a_tenant_whose_name_was_mistyped_is_not_there_afterwards() {
    let beside = Beside::with_worker();
    let job = beside.detach("echo", &["a"]);
    let looks = |words: &[&str]| beside.sortie(words).args(["--tenant", "defualt"]).run();
    let says = ["the broker has no tenant `defualt`", "sortie broker init"];
    for (words, what) in [
        (["job", "list"], "there are no jobs"),
        (["dlq", "list"], "there are no dead letters"),
    ] {
        let ran = looks(&words).code(0).says(&says).says(&[what]);
        assert_eq!(ran.stdout, "", "{ran}");
    }
    for words in [
        &["job", "status", &job][..],
        &["job", "gather", &job],
        &["job", "cancel", &job],
        &["job", "forget", &job],
        &["job", "logs", &job],
        &["dlq", "show", "1"],
        &["dlq", "remove", "1"],
    ] {
        refused(looks(words), 2, &says);
    }
    // Workers are everybody's.
    let _ = looks(&["worker", "list"]).code(0);
    let queues = beside.sortie(&["broker", "queues"]).run().code(0);
    assert!(
        queues.stdout.contains("default") && !queues.stdout.contains("defualt"),
        "{queues}"
    );
}

#[test]
fn a_dead_letter_that_is_not_there_is_no_success() {
    let beside = Beside::with_worker();
    let failing = ["[\"a\",\"no\"]", "[\"b\",\"no\"]"];
    let _ = beside.map("fails", failing).run().code(1);
    let listed = beside.sortie(&["dlq", "list", "--json"]).run().code(0);
    let ids: Vec<String> = listed
        .records()
        .iter()
        .map(|letter| letter["id"].to_string())
        .collect();
    refused(
        beside.sortie(&["dlq", "remove", "999"]).run(),
        2,
        &["there is no dead letter 999", "sortie dlq list"],
    );
    // Those that are there go all the same.
    refused(
        beside
            .sortie(&["dlq", "remove", &ids[0], "999", &ids[1]])
            .run(),
        2,
        &["there is no dead letter 999"],
    );
    let ran = beside.sortie(&["dlq", "list"]).run().code(0);
    let _ = ran.says(&["there are no dead letters"]);
}
