//! Jobs by the `sortie` command: what one process submits, another gathers.

use rustix::process::Signal;
use sortie_e2e::tables::Table;
use sortie_harness::{
    Fault, Link, NatsServer, Operation, Ran, S3Server, Sortie, StoreProxy, TcpProxy,
};
use tokio::runtime::Runtime;

use crate::beside::{Beside, refused, results};

#[test]
fn a_map_over_a_broker_gives_the_lines_of_one_without() {
    let beside = Beside::with_worker();
    let inputs: Vec<String> = (0..200).map(|n| format!("input {n}")).collect();
    let over = beside.map("echo", &inputs).run().code(0);
    let without = beside
        .map("echo", &inputs)
        .args(["--broker", "local"])
        .run()
        .code(0);
    assert_eq!(results(&over), results(&without));
    let inputs = |ran: &Ran| {
        ran.records()
            .iter()
            .map(|record| record["input"].to_string())
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(inputs(&over), inputs(&without));
    let sum = beside
        .sortie(&["call"])
        .args([sortie_harness::component("behaviours")])
        .args(["add", "2", "40"])
        .cache(beside.fleet.cache());
    assert_eq!(sum.run().code(0).stdout, "42\n");
    // After all results were read, the job is removed.
    let ran = beside.sortie(&["job", "list", "--json"]).run().code(0);
    assert_eq!(ran.stdout, "", "{ran}");
}

#[test]
fn a_detached_job_is_gathered_by_another_process_and_stays_listed() {
    let mut beside = Beside::start();
    let job = beside.detach("echo", &["a", "b", "c"]);
    let listed = beside
        .sortie(&["job", "list", "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (&listed["job"], &listed["state"], &listed["tasks"]),
        (&job.as_str().into(), &"submitted".into(), &3.into())
    );
    let status = beside
        .sortie(&["job", "status", &job[..12], "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (&status["completed"], &status["failed"]),
        (&0.into(), &0.into())
    );
    beside.add_worker();
    let kept = beside
        .sortie(&["job", "gather", &job[..12], "--ordered", "--keep"])
        .run()
        .code(0);
    let values: Vec<_> = kept
        .records()
        .iter()
        .map(|record| record["value"].clone())
        .collect();
    assert_eq!(values, ["a", "b", "c"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    beside
        .sortie(&["job", "gather", &job, "-o"])
        .args([&path])
        .run()
        .code(0)
        .says(&["3 completed"])
        .stdout
        .is_empty()
        .then_some(())
        .unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 3);
    refused(
        beside.sortie(&["job", "gather", &job]).run(),
        2,
        &["were gathered at", "not kept any longer"],
    );
    let listed = beside
        .sortie(&["job", "list", "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (&listed["phase"], &listed["completed"], &listed["left"]),
        (&"gathered".into(), &3.into(), &0.into())
    );
    let _ = beside.sortie(&["job", "forget", &job]).run().code(0);
    refused(
        beside.sortie(&["job", "status", &job[..12]]).run(),
        2,
        &["there is no job"],
    );
    refused(
        beside.sortie(&["job", "cancel", "7"]).run(),
        2,
        &["`7` is not a job's name"],
    );
}

#[test]
fn what_a_killed_client_submitted_is_gathered() {
    let beside = Beside::with_worker();
    let lines: String = (0..40).map(|n| format!("line {n}\n")).collect();
    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input(lines)
        .keep_input_open()
        .start();
    for _ in 0..20 {
        running.line();
    }
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, None);
    let job = beside
        .sortie(&["job", "list", "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(job["state"], "open");
    let name = job["job"].as_str().unwrap();
    let ran = beside
        .sortie(&["job", "gather", name])
        .run()
        .code(4)
        .says(&["more may be missing", "sortie job forget"]);
    let results = results(&ran);
    // What was read from the input and what was submitted may differ by what the client had in
    // hand.
    assert!((20..=40).contains(&results.len()), "{ran}");
    assert!(
        results
            .iter()
            .zip(0..)
            .all(|((index, status, ..), n)| *index == n && status == "completed"),
        "{ran}"
    );
    let _ = beside.sortie(&["job", "forget", name]).run().code(0);
    assert_eq!(
        beside
            .sortie(&["job", "list", "--json"])
            .run()
            .code(0)
            .stdout,
        ""
    );
}

#[test]
fn an_interrupted_map_cancels_its_job() {
    let beside = Beside::with_worker();
    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    running.line();
    running.signal(Signal::INT);
    let ran = running
        .wait()
        .code(130)
        .says(&["1 task: 1 completed", "cancelled at the broker"]);
    assert_eq!(ran.records().len(), 1);
    assert_eq!(
        beside
            .sortie(&["job", "list", "--json"])
            .run()
            .code(0)
            .stdout,
        ""
    );
}

#[test]
fn a_cancellation_that_the_broker_did_not_confirm_is_not_said_to_be_done() {
    let beside = Beside::with_worker();
    let proxy = TcpProxy::for_nats(beside.fleet.server().address());
    let map = Sortie::map("echo", ["--inputs", "-"])
        .cache(beside.fleet.cache())
        .env("SORTIE_BROKER", proxy.url());
    let mut running = map.input("one\n").keep_input_open().start();
    running.line();
    proxy.stall();
    running.signal(Signal::INT);
    let ran = running.wait().code(130).says(&[
        "1 task: 1 completed",
        "has not confirmed",
        "may go on at the broker",
        "sortie job cancel job-",
    ]);
    // And no more than is known.
    assert!(
        !ran.stderr.contains("was cancelled") && !ran.stderr.contains("goes on from there"),
        "{ran}"
    );
    let job = beside
        .sortie(&["job", "list", "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(job["state"], "open");
    assert!(ran.stderr.contains(job["job"].as_str().unwrap()), "{ran}");
}

#[test]
fn a_call_that_somebody_else_cancels_says_so() {
    let beside = Beside::start();
    let running = beside.call("empty", ["[]"; 0]).start();
    let _ = beside
        .sortie(&["job", "cancel", &beside.job()])
        .run()
        .code(0);
    let ran = running.wait().code(3);
    let lines: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran}");
    assert!(
        lines[0].starts_with("no worker is connected yet")
            && lines[1].contains("cancelled by another client"),
        "{ran}"
    );

    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    let _ = beside
        .sortie(&["job", "cancel", &beside.job()])
        .run()
        .code(0);
    assert!(running.line().contains("cancelled"));
    let _ = running
        .wait()
        .code(3)
        .says(&["cancelled by another client"]);
}

#[test]
fn a_map_whose_broker_stays_away_leaves_its_job_to_whoever_comes_later() {
    let mut beside = Beside::with_worker();
    let map = beside
        .map("echo", ["--inputs", "-"])
        .args(["--outage-timeout", "1s"]);
    let mut running = map.input("one\n").keep_input_open().start();
    running.line();
    beside.workers.clear();
    beside.fleet.server().kill();
    let ran = running.wait().code(3).says(&[
        "ended early, after 1 of 1 tasks",
        "does not answer",
        "sortie job gather job-",
    ]);
    let job = ran
        .stderr
        .split("sortie job gather ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    beside.runtime.block_on(beside.fleet.server().restart());
    let status = beside
        .sortie(&["job", "status", job, "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (
            &status["state"],
            &status["completed"],
            &status["counted_all"]
        ),
        (&"open".into(), &1.into(), &true.into())
    );
    let ran = beside
        .sortie(&["job", "gather", job])
        .run()
        .code(4)
        .says(&["more may be missing"]);
    assert_eq!(results(&ran).len(), 1, "{ran}");
}

#[test]
fn logs_that_break_off_are_no_success() {
    let mut beside = Beside::start();
    let job = beside.detach("spins_forever", &["[]"]);
    beside.add_worker();
    let broken = |words: &[&str]| {
        beside
            .sortie(words)
            .args(["--outage-timeout", "1s"])
            .start()
    };
    let running = [
        broken(&["job", "logs", &job, "--follow"]),
        broken(&["job", "logs", &job, "0", "--follow"]),
        broken(&["job", "gather", &job]),
    ];
    let call = beside
        .call("spins_forever", ["[]"; 0])
        .args(["--outage-timeout", "1s"])
        .start();
    // It is under way when there are two.
    for attempt in 0.. {
        assert!(attempt < 2000, "the call was not submitted");
        if beside
            .sortie(&["job", "list", "--json"])
            .run()
            .code(0)
            .records()
            .len()
            == 2
        {
            break;
        }
    }
    beside.fleet.server().kill();
    for running in running {
        let ran = running.wait().code(3);
        // Before that, that the connection was lost.
        let last = ran.stderr.lines().last().unwrap();
        assert!(
            last.starts_with("error: ")
                && last.contains("ended early")
                && last.contains("does not answer"),
            "{ran}"
        );
    }
    let ran = call
        .wait()
        .code(3)
        .says(&["does not answer", "sortie job gather job-"]);
    assert_eq!(ran.stdout, "", "{ran}");
    beside.workers.clear();
}

#[test]
fn results_that_a_store_did_not_take_are_all_gathered_into_another_object() {
    let beside = Beside::with_worker();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bucket")).unwrap();
    let server = S3Server::start(folder.path());
    let proxy = StoreProxy::start(server.address(), Link::default());
    // The question that begins, the part, and then the end, when all results were received.
    proxy.add(Fault::AccessDenied.on(Operation::Any, "r.csv").nth(3));
    let inputs: Vec<String> = (0..200).map(|n| format!("input {n}")).collect();
    let ran = proxy
        .for_command(
            beside
                .map("echo", &inputs)
                .args(["-o", "s3://bucket/r.csv"]),
        )
        .run()
        .code(3);
    let ran = ran.says(&[
        "`s3://bucket/r.csv`",
        "may not be written to",
        "sortie job gather job-",
    ]);
    let job = ran
        .stderr
        .split("sortie job gather ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    let gather = |url: &str| {
        proxy
            .for_command(beside.sortie(&["job", "gather", job, "-o", url]))
            .run()
    };
    refused(
        gather("s3://nowhere/r.parquet"),
        2,
        &["--output", "no such bucket"],
    );
    let _ = gather("s3://bucket/r.parquet")
        .code(0)
        .says(&["200 completed", "results: s3://bucket/r.parquet"]);
    let table = Table::parquet(&folder.path().join("bucket/r.parquet"));
    for n in 0..200 {
        assert_eq!(table.row(n)["value"], format!("input {n}"));
    }
    refused(gather("s3://bucket/r.parquet"), 2, &["were gathered at"]);
}

#[test]
fn a_job_is_cancelled_by_name() {
    let beside = Beside::with_worker();
    let job = beside.detach("spins_forever", &["[]", "[]", "[]"]);
    let _ = beside
        .sortie(&["job", "cancel", &job])
        .run()
        .code(0)
        .says(&["is cancelled"]);
    let status = beside
        .sortie(&["job", "status", &job, "--json"])
        .run()
        .code(0)
        .value();
    assert_eq!(
        (&status["state"], &status["unfinished_bundles"]),
        (&"cancelled".into(), &0.into())
    );
    let ran = beside
        .sortie(&["job", "gather", &job])
        .run()
        .code(1)
        // It was sealed before, so it is known how many tasks there were.
        .says(&["was cancelled: 0 of its 3 tasks had ended"]);
    assert_eq!(ran.stdout, "", "{ran}");
}

#[test]
fn logs_of_a_job_are_shown_by_task() {
    let beside = Beside::with_worker();
    let job = beside.detach("logs_a_little", &["[]", "[]"]);
    let all = beside
        .sortie(&["job", "logs", &job, "--follow"])
        .run()
        .code(0);
    assert!(
        all.stdout.contains("==> task 0: [] <==") && all.stdout.contains("==> task 1: [] <=="),
        "{all}"
    );
    // What has ended is there without waiting, too.
    let now = beside.sortie(&["job", "logs", &job]).run().code(0);
    assert_eq!(now.stdout.len(), all.stdout.len(), "{now}");
    let one = beside.sortie(&["job", "logs", &job, "1"]).run().code(0);
    assert!(
        one.stdout.contains("a line on stdout\n") && !one.stdout.contains("==>"),
        "{one}"
    );
}

#[test]
fn dead_letters_are_shown_replayed_and_removed() {
    let beside = Beside::with_worker();
    let ran = beside
        .map(
            "fails",
            [
                r#"["no-pages","it is empty"]"#,
                r#"["damaged","bad header"]"#,
            ],
        )
        .run()
        .code(1);
    assert_eq!(ran.records().len(), 2);
    let list = beside
        .sortie(&["dlq", "list", "--json"])
        .run()
        .code(0)
        .records();
    let mut codes: Vec<_> = list
        .iter()
        .map(|letter| letter["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["damaged", "no-pages"]);
    let id = list[0]["id"].to_string();
    let shown = beside.sortie(&["dlq", "show", &id]).run().code(0).value();
    assert_eq!(shown["arguments"][0], list[0]["code"]);
    let text = beside.sortie(&["dlq", "list"]).run().code(0);
    assert!(
        text.stdout.contains("MESSAGE") && text.stdout.contains("it is empty"),
        "{text}"
    );

    let replayed = beside
        .sortie(&["dlq", "replay", &id])
        .run()
        .code(0)
        .says(&["tasks submitted again: 1"]);
    let again = beside
        .sortie(&["job", "gather", replayed.stdout.trim()])
        .run()
        .code(1);
    assert_eq!(again.records()[0]["error"]["code"], list[0]["code"]);
    let left = beside
        .sortie(&["dlq", "list", "--json"])
        .run()
        .code(0)
        .records();
    assert!(
        left.len() == 2
            && left
                .iter()
                .all(|letter| letter["id"].as_u64() != id.parse().ok()),
        "{left:?}"
    );
    let ids: Vec<String> = left.iter().map(|letter| letter["id"].to_string()).collect();
    let _ = beside.sortie(&["dlq", "remove"]).args(ids).run().code(0);
    let _ = beside
        .sortie(&["dlq", "list"])
        .run()
        .code(0)
        .says(&["there are no dead letters"]);
    refused(
        beside.sortie(&["dlq", "show", &id]).run(),
        2,
        &["there is no dead letter"],
    );
    refused(beside.sortie(&["dlq", "replay"]).run(), 2, &["--all"]);
}

#[test]
fn a_broker_is_set_up_once_and_checked() {
    let beside = Beside::start();
    refused(
        beside.sortie(&["broker", "check"]).run(),
        3,
        &["sortie broker init"],
    );
    for _ in 0..2 {
        let ran = beside
            .sortie(&[
                "broker", "init", "--shards", "2", "--lease", "10s", "--pool", "gpu",
            ])
            .run()
            .code(0);
        for part in ["shards    2", "lease     10s", "gpu"] {
            assert!(ran.stdout.contains(part), "{part} is not in {ran}");
        }
    }
    let ran = beside.sortie(&["broker", "init"]).run().code(0);
    assert!(ran.stdout.contains("shards    2"), "{ran}");
    refused(
        beside.sortie(&["broker", "init", "--shards", "4"]).run(),
        3,
        &["already has a layout"],
    );
    // Who adds a tenant or a pool names no layout, and there is one that is not the default.
    let ran = beside
        .sortie(&["broker", "init", "--tenant", "acme", "--pool", "region=eu"])
        .run()
        .code(0);
    assert!(
        ran.stdout.contains("shards    2") && ran.stdout.contains("region=eu"),
        "{ran}"
    );
    let ran = beside.sortie(&["broker", "check"]).run().code(0);
    assert!(ran.stdout.contains("0 with 0 slots"), "{ran}");
}

#[test]
fn a_queue_has_the_size_that_was_named_and_can_be_emptied() {
    let beside = Beside::start();
    for size in ["16MiB", "32MiB"] {
        let words = ["broker", "init", "--queue-size", size, "--weight", "2"];
        let _ = beside.sortie(&words).run().code(0);
    }
    let words = ["broker", "init", "--queue-size", "1MiB"];
    refused(beside.sortie(&words).run(), 2, &["write a size from"]);
    let job = beside.detach("echo", &["x", "y"]);
    let ran = beside.sortie(&["broker", "queues"]).run().code(0);
    for part in ["default", "33554432"] {
        assert!(ran.stdout.contains(part), "{part} is not in {ran}");
    }
    let ran = beside.sortie(&["broker", "empty"]).run().code(0);
    assert!(ran.stdout.contains("default"), "{ran}");
    let ran = beside
        .sortie(&["job", "status", &job, "--json"])
        .run()
        .code(0);
    assert_eq!(ran.value()["unfinished_bundles"], 0, "{ran}");
}

#[test]
fn a_job_whose_results_nobody_took_is_kept() {
    let beside = Beside::with_worker();
    let job = beside.detach("echo", &["x", "y"]);
    // The reader closes the pipe before the first result can be written.
    let _ = beside.sortie(&["job", "gather", &job]).start().close();
    let again = beside.sortie(&["job", "gather", &job]).run().code(0);
    assert_eq!(results(&again).len(), 2, "{again}");
}

#[test]
fn whoever_may_not_read_outcomes_is_told_which_subject_is_missing() {
    let denied = r#"{ publish: { deny: ["$JS.API.DIRECT.GET.sortie-outcomes-default"] } }"#;
    let users = format!(
        "users: [{{ user: all, password: pw }}, {{ user: few, password: pw, permissions: {denied} \
         }}]"
    );
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(
        NatsServer::builder()
            .config(&format!("authorization {{ {users} }}"))
            .start(),
    );
    let as_user = |user: &str, command: Sortie| {
        command.env(
            "SORTIE_BROKER",
            format!("nats://{user}:pw@{}", server.address()),
        )
    };
    let ran = as_user("all", Sortie::map("echo", ["x", "--detach"]))
        .run()
        .code(0);
    let job = ran.stdout.trim();
    let cancelled = as_user("all", Sortie::new(["job", "cancel", job])).run();
    assert_eq!(cancelled.code, Some(0), "{cancelled}");
    // There is something to read: the marker of the cancellation.
    refused(
        as_user("few", Sortie::new(["job", "gather", job])).run(),
        3,
        &["DIRECT.GET.sortie-outcomes-default"],
    );
}

#[test]
fn a_broker_that_cannot_be_used_is_named_in_one_line() {
    let nobody = "nats://127.0.0.1:1";
    let map = Sortie::map("echo", ["x", "--broker", nobody, "--connect-timeout", "1s"]);
    refused(map.run(), 3, &["127.0.0.1:1"]);
    refused(
        Sortie::new(["job", "list", "--broker", nobody, "--connect-timeout", "1s"]).run(),
        3,
        &["127.0.0.1:1"],
    );
    refused(
        Sortie::new(["job", "list"]).run(),
        2,
        &["no broker is named", "--broker"],
    );
    refused(
        Sortie::map("echo", ["x", "--detach"]).run(),
        2,
        &["--detach", "--broker"],
    );
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(
        NatsServer::builder()
            .config("authorization { user: me, password: right }")
            .start(),
    );
    let address = server.address();
    let wrong = format!("nats://me:wrong-secret@{address}");
    let ran = Sortie::new(["job", "list", "--broker", &wrong]).run();
    assert!(!ran.stderr.contains("wrong-secret"), "{ran}");
    refused(ran, 3, &["refuses"]);
    let _ = Sortie::new([
        "broker",
        "init",
        "--broker",
        &format!("nats://me:right@{address}"),
    ])
    .run()
    .code(0);
}
