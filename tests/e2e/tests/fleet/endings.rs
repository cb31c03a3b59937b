//! Jobs that another client ends, results that nobody takes, and jobs that come to no end.

use std::path::Path;

use rustix::process::Signal;
use sortie_harness::{Ran, Running, Sortie};

use crate::beside::{Beside, refused};

/// More than a page of numbers that a worker ends at once, and two that it never ends.
const ENDLESS: &str = "1000000000000000000";

/// Gather a job of which two of four tasks have ended, and the others never end.
fn gathering(beside: &Beside) -> (String, Running) {
    let job = beside.detach("spins_for", &["1", "2", ENDLESS, ENDLESS]);
    let mut gathering = beside.sortie(&["job", "gather", &job]).start();
    for _ in 0..2 {
        gathering.line();
    }
    (job, gathering)
}

/// See that two results came, each with its input.
#[track_caller]
fn has_two_results(ran: &Ran) {
    let records = ran.records();
    let mut inputs: Vec<_> = records.iter().map(|record| &record["input"]).collect();
    inputs.sort_by_key(ToString::to_string);
    assert_eq!(
        inputs,
        [&serde_json::json!(1), &serde_json::json!(2)],
        "{ran}"
    );
}

fn last_line(ran: &Ran) -> &str {
    ran.stderr.lines().last().unwrap_or_default()
}

#[test]
fn gathering_a_job_that_another_client_cancels_ends_with_what_ended() {
    let beside = Beside::with_worker();
    let (job, gathering) = gathering(&beside);
    let _ = beside.sortie(&["job", "cancel", &job]).run().code(0);
    let ran = gathering.wait().code(1);
    has_two_results(&ran);
    let says =
        format!("{job} was cancelled: 2 of its 4 tasks had ended, and the others have no result");
    assert_eq!(last_line(&ran), says, "{ran}");
}

#[test]
fn gathering_a_job_that_another_client_forgets_says_so() {
    let beside = Beside::with_worker();
    let (job, gathering) = gathering(&beside);
    let following = beside.sortie(&["job", "logs", &job, "--follow"]).start();
    let mut watching = beside.sortie(&["job", "status", &job, "--watch"]).start();
    watching.line();
    let _ = beside.sortie(&["job", "forget", &job]).run().code(0);
    let says = format!("{job} was forgotten by another client");
    let ran = gathering.wait().code(3);
    has_two_results(&ran);
    assert_eq!(
        last_line(&ran),
        format!("error: {says}; the results of 2 tasks were written by then"),
        "{ran}"
    );
    for running in [following, watching] {
        let ran = running.wait().code(3).says(&[&says]);
        assert!(!ran.stderr.contains("cancelled"), "{ran}");
    }
    // Workers stopped what ran.
    let ran = beside.map("echo", ["a", "b", "c"]).run().code(0);
    assert_eq!(ran.records().len(), 3, "{ran}");
}

#[test]
fn a_map_that_another_client_forgets_says_so() {
    let beside = Beside::with_worker();
    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    running.line();
    let job = beside.job();
    let _ = beside.sortie(&["job", "forget", &job]).run().code(0);
    let says = format!("{job} was forgotten by another client");
    let ran = running.wait().code(3).says(&[&says, "after 1 of 1 tasks"]);
    assert!(!ran.stderr.contains("cancelled"), "{ran}");
}

/// Gather into a pipe, and see what its reader gives.
fn gather_into(beside: &Beside, job: &str, reader: &str) -> Ran {
    beside
        .sortie(&["job", "gather", job])
        .by_script(&format!("{{ \"$@\"; echo \"code $?\" >&2; }} | {reader}"))
        .run()
        .code(0)
}

#[test]
fn results_stay_until_the_reader_of_a_pipe_has_taken_them() {
    let beside = Beside::with_worker();
    let inputs: Vec<String> = (0..20).map(|n| format!("input {n}")).collect();
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let job = beside.detach("echo", &inputs);
    // All of them fit into the pipe, so that all were written when the reader leaves.
    let again = format!("sortie job gather {job}");
    for reader in ["head -n 3", "head -c 1", "true"] {
        let ran =
            gather_into(&beside, &job, reader).says(&["code 3", "stay at the broker", &again]);
        assert!(ran.stdout.lines().count() <= 3, "{ran}");
    }
    // So with any pipe that is named.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let ran = beside
        .sortie(&["job", "gather", &job, "-o", pipe.to_str().unwrap()])
        .by_script(&format!(
            "mkfifo '{0}'; head -n 3 '{0}' >/dev/null & exec \"$@\"",
            pipe.display()
        ))
        .run();
    let _ = ran.code(3).says(&["stay at the broker"]);
    let ran = gather_into(&beside, &job, "cat").says(&["code 0"]);
    assert_eq!(ran.records().len(), 20, "{ran}");
    refused(
        beside.sortie(&["job", "gather", &job]).run(),
        2,
        &["were gathered at"],
    );
}

#[test]
fn a_reader_that_takes_nothing_is_waited_for_until_a_signal_comes() {
    let beside = Beside::with_worker();
    let job = beside.detach("echo", &["a", "b"]);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut gathering = beside
        .sortie(&["job", "gather", &job, "-o", pipe.to_str().unwrap()])
        .by_script("exec \"$@\" 2>&1")
        .start();
    // Opening it waits for the other end.
    let _reader = std::fs::File::open(&pipe).unwrap();
    while !gathering.line().contains("2 completed") {}
    while !gathering.line().contains("results:") {}
    gathering.signal(Signal::INT);
    let ran = gathering.wait().code(130);
    assert!(ran.stdout.contains("the job goes on"), "{ran}");
    let ran = beside.sortie(&["job", "gather", &job]).run().code(0);
    assert_eq!(ran.records().len(), 2, "{ran}");
}

#[test]
fn a_job_without_a_submitter_is_watched_until_nothing_more_can_come() {
    let beside = Beside::with_worker();
    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    running.line();
    let job = beside.job();
    let watching = beside.sortie(&["job", "status", &job, "--watch"]).start();
    running.signal(Signal::KILL);
    let _ = running.wait();
    let ran = watching.wait().code(0).says(&[
        "the submitter of job-",
        "nothing more comes",
        &format!("sortie job gather {job}"),
    ]);
    let last = ran.stdout.lines().last().unwrap();
    assert!(last.starts_with("1 done, abandoned"), "{ran}");
}

#[test]
fn a_job_whose_tasks_are_gone_is_watched_until_nothing_more_can_come() {
    let beside = Beside::start();
    let job = beside.detach("echo", &["a", "b", "c"]);
    let watching = beside.sortie(&["job", "status", &job, "--watch"]).start();
    let _ = beside.sortie(&["broker", "empty"]).run().code(0);
    let says = [
        &*format!("nothing of {job} is unfinished"),
        "3 of its tasks",
    ];
    let ran = watching.wait().code(0).says(&says);
    let last = ran.stdout.lines().last().unwrap();
    assert_eq!(last, "0/3 done, incomplete", "{ran}");
    let ran = beside.sortie(&["job", "status", &job, "--json"]).run();
    let shown = ran.code(0).says(&says).value();
    assert_eq!(shown["phase"], "incomplete");
}

#[test]
fn jobs_that_were_ended_stay_away_when_the_server_is_killed() {
    let mut beside = Beside::with_worker();
    let gathered = beside.detach("echo", &["a", "b"]);
    let _ = beside.sortie(&["job", "gather", &gathered]).run().code(0);
    let forgotten = beside.detach("spins_forever", &["[]", "[]", "[]"]);
    let _ = beside.sortie(&["job", "status", &forgotten]).run().code(0);
    let _ = beside.sortie(&["job", "forget", &forgotten]).run().code(0);
    let mut running = beside
        .map("echo", ["--inputs", "-"])
        .input("one\n")
        .keep_input_open()
        .start();
    running.line();
    running.signal(Signal::INT);
    let _ = running.wait().code(130);
    beside.workers.clear();
    beside.fleet.server().kill();
    beside.runtime.block_on(beside.fleet.server().restart());
    let listed = beside.sortie(&["job", "list", "--json"]).run().code(0);
    let jobs = listed.records();
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| (&job["job"], &job["phase"]))
        .collect();
    assert_eq!(jobs, [(&gathered.into(), &"gathered".into())], "{listed}");
    refused(
        beside
            .sortie(&["job", "status", &forgotten, "--watch"])
            .run(),
        2,
        &["there is no job"],
    );
}

fn detached(beside: &Beside, to: &Path) -> Sortie {
    beside
        .map("echo", ["a"])
        .args(["--detach"])
        .by_script(&format!("exec \"$@\" >{}", to.display()))
}

#[test]
fn a_job_is_left_to_a_fleet_only_where_its_name_can_be_printed() {
    let beside = Beside::with_worker();
    let none = |beside: &Beside| {
        let listed = beside.sortie(&["job", "list", "--json"]).run().code(0);
        assert_eq!(listed.stdout, "", "{listed}");
    };
    let map = beside.map("echo", ["a"]).args(["--detach"]);
    refused(
        map.by_script("exec \"$@\" >&-").run(),
        3,
        &["standard output is closed", "nothing was done"],
    );
    none(&beside);
    // Only writing shows that there is no room.
    let ran = detached(&beside, Path::new("/dev/full")).run();
    let _ = ran
        .code(3)
        .says(&["its name is job-", "sortie job gather job-"]);
    let _ = beside
        .sortie(&["job", "gather", &beside.job()])
        .run()
        .code(0);
}
