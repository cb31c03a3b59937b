//! Tests of the worker over a real broker of one process, with functions of a real component: how
//! it goes on when its own code panics, what computes while a store is slow, what an observer is
//! told.

mod faulty;
mod following;
mod scene;
mod spans;
mod storing;
mod watching;

use std::time::Duration;

use sortie_broker::Submit as _;
use sortie_harness::until;
use sortie_protocol::metric::Value;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Digest, Ending, Failure, FunctionOptions, FunctionRef, Limits, TenantId};

use self::faulty::Ask;
use self::scene::Scene;
use self::watching::{Recorder, When};
use super::Drained;
use crate::metrics;
use sortie_protocol::metric;

/// The codes of outcomes.
fn codes(outcomes: &[sortie_protocol::Outcome]) -> Vec<(u64, u32, &str)> {
    let code = |ending: &Ending| match ending {
        Ending::Completed(_) => "completed",
        Ending::Failed(Failure::Platform {
            fault: PlatformFault::Host,
            ..
        }) => "host-error",
        _ => "another",
    };
    outcomes
        .iter()
        .map(|outcome| (outcome.index, outcome.attempts, code(&outcome.ending)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_an_attempt_ends_that_attempt_and_nothing_else() {
    for when in [When::Computing, When::Started] {
        let scene = Scene::observed(1, Recorder::panics(when, 1));
        let job = scene.job("echo", 1).await;
        scene
            .publish(job, &["before".into(), "panics".into(), "after".into()])
            .await;
        // One thread and one permit: a task that keeps either keeps all.
        assert_eq!(
            codes(&scene.outcomes(job, 3).await),
            [
                (0, 1, "completed"),
                (1, 2, "host-error"),
                (2, 1, "completed")
            ]
        );
        let next = scene.job("echo", 1).await;
        scene.publish(next, &["next".into()]).await;
        assert_eq!(codes(&scene.outcomes(next, 1).await), [(0, 1, "completed")]);
        assert_eq!((scene.worker.trouble(), scene.worker.busy()), (None, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_before_the_first_task_of_a_bundle_has_it_tried_again() {
    let scene = Scene::start(1);
    scene.broker.panic_at(Ask::Component, 1);
    let job = scene.job("echo", 1).await;
    scene.publish(job, &["one".into(), "two".into()]).await;
    assert_eq!(
        codes(&scene.outcomes(job, 2).await),
        [(0, 2, "completed"), (1, 2, "completed")]
    );
    assert_eq!(
        (scene.broker.left(Ask::Component), scene.worker.trouble()),
        (0, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_panics_begins_anew_and_the_worker_says_so() {
    for ask in [Ask::Pull, Ask::Complete] {
        let scene = Scene::start(1);
        let job = scene.job("echo", 1).await;
        scene.broker.panic_at(ask, 1);
        scene.publish(job, &["one".into()]).await;
        let outcomes = scene.outcomes(job, 1).await;
        assert!(
            matches!(outcomes[0].ending, Ending::Completed(_)),
            "{ask:?}: {outcomes:?}"
        );
        assert_eq!(scene.broker.left(ask), 0, "{ask:?}");
        until("trouble", || {
            scene
                .worker
                .trouble()
                .is_some_and(|trouble| trouble.contains("panicked in: a slot;"))
        })
        .await;
        // Awaiting a slot that ended by a panic would panic here.
        assert_eq!(
            scene.worker.drain(Duration::from_secs(60)).await,
            Drained::Reported
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_beside_the_slots_is_not_lost_in_silence() {
    for (ask, part) in [
        (Ask::Extend, "extending leases"),
        (Ask::Cancellations, "listening for cancellations"),
    ] {
        let scene = Scene::with_panics(1, ask, 2);
        // A slot that is new to a job asks whether its lease holds, too: that costs an attempt.
        let job = scene.job("spins_forever", 3).await;
        scene.publish_bare(job, 1).await;
        until("trouble", || {
            scene
                .worker
                .trouble()
                .is_some_and(|trouble| trouble.contains(part))
        })
        .await;
        // It is there again: a cancellation, which is heard of or seen when the lease is extended,
        // ends the task.
        until("all panics", || scene.broker.left(ask) == 0).await;
        until("a lease", || scene.worker.busy() == 1).await;
        scene.broker.cancel(job).await.unwrap();
        until("the task's end", || scene.worker.busy() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_that_overtakes_its_lease_stops_the_task() {
    let scene = Scene::start(1);
    scene.broker.overtake().await;
    let hour = Duration::from_secs(60 * 60);
    let limits = Limits {
        wall_time: hour,
        cpu_time: hour,
        ..Limits::default()
    };
    let job = scene.job_within("spins_forever", limits).await;
    scene.publish_bare(job, 1).await;
    let outcomes = scene.outcomes(job, 1).await;
    assert_eq!(outcomes[0].ending, Ending::Cancelled);
    until("the task's end", || scene.worker.busy() == 0).await;
}

/// Each load takes its whole time; the tenant's other bundles are handed back until it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_do_not_come_hold_up_only_their_own_tenant() {
    let scene = Scene::start(1);
    let slow: TenantId = "slow".parse().unwrap();
    for number in 0..4 {
        let component = Digest::of(&[number]);
        scene.broker.withhold(component);
        let function = FunctionRef {
            component,
            name: "none".into(),
        };
        let options = FunctionOptions::default();
        let job = scene.job_of(slow, function, options).await;
        scene.publish_bare(job, 1).await;
    }
    until("a load", || scene.broker.asked_in_vain() > 0).await;
    for _ in 0..2 {
        let job = scene.job("echo", 0).await;
        scene.publish(job, &["one".into()]).await;
        assert_eq!(codes(&scene.outcomes(job, 1).await), [(0, 1, "completed")]);
    }
    // One of the four is being loaded, and no second one is begun.
    assert_eq!(scene.broker.asked_in_vain(), 1);
}

/// While one bundle waits for the component another is leased, which is for others when the first
/// goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_beyond_the_slots_is_handed_back_when_the_component_is_there() {
    let scene = Scene::start(1);
    let job = scene.job("spins_forever", 0).await;
    let component = scene.component();
    scene.broker.withhold(component);
    for _ in 0..2 {
        scene.publish_bare(job, 1).await;
    }
    until("a load", || scene.broker.asked_in_vain() == 1).await;
    until("another lease", || scene.worker.busy() == 2).await;
    scene.broker.give();
    until("the lease of the one that runs", || {
        scene.worker.busy() == 1
    })
    .await;
    assert_eq!(scene.broker.unfinished(job).await.unwrap().bundles, 2);
    scene.broker.cancel(job).await.unwrap();
    until("the task's end", || scene.worker.busy() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_is_told_each_step_of_a_task_and_metrics_count_it() {
    let recorder = Recorder::new();
    let scene = Scene::observed(1, recorder.clone());
    let job = scene.job("echo", 0).await;
    scene.publish(job, &["one".into()]).await;
    assert_eq!(codes(&scene.outcomes(job, 1).await), [(0, 1, "completed")]);
    assert_eq!(
        scene.worker.drain(Duration::from_secs(60)).await,
        Drained::Reported
    );
    assert_eq!(
        recorder.steps(),
        [
            "task 0 leased",
            "attempt of 0 started",
            "attempt of 0 computing",
            "attempt of 0 ended: none completed",
            "bundle reported",
            "worker draining",
        ]
    );
    let samples = scene.worker.metrics();
    for metric in [&metrics::TASKS, &metrics::ATTEMPTS] {
        let completed = samples.iter().find(|sample| {
            sample.metric == metric && sample.labels.contains(&("code", metric::COMPLETED))
        });
        assert_eq!(
            completed.map(|sample| sample.value.clone()),
            Some(Value::Count(1))
        );
    }
    let run = samples.iter().find(|sample| sample.metric == &metrics::RUN);
    assert!(matches!(
        &run.unwrap().value,
        Value::Distribution(runs) if runs.count == 1 && runs.sum > 0.0
    ));
}
