//! Checks of what coordinators are promised: graphs, claims, and what is unfinished.

use std::sync::Arc;

use sortie_protocol::{
    Argument, GraphEntry, JobKey, Kind, Parameter, Part, Signature, TaskIndex, Term, WaitingTask,
    WorkerId,
};

use super::scene::{CREATED, Scene, completed, job, same};
use super::{Broken, Harness, Verdict};
use crate::traits::{Broker, Claimed};

fn entry(index: TaskIndex) -> GraphEntry {
    GraphEntry::Waiting(WaitingTask {
        index,
        function: 0,
        parts: vec![
            Part::Result(index.saturating_sub(1)),
            Part::Ready(Argument::Value(vec![7].into())),
        ],
        input: None,
        repeatable: true,
    })
}

fn function() -> GraphEntry {
    let parameter = Parameter {
        name: "n".into(),
        kind: Kind::Value,
        type_name: "u64".into(),
    };
    let signature = Signature {
        name: "add".into(),
        doc: String::new(),
        parameters: vec![parameter.clone(), parameter],
        returns: "u64".into(),
    };
    GraphEntry::Function(0, signature)
}

fn term(number: u64, holder: u8) -> Term {
    Term {
        number,
        holder: WorkerId::from_bytes([holder; 16]),
        holds: true,
    }
}

/// Entries stay in their order, however many come at once; a job without any has none.
pub async fn a_graph_comes_back_in_its_order(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (job, other) = (scene.job().await?, scene.job().await?);
    let mut entries = vec![function()];
    scene.broker.append_graph(job, entries.clone()).await?;
    for first in [0, 5000] {
        let more: Vec<_> = (first..first + 2000).map(entry).collect();
        scene.broker.append_graph(job, more.clone()).await?;
        entries.extend(more);
    }
    scene.broker.append_graph(job, Vec::new()).await?;
    let graph = async || Ok(scene.broker.graph(job).await?);
    scene.until("the graph", &entries, graph).await?;
    same(
        "a graph without entries",
        &scene.broker.graph(other).await?,
        &Vec::new(),
    )
}

/// Of two that take over from the same claim one succeeds. A claim that is repeated is another
/// version.
pub async fn of_two_claims_one_holds(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let broker = &scene.broker;
    same("a claim", &broker.claimed(job).await?, &None)?;
    let first = broker.claim(job, term(1, 1), None).await?;
    same(
        "a second first",
        &broker.claim(job, term(1, 2), None).await?,
        &None,
    )?;
    let again = broker.claim(job, term(1, 1), first).await?;
    let (Some(first), Some(again)) = (first, again) else {
        return Err(Broken::new("a claim that nobody contests does not hold"));
    };
    same("that a repeated claim is later", &(again > first), &true)?;
    same(
        "one from before",
        &broker.claim(job, term(2, 2), Some(first)).await?,
        &None,
    )?;
    let taken = broker.claim(job, term(2, 2), Some(again)).await?;
    same(
        "one that was overtaken",
        &broker.claim(job, term(1, 1), Some(again)).await?,
        &None,
    )?;
    let claimed = taken.map(|version| Claimed {
        term: term(2, 2),
        version,
    });
    same("the claim", &broker.claimed(job).await?, &claimed)
}

/// Whoever coordinates for all sees the claims of all tenants.
pub async fn claims_of_all_tenants_are_listed(harness: &dyn Harness) -> Verdict {
    let brokers: [Arc<dyn Broker>; 2] = harness.tenants().await;
    let scene = Scene::of(harness, brokers[0].clone());
    let mut claimed = Vec::new();
    for (number, broker) in (1..).zip(&brokers) {
        let mut job = job();
        job.key.tenant = broker.tenant();
        let key = job.key;
        broker.put_job(job, CREATED).await?;
        let version = broker.claim(key, term(1, number), None).await?;
        let version = version.ok_or_else(|| Broken::new("a claim does not hold"))?;
        let term = term(1, number);
        claimed.push((key, Claimed { term, version }));
    }
    claimed.sort_unstable_by_key(|(key, _)| *key);
    let all = async || {
        let mut all = brokers[0].all_claimed().await?;
        all.sort_unstable_by_key(|(key, _)| *key);
        Ok(all)
    };
    scene.until("all claims", &claimed, all).await
}

/// A graph that is dropped is gone with its claim, and so is that of a job that is forgotten.
pub async fn a_graph_goes_with_its_job(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (one, other) = (scene.job().await?, scene.job().await?);
    for job in [one, other] {
        scene.broker.append_graph(job, vec![entry(1)]).await?;
        scene.broker.claim(job, term(1, 1), None).await?;
    }
    scene.broker.drop_graph(one).await?;
    gone(&scene, one).await?;
    same(
        "the graph that stays",
        &scene.broker.graph(other).await?,
        &vec![entry(1)],
    )?;
    scene.broker.forget(other).await?;
    gone(&scene, other).await
}

async fn gone(scene: &Scene, job: JobKey) -> Verdict {
    same("the claim", &scene.broker.claimed(job).await?, &None)?;
    let graph = async || Ok(scene.broker.graph(job).await?);
    scene.until("the graph", &Vec::new(), graph).await
}

/// Tasks in bundles that wait and that are leased are told, and those that ended are not.
pub async fn the_tasks_that_are_unfinished_are_told(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (job, other) = (scene.job().await?, scene.job().await?);
    scene.publish(job, [0, 7]).await?;
    scene.publish(other, [5]).await?;
    scene.publish(job, [3]).await?;
    let tasks = async || {
        let mut tasks = scene.broker.unfinished_tasks(job).await?;
        tasks.sort_unstable();
        Ok(tasks)
    };
    scene
        .until("the tasks that wait", &vec![0, 3, 7], tasks)
        .await?;
    let mut left = vec![0, 3, 7];
    for _ in 0..3 {
        let lease = scene.pull().await?;
        scene
            .until("the tasks with a lease among them", &left, tasks)
            .await?;
        let ended = lease.bundle.tasks.iter().map(|task| completed(task.index));
        scene.report(&lease, ended.collect()).await?;
        if lease.job.key == job {
            left.retain(|index| lease.bundle.tasks.iter().all(|task| task.index != *index));
        }
        scene.until("the tasks that are left", &left, tasks).await?;
    }
    same("at the end", &left, &Vec::new())
}
