//! What is told of a job while it runs and when it is gathered: its inputs, how far it is, who
//! reads it, and who is there to run it.

use rustix::process::Signal;
use serde_json::Value;
use sortie_e2e::tables::Table;
use sortie_harness::{Ran, Running, Sortie, TcpProxy};

use crate::beside::{Beside, refused};

/// The inputs of records, in the order of their tasks.
fn inputs(ran: &Ran) -> Vec<Value> {
    let mut records = ran.records();
    records.sort_by_key(|record| record["index"].as_u64());
    records
        .iter()
        .map(|record| record["input"].clone())
        .collect()
}

/// Ask until the answer is right.
fn until(beside: &Beside, words: &[&str], is_right: impl Fn(&Value) -> bool) -> Value {
    // Asking takes a while itself, so this is a minute at least.
    for _ in 0..2000 {
        let ran = beside.sortie(words).run().code(0);
        if let Some(found) = ran.records().into_iter().find(|value| is_right(value)) {
            return found;
        }
    }
    panic!("{words:?} never says so")
}

#[test]
fn gathered_results_name_their_inputs_in_every_format() {
    let beside = Beside::with_worker();
    let given = ["plain", "42", "\"quoted\"", "[1, 2]", "a/b.pdf"];
    let job = beside.detach("echo", &given);
    let shown: Vec<Value> = ["plain", "42", "quoted", "[1, 2]", "a/b.pdf"]
        .map(Value::from)
        .into();
    let gather = |more: &[&str]| {
        beside
            .sortie(&["job", "gather", &job, "--keep"])
            .args(more)
            .run()
            .code(0)
    };
    assert_eq!(inputs(&gather(&[])), shown);
    let folder = tempfile::tempdir().unwrap();
    for (name, read) in [
        ("r.csv", Table::csv as fn(&std::path::Path) -> Table),
        ("r.parquet", Table::parquet),
    ] {
        let path = folder.path().join(name);
        let _ = gather(&["-o", path.to_str().unwrap()]);
        let table = read(&path);
        for (n, input) in (0..).zip(&shown) {
            assert_eq!(table.row(n)["input"], *input, "{name}");
        }
    }
    // A value that is no text is what it was.
    let job = beside.detach("add", &["[1, 2]", "[3, 4]"]);
    let ran = beside.sortie(&["job", "gather", &job]).run().code(0);
    assert_eq!(
        inputs(&ran),
        [serde_json::json!([1, 2]), serde_json::json!([3, 4])]
    );
}

#[test]
fn a_file_that_somebody_writes_to_takes_no_gathered_results_and_the_job_stays() {
    let beside = Beside::with_worker();
    let job = beside.detach("echo", &["x"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    std::fs::write(&path, "precious\n").unwrap();
    let file = std::fs::File::open(&path).unwrap();
    file.lock().unwrap();
    let gather = || {
        let words = ["job", "gather", &job, "-o", path.to_str().unwrap()];
        beside.sortie(&words).run()
    };
    refused(gather(), 2, &["--output", "r.jsonl", "another process"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious\n");
    drop(file);
    let _ = gather().code(0);
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"x\""));
}

#[test]
fn failures_that_are_gathered_name_their_input() {
    let beside = Beside::with_worker();
    let job = beside.detach("fails", &[r#"["no-pages", "it is empty"]"#]);
    let ran = beside
        .sortie(&["job", "gather", &job])
        .run()
        .code(1)
        .says(&[r#"such as ["no-pages","it is empty"]: it is empty"#]);
    assert_eq!(inputs(&ran).len(), 1);
    let letter = beside.sortie(&["dlq", "list", "--json"]).run().code(0);
    assert_eq!(letter.value()["input"][0], "no-pages");
}

#[test]
fn a_gatherer_takes_nothing_away_from_another() {
    let mut beside = Beside::start();
    let lines: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let job = beside.detach("echo", &lines);
    // Both read from before the first result is there.
    let first = beside.sortie(&["job", "gather", &job]).start();
    let second = beside.sortie(&["job", "gather", &job, "--ordered"]).start();
    beside.add_worker();
    for running in [first, second] {
        let ran = running.wait().code(0);
        assert_eq!(ran.records().len(), 20, "{ran}");
    }
    let gathered = until(&beside, &["job", "list", "--json"], |job| {
        job["phase"] == "gathered"
    });
    assert_eq!(gathered["completed"], 20);
    refused(
        beside.sortie(&["job", "gather", &job]).run(),
        2,
        &["were gathered at"],
    );
}

#[test]
fn what_somebody_attached_to_is_not_taken_away_by_a_gatherer() {
    let beside = Beside::with_worker();
    let job = beside.detach("logs_a_little", &["[]"]);
    let client = beside.runtime.block_on(beside.fleet.client());
    let id = job.parse().unwrap();
    let mut attached = beside.runtime.block_on(client.attach::<()>(id)).unwrap();
    let _ = beside.sortie(&["job", "gather", &job]).run().code(0);
    let outcome = beside.runtime.block_on(attached.next());
    assert_eq!(outcome.unwrap().index, 0);
    assert!(beside.runtime.block_on(attached.next()).is_none());
    drop(attached);
    beside.runtime.block_on(client.flush_jobs());
    refused(
        beside.sortie(&["job", "logs", &job]).run(),
        2,
        &["were gathered at"],
    );
}

#[test]
fn a_job_is_listed_with_how_far_it_is() {
    let mut beside = Beside::start();
    let job = beside.detach("add", &["[1, 2]", "[3, 4]", "[5, 6]"]);
    let waiting = until(&beside, &["job", "list", "--json"], |job| {
        job["phase"] == "no worker"
    });
    assert_eq!(
        (&waiting["completed"], &waiting["left"], &waiting["tasks"]),
        (&0.into(), &3.into(), &3.into())
    );
    let watching = beside.sortie(&["job", "status", &job, "--watch"]).start();
    beside.add_worker();
    let watched = watching.wait().code(0);
    let last = watched.stdout.lines().last().unwrap();
    assert!(last.starts_with("3/3 done, ended"), "{watched}");
    let text = beside.sortie(&["job", "list"]).run().code(0);
    for part in ["DONE", "FAILED", "PROGRESS", "LEFT", "100%", "ended"] {
        assert!(text.stdout.contains(part), "{part} is not in {text}");
    }
    let text = beside.sortie(&["job", "status", &job]).run().code(0);
    for part in ["3, 100% done", "completed", "waiting or running"] {
        assert!(text.stdout.contains(part), "{part} is not in {text}");
    }
    let mut watching = beside.sortie(&["job", "list", "--watch"]).start();
    while !watching.line().starts_with("JOB") {}
    assert!(watching.line().starts_with(&job));
    watching.signal(Signal::INT);
    let _ = watching.wait().code(130);
}

#[test]
fn logs_are_followed_until_the_job_ends() {
    let mut beside = Beside::start();
    let job = beside.detach("logs_a_little", &["[]", "[]"]);
    // Nothing has ended yet, and nothing is waited for.
    let now = beside.sortie(&["job", "logs", &job]).run().code(0);
    assert_eq!(now.stdout, "");
    refused(
        beside.sortie(&["job", "logs", &job, "1"]).run(),
        2,
        &["no result of task 1 yet", "--follow"],
    );
    let following = beside.sortie(&["job", "logs", &job, "--follow"]).start();
    beside.add_worker();
    let ran = following.wait().code(0);
    assert_eq!(ran.stdout.matches("==> task").count(), 2, "{ran}");
}

#[test]
fn a_worker_that_died_is_shown_as_dead() {
    let beside = Beside::start();
    let worker = beside.sortie(&["worker"]).start();
    let there = until(&beside, &["worker", "list", "--json"], |worker| {
        worker["state"] == "working"
    });
    assert_eq!(there["store"], false);
    worker.signal(Signal::KILL);
    let _ = worker.wait();
    // Until it is not listed any more, and only where it is not heard.
    let dead = until(&beside, &["worker", "list", "--json"], |worker| {
        worker["state"] == "dead"
    });
    assert_eq!(dead["worker"], there["worker"]);
}

#[test]
fn a_second_interrupt_names_the_job_that_may_go_on() {
    let beside = Beside::with_worker();
    let proxy = TcpProxy::for_nats(beside.fleet.server().address());
    let interrupted = |mut running: Running| {
        running.line();
        proxy.stall();
        running.signal(Signal::INT);
        running.signal(Signal::TERM);
        let ran = running.wait().code(130);
        proxy.mend();
        ran
    };
    let map = Sortie::map("echo", ["--inputs", "-"])
        .cache(beside.fleet.cache())
        .env("SORTIE_BROKER", proxy.url());
    let ran = interrupted(map.input("one\n").keep_input_open().start());
    let job = beside
        .sortie(&["job", "list", "--json"])
        .run()
        .code(0)
        .value();
    let id = job["job"].as_str().unwrap();
    assert!(
        ran.stderr.contains(&format!("sortie job cancel {id}"))
            && ran.stderr.contains("may go on at the broker")
            && !ran.stderr.contains("goes on from there"),
        "{ran}"
    );
}

#[test]
fn an_object_is_not_made_where_no_worker_has_a_store() {
    let beside = Beside::start();
    let worker = beside.sortie(&["worker"]).start();
    until(&beside, &["worker", "list", "--json"], |worker| {
        worker["store"] == false
    });
    refused(
        beside.map("makes_object", ["[1, null]"]).run(),
        2,
        &["makes an object", "the one worker", "--store URL"],
    );
    refused(
        beside.call("makes_object", ["1", "null"]).run(),
        2,
        &["makes an object"],
    );
    // Nothing was submitted.
    let ran = beside.sortie(&["job", "list", "--json"]).run().code(0);
    assert_eq!(ran.stdout, "", "{ran}");
    worker.signal(Signal::TERM);
    let _ = worker.wait().code(0);
}

#[test]
fn it_is_said_that_one_of_several_workers_is_lost() {
    let beside = Beside::start();
    let workers = [(); 2].map(|()| beside.sortie(&["worker", "--concurrency", "1"]).start());
    until(&beside, &["worker", "list", "--json"], |_| {
        let ran = beside.sortie(&["worker", "list", "--json"]).run().code(0);
        ran.records().len() == 2
    });
    let mut running = beside
        .map("spins_forever", ["[]"])
        .args(["--progress", "lines"])
        .by_script("exec \"$@\" 2>&1")
        .start();
    let busy = until(&beside, &["worker", "list", "--json"], |worker| {
        worker["busy"] == 1
    });
    let works = |worker: &&Running| u64::from(worker.id()) == busy["process"].as_u64().unwrap();
    workers.iter().find(works).unwrap().signal(Signal::KILL);
    let line = loop {
        let line = running.line();
        if line.contains("not heard any more") {
            break line;
        }
    };
    for part in [busy["worker"].as_str().unwrap(), "run again", "30s"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // The other one has the task when the lease is over.
    let process = &busy["process"];
    until(&beside, &["worker", "list", "--json"], |worker| {
        worker["busy"] == 1 && worker["process"] != *process
    });
    running.signal(Signal::INT);
    let _ = running.wait().code(130);
}

#[test]
fn it_is_said_that_the_last_worker_is_gone() {
    let beside = Beside::start();
    let worker = beside.sortie(&["worker"]).start();
    until(&beside, &["worker", "list", "--json"], |worker| {
        worker["state"] == "working"
    });
    let job = beside.detach("spins_forever", &["[]"]);
    until(&beside, &["worker", "list", "--json"], |worker| {
        worker["busy"] == 1
    });
    let mut gathering = beside
        .sortie(&["job", "gather", &job, "--progress", "lines"])
        .by_script("exec \"$@\" 2>&1")
        .start();
    worker.signal(Signal::KILL);
    let _ = worker.wait();
    while !gathering.line().contains("no worker is there") {}
    gathering.signal(Signal::INT);
    let ran = gathering.wait().code(130);
    assert!(ran.stdout.contains("the job goes on"), "{ran}");
    let _ = beside.sortie(&["job", "cancel", &job]).run().code(0);
}
