//! Two workers with the same tasks, and workers that die at the worst moment: no task is lost, none
//! is visible twice.
//!
//! The races: a worker that was stopped past its lease, and one that dies between two of the steps
//! with which a report is made: outcomes stored, what is left noted, bundle acknowledged or handed
//! back.

use std::time::Duration;

use sortie_broker::nats::NatsBroker;
use sortie_broker::{Extended, Operate as _, Report, Retrial, Submit as _, Work as _};
use sortie_harness::{NatsServer, TcpProxy};
use sortie_protocol::{Ending, JobKey};

use crate::support::{
    Follower, LONG, SHORT, again, all_done, complete, completed, completed_with, connect, failed,
    indices, nothing_to_pull, publish, pull, put_job, raw, report, soon, until, work,
};

struct Scene {
    server: NatsServer,
    proxy: TcpProxy,
    /// Behind the proxy.
    far: NatsBroker,
    near: NatsBroker,
    job: JobKey,
}

impl Scene {
    async fn new(tasks: u64) -> Self {
        let server = NatsServer::start().await;
        let proxy = TcpProxy::for_nats(server.address());
        let (far, near) = (
            connect(&proxy.url(), SHORT).await,
            connect(&server.url(), SHORT).await,
        );
        let job = put_job(&near).await;
        publish(&near, job, 0..tasks).await;
        Self {
            server,
            proxy,
            far,
            near,
            job,
        }
    }

    /// The server has nothing left, and everybody who reads sees `count` outcomes.
    async fn is_done(&self, count: u64) {
        let mut follower = Follower::of(&self.near, self.job).await;
        follower.sees_all(count).await;
        // Bundles that end without being granted need a worker that pulls.
        let near = self.near.clone();
        let idle = tokio::spawn(async move { pull(&near).await });
        until("unfinished", &0, async || {
            self.near.unfinished(self.job).await.unwrap().bundles
        })
        .await;
        assert!(!idle.is_finished(), "something was granted that had ended");
        idle.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_stopped_past_its_lease_changes_nothing() {
    let scene = Scene::new(2).await;
    let lost = pull(&scene.far).await;
    scene.proxy.stall();
    let taken = pull(&scene.near).await;
    assert_eq!((indices(&taken), taken.attempt), (vec![0, 1], 2));
    complete(&scene.near, &taken, all_done(&taken)).await;
    scene.proxy.mend();
    assert_eq!(scene.far.extend(lost.id).await.unwrap(), Extended::Lost);
    let late = Report {
        outcomes: vec![completed_with(0, "late")],
        retrials: vec![Retrial {
            index: 1,
            after: Duration::ZERO,
        }],
    };
    complete(&scene.far, &lost, late).await;
    let mut follower = Follower::of(&scene.near, scene.job).await;
    let outcomes = follower.outcomes(2).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.ending == Ending::Completed("result".into())),
        "{outcomes:?}"
    );
    scene.is_done(2).await;
}

/// The task that a late worker wants tried again is with another worker by then, and goes to no
/// third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_retrial_is_not_granted_beside_the_lease_that_took_over() {
    let scene = Scene::new(1).await;
    let lost = pull(&scene.far).await;
    scene.proxy.stall();
    let taken = pull(&scene.near).await;
    scene.proxy.mend();
    assert!(matches!(
        scene.near.extend(taken.id).await,
        Ok(Extended::Until(_))
    ));
    complete(&scene.far, &lost, again(0, Duration::ZERO)).await;
    nothing_to_pull(&scene.near, SHORT / 3).await;
    complete(&scene.near, &taken, all_done(&taken)).await;
    scene.is_done(1).await;
}

/// What failed at a worker that had lost its lease, and completed at another, is no dead letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_failure_is_not_buried() {
    let scene = Scene::new(1).await;
    let lost = pull(&scene.far).await;
    scene.proxy.stall();
    work(&scene.near).await;
    scene.proxy.mend();
    complete(&scene.far, &lost, report(vec![failed(0)])).await;
    assert_eq!(scene.near.dead_letters(None, 10).await.unwrap(), []);
    scene.is_done(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_acknowledgement_is_made_up_for_without_granting_again() {
    let scene = Scene::new(2).await;
    let lease = pull(&scene.far).await;
    scene.proxy.swallow_next("$JS.ACK");
    complete(&scene.far, &lease, all_done(&lease)).await;
    scene.proxy.wait_until_swallowed(1).await;
    assert_eq!(scene.near.unfinished(scene.job).await.unwrap().bundles, 1);
    scene.is_done(2).await;
}

/// Die at the step that publishes to subjects that start like this. What the near worker gets
/// afterwards completes.
async fn die_at(subject: &str) -> (Scene, Vec<Vec<u64>>) {
    let scene = Scene::new(3).await;
    let lease = pull(&scene.far).await;
    scene.proxy.swallow(subject);
    let far = scene.far.clone();
    let reporting = tokio::spawn(async move {
        let report = Report {
            outcomes: vec![completed(0)],
            retrials: vec![Retrial {
                index: 1,
                after: Duration::from_millis(1),
            }],
        };
        far.complete(lease.id, lease.job.key, report).await
    });
    scene.proxy.wait_until_swallowed(1).await;
    scene.proxy.cut();
    reporting.abort();
    let mut granted = Vec::new();
    let mut left: Vec<u64> = vec![0, 1, 2];
    if subject != "sortie.outcomes" {
        left.remove(0);
    }
    while !left.is_empty() {
        let lease = work(&scene.near).await;
        left.retain(|index| !indices(&lease).contains(index));
        granted.push(indices(&lease));
    }
    (scene, granted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_before_its_outcomes_are_stored_leaves_the_bundle() {
    let (scene, granted) = die_at("sortie.outcomes").await;
    assert_eq!(granted, [[0, 1, 2]]);
    scene.is_done(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_before_it_noted_what_is_left_leaves_what_did_not_end() {
    let (scene, granted) = die_at("sortie.attempts").await;
    assert_eq!(granted, [[1, 2]]);
    scene.is_done(3).await;
}

/// Then the bundle is handed back when its lease is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_before_it_acknowledged_leaves_nothing_lost_and_nothing_double() {
    let (scene, granted) = die_at("$JS.ACK").await;
    assert!(
        granted.iter().flatten().all(|index| *index != 0),
        "{granted:?}"
    );
    scene.is_done(3).await;
    assert!(scene.server.pid().is_some());
}

/// Releasing counts as no attempt, a lease that ran out does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_lease_goes_to_another_worker_and_a_forgotten_one_too() {
    let scene = Scene::new(1).await;
    let lease = pull(&scene.far).await;
    let (scene_far, near) = (scene.far.clone(), scene.near.clone());
    scene_far.release(lease.id).await.unwrap();
    let taken = soon("a pull", pull(&near)).await;
    assert_eq!(taken.attempt, 1);
    drop(taken);
    let again = pull(&near).await;
    assert_eq!(again.attempt, 2);
    complete(&near, &again, all_done(&again)).await;
    nothing_to_pull(&near, Duration::from_millis(200)).await;
    scene.is_done(1).await;
}

/// A worker's pull request outlives its call at the server. A bundle that answered it after the
/// worker closed would wait for its lease to expire.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_closed_is_given_nothing_more() {
    let server = NatsServer::start().await;
    let closing = connect(&server.url(), LONG).await;
    let other = connect(&server.url(), LONG).await;
    let job = put_job(&other).await;
    let client = raw(&server.url()).await;
    let state = async || -> serde_json::Value {
        let subject = "$JS.API.CONSUMER.INFO.sortie-tasks-default-0.any-normal";
        let answer = client.request(subject, "".into()).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    };
    let waiting = {
        let closing = closing.clone();
        tokio::spawn(async move { pull(&closing).await })
    };
    until("a pull request that waits", &1.into(), async || {
        state().await["num_waiting"].clone()
    })
    .await;
    waiting.abort();
    closing.close().await.unwrap();
    publish(&other, job, [0]).await;
    let lease = soon("a lease", pull(&other)).await;
    assert_eq!((indices(&lease), lease.attempt), (vec![0], 1));
    assert_eq!(state().await["delivered"]["consumer_seq"], 1);
}
