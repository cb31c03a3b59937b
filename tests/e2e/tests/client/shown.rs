//! `sortie graph show` and `sortie job status`, of what a client submitted.

use serde_json::{Value, json};
use sortie::{Function, TaskFuture};
use sortie_e2e::Fleet;
use sortie_harness::{Ran, Sortie};

use crate::{endless, function, in_time};

/// Run a command that asks the broker.
async fn asked(fleet: &Fleet, words: Vec<String>) -> Ran {
    let url = fleet.url();
    let command = move || Sortie::new(words).args(["--broker", &url]).run().code(0);
    tokio::task::spawn_blocking(command).await.unwrap()
}

/// What is counted of a function.
fn of<'v>(functions: &'v Value, name: &str) -> &'v Value {
    let functions = functions.as_array().unwrap();
    let mut found = functions.iter().filter(|of| of["function"] == name);
    found.next().unwrap_or_else(|| panic!("{functions:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_shown_by_function_and_state_with_its_critical_path() {
    let fleet = Fleet::start().await;
    let worker = fleet.worker(2).await;
    let client = fleet.client().await;
    let adds: Function<i64> = function(&client, "add").await;
    let spins: Function<i64> = function(&client, "spins_for").await;
    let traps: Function<i64> = function(&client, "traps").await;
    let forever = endless(&client).await;
    let slow = client.submit(&spins, (200_000_000,)).await.unwrap();
    let quick = client.submit(&adds, (1, 2)).await.unwrap();
    let sum = client.submit(&adds, (&slow, &quick)).await.unwrap();
    let failed = client.submit(&traps, ()).await.unwrap();
    let below = client.submit(&adds, (&failed, 1)).await.unwrap();
    let endless = client.submit(&forever, ()).await.unwrap();
    let waits: TaskFuture<i64> = client.submit(&adds, (&endless, 1)).await.unwrap();
    assert!(in_time(sum.clone()).await.is_ok());
    assert!(in_time(below.clone()).await.is_err());
    let job = sum.job().to_string();
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("graph.svg");
    let words = [
        "graph",
        "show",
        &job,
        "--json",
        "--svg",
        svg.to_str().unwrap(),
    ];
    let ran = asked(&fleet, words.map(str::to_owned).into()).await;
    let shown = ran.records().remove(0);
    assert_eq!((&shown["tasks"], &shown["levels"]), (&json!(7), &json!(2)));
    let added = of(&shown["functions"], "add");
    assert_eq!(
        (&added["completed"], &added["failed"], &added["waiting"]),
        (&json!(2), &json!(1), &json!(1)),
        "{ran}"
    );
    assert_eq!(of(&shown["functions"], "traps")["failed"], 1, "{ran}");
    // Which function it calls is known of a task that ended or takes results.
    assert_eq!(of(&shown["functions"], "spins_for")["completed"], 1);
    let path = shown["critical_path"]["tasks"].as_array().unwrap();
    let path: Vec<_> = path.iter().map(|task| &task["task"]).collect();
    assert_eq!(path, [&json!(0), &json!(2)], "{ran}");
    let drawn = std::fs::read_to_string(svg).unwrap();
    assert!(
        drawn.starts_with("<svg ") && drawn.contains("task 2: add"),
        "{drawn}"
    );

    let ran = asked(&fleet, vec!["graph".into(), "show".into(), job.clone()]).await;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], format!("{job}: 7 tasks on 2 levels"));
    assert!(ran.stdout.contains("critical path: 2 tasks, "), "{ran}");
    let ran = asked(
        &fleet,
        ["job", "status", &job, "--json"].map(str::to_owned).into(),
    )
    .await;
    let status = ran.records().remove(0);
    let added = of(&status["by_function"], "add");
    assert_eq!(
        (&added["completed"], &status["failed"]),
        (&json!(2), &json!(2)),
        "{ran}"
    );
    drop((slow, quick, failed, endless, waits, worker));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_is_not_there_is_said_not_to_be() {
    let fleet = Fleet::start().await;
    let _client = fleet.client().await;
    let url = fleet.url();
    let job = "job-00000000000000000000000000000001";
    let ran = tokio::task::spawn_blocking(move || {
        Sortie::new(["graph", "show", job, "--broker", &url]).run()
    });
    ran.await.unwrap().refused(&["there is no job", job]);
}
