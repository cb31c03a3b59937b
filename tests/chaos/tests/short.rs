//! Chaos, short enough for every run of the tests: some thousand tasks on a fleet of three workers.
//!
//! The race looked for is any: between a lease that runs out and a report, a report and the crash
//! of a server, a reader's start and what is stored meanwhile, an election and a publication.
//! `cargo xtask chaos` looks longer, with other seeds.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use sortie_chaos::plan::Plan;
use sortie_chaos::run::{self, Report};
use sortie_chaos::schedule::{Form, Scenario};
use sortie_chaos::skew::LIBRARY;
use sortie_chaos::work::Work;

/// Any would do. It is shown when a test fails, and a long run takes it with `--seed`.
const SEED: u64 = 20_261_122;

/// A fault a second, or a little less: with many more, leases of two seconds are lost five times in
/// a row now and then, and then the task is given up, as it has to be.
fn plan(scenario: Scenario, folder: PathBuf) -> Plan {
    let (interval, pace) = match scenario {
        Scenario::Server => (Duration::from_millis(1000), Duration::from_millis(45)),
        Scenario::Cluster => (Duration::from_millis(1400), Duration::from_millis(70)),
    };
    Plan {
        scenario,
        work: Work {
            tasks: 3000,
            rounds: 3_000_000,
            poison: NonZeroU64::new(1000),
        },
        seed: SEED,
        form: Form::Short,
        interval,
        bundle: 8,
        pace,
        graph_tasks: 1000,
        graph_pace: pace / 3,
        attack_pace: Duration::from_millis(800),
        lease: Duration::from_secs(2),
        concurrency: 2,
        worker: sortie_harness::binary(),
        clock: sortie_harness::binary().with_file_name(LIBRARY),
        program: env!("CARGO_BIN_EXE_chaos").into(),
        folder,
    }
}

async fn check(scenario: Scenario) {
    let folder = tempfile::tempdir().unwrap();
    let report = run::run(&plan(scenario, folder.path().to_owned())).await;
    if report.as_ref().is_ok_and(Report::is_good) {
        return;
    }
    let kept = folder.keep();
    let report = report.unwrap_or_else(|error| {
        panic!(
            "seed {SEED}: {error:#}\nrecords and logs: {}",
            kept.display()
        )
    });
    panic!(
        "seed {SEED}, {:?}, never came {:?}, {:?}\n{:?}\n{:?}\n{:?}\nrecords and logs: {}",
        report.faults,
        report.missing,
        report.exits,
        report.verdict,
        report.mapped,
        report.graphed,
        kept.display()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_one_server_loses_nothing_under_faults() {
    check(Scenario::Server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_on_a_cluster_loses_nothing_under_faults() {
    check(Scenario::Cluster).await;
}
