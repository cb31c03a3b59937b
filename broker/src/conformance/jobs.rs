//! Checks of jobs: put, list, seal, count, cancel, forget.

use std::time::Duration;

use futures::StreamExt as _;
use sortie_protocol::gathering::READING_TIME;
use sortie_protocol::{
    Gathered, Job, JobKey, JobRecord, JobState, Reader, Readers, Reading, Timestamp,
};

use super::scene::{
    CREATED, Scene, bundle, completed, ensure, indices, job, labels, puller_with, retrial, same,
};
use super::{Broken, Harness, Verdict};
use crate::traits::{Cancellation, Error, Extended, Report};

fn unknown<T>(what: &str, job: JobKey, answer: Result<T, Error>) -> Verdict {
    match answer {
        Err(Error::NoSuchJob(named)) => same("the job in the error", &named, &job.job),
        Err(other) => Err(Broken::new(format!("{what} gave `{other}`"))),
        Ok(_) => Err(Broken::new(format!("{what} succeeded"))),
    }
}

/// Publishing to a job that was never put, and following it, are errors; ending what is not there
/// is none.
pub async fn a_job_that_was_never_put_is_unknown(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = job().key;
    unknown(
        "publishing to an unknown job",
        job,
        scene.broker.publish(bundle(job, [0])).await,
    )?;
    unknown(
        "following an unknown job",
        job,
        scene.broker.follow(job, 0).await,
    )?;
    scene.broker.trim(job, 1).await?;
    scene.broker.cancel(job).await?;
    scene.broker.forget(job).await?;
    scene.nothing_to_pull(scene.lease / 8).await
}

/// A client that puts its job again, because it cannot know whether the first time arrived, changes
/// nothing.
pub async fn putting_a_job_again_keeps_its_state(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = job();
    scene.broker.put_job(job.clone(), CREATED).await?;
    scene.publish(job.key, [0]).await?;
    scene.work().await?;
    scene.publish(job.key, [1]).await?;
    scene.broker.put_job(job.clone(), CREATED).await?;
    scene.work().await?;
    scene.follow(job.key, 0).await?.expect(&[0, 1]).await?;
    scene.broker.cancel(job.key).await?;
    scene.broker.put_job(job.clone(), CREATED).await?;
    refused(&scene, job.key).await
}

/// A job's record says what was put, and, once it is sealed, how many tasks there are. The first
/// seal stands; putting the job again does not break it, and sealing does not bring a cancelled job
/// back.
pub async fn a_sealed_job_says_how_many_tasks_it_has(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = job();
    same(
        "the record of a job that was never put",
        &scene.broker.job(job.key).await?,
        &None,
    )?;
    scene.broker.seal(job.key, 1).await?;
    same(
        "the record after sealing a job that is not there",
        &scene.broker.job(job.key).await?,
        &None,
    )?;
    scene.broker.put_job(job.clone(), CREATED).await?;
    let record = |state| JobRecord {
        job: job.clone(),
        created: CREATED,
        state,
        readers: Readers::default(),
        gathered: None,
    };
    let is = async |what: &str, state| {
        scene
            .until(what, &Some(record(state)), || scene.broker.job(job.key))
            .await
    };
    is("the record of a new job", JobState::Open).await?;
    scene.broker.seal(job.key, 3).await?;
    is("the record of a sealed job", JobState::Sealed { tasks: 3 }).await?;
    scene.broker.seal(job.key, 4).await?;
    scene
        .broker
        .put_job(job.clone(), CREATED + Duration::from_secs(1))
        .await?;
    same(
        "the record after sealing and putting it again",
        &scene.record(job.key).await?,
        &record(JobState::Sealed { tasks: 3 }),
    )?;
    scene.broker.cancel(job.key).await?;
    is("the record of a cancelled job", JobState::Cancelled).await?;
    scene.broker.seal(job.key, 3).await?;
    same(
        "the record after sealing a cancelled job",
        &scene.record(job.key).await?,
        &record(JobState::Cancelled),
    )?;
    scene.broker.forget(job.key).await?;
    scene
        .until("the record of a forgotten job", &None, || {
            scene.broker.job(job.key)
        })
        .await
}

/// Jobs are listed by when they were submitted, those of one moment by when they were put; the
/// newest first, and as many as were asked for. A job that is sealed stays where it is, and a
/// forgotten one is gone.
pub async fn jobs_are_listed_newest_first(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let put = async |seconds| {
        let job = job();
        scene
            .broker
            .put_job(job.clone(), CREATED + Duration::from_secs(seconds))
            .await?;
        Ok::<Job, Broken>(job)
    };
    let (second, first, third, fourth) =
        (put(2).await?, put(1).await?, put(3).await?, put(3).await?);
    scene.broker.seal(first.key, 0).await?;
    let listed = async |what: &str, count_max, should: &[&Job]| {
        let should: Vec<_> = should.iter().map(|job| job.key).collect();
        let ids = async || {
            Ok(scene
                .broker
                .jobs(count_max)
                .await?
                .iter()
                .map(|record| record.job.key)
                .collect())
        };
        scene.until(what, &should, ids).await
    };
    listed("all jobs", 100, &[&fourth, &third, &second, &first]).await?;
    listed("the newest two", 2, &[&fourth, &third]).await?;
    listed("none of them", 0, &[]).await?;
    let records = scene.broker.jobs(100).await?;
    let seen = records.iter().find(|record| record.job.key == second.key);
    let created: Timestamp = CREATED + Duration::from_secs(2);
    same(
        "a listed record",
        &seen,
        &Some(&JobRecord {
            job: second.clone(),
            created,
            state: JobState::Open,
            readers: Readers::default(),
            gathered: None,
        }),
    )?;
    scene.broker.forget(third.key).await?;
    listed("the jobs that are left", 100, &[&fourth, &second, &first]).await
}

/// Outcomes that were gathered are taken away when the last of their readers ends, and the job's
/// record stays and says how the job had ended.
pub async fn outcomes_go_when_the_last_of_their_readers_ends(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.broker.report(job, vec![completed(0)]).await?;
    scene.broker.seal(job, 1).await?;
    let note = async |reading| scene.broker.note(job, reading).await;
    let reads = |id| {
        Reading::Reads(Reader {
            id: [id; 16],
            until: CREATED + READING_TIME,
        })
    };
    note(reads(1)).await?;
    note(reads(2)).await?;
    let gathered = Gathered {
        at: CREATED,
        completed: 1,
        failed: 0,
    };
    let id = [1; 16];
    let first = note(Reading::Gathers { id, gathered }).await?;
    same(
        "whether outcomes are gone that another reads",
        &first.map(|record| record.is_gathered()),
        &Some(false),
    )?;
    same(
        "the outcomes that another reads",
        &scene.follow(job, 0).await?.outcomes(1).await?,
        &vec![(0, completed(0))],
    )?;
    let (id, now) = ([2; 16], CREATED);
    note(Reading::Ends { id, now }).await?;
    let left = scene.record(job).await?;
    same(
        "what is left of the job",
        &(left.is_gathered(), left.gathered),
        &(true, Some(gathered)),
    )?;
    let late = note(reads(3)).await?;
    same(
        "whether a late reader brings the outcomes back",
        &late.map(|record| record.is_gathered()),
        &Some(true),
    )?;
    let absent = self::job().key;
    same(
        "what is noted of a job that is not there",
        &scene.broker.note(absent, reads(1)).await?,
        &None,
    )
}

/// Bundles count as unfinished from being published until nothing of them is left to do, wherever
/// they are.
pub async fn what_is_unfinished_is_counted(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    // No plain pull takes the other's bundle.
    let gpu = labels("gpu")?;
    let (job, other) = (scene.job().await?, scene.job_asking(&gpu).await?);
    scene
        .unfinished("of a job that was never put", self::job().key, 0)
        .await?;
    scene.unfinished("of a new job", job, 0).await?;
    scene.publish(other, [0]).await?;
    scene.publish(job, [0]).await?;
    scene.publish(job, [1]).await?;
    scene.unfinished("that were published", job, 2).await?;
    let (one, two) = (scene.pull().await?, scene.pull().await?);
    scene.unfinished("that are leased", job, 2).await?;
    scene
        .report(&one, indices(&one).into_iter().map(completed).collect())
        .await?;
    scene
        .unfinished("when one of two was completed", job, 1)
        .await?;
    // Long enough to be counted while it waits.
    let retrials = indices(&two)
        .into_iter()
        .map(|index| retrial(index, scene.lease * 2))
        .collect();
    scene
        .report_on(
            &two,
            Report {
                outcomes: Vec::new(),
                retrials,
            },
        )
        .await?;
    scene
        .unfinished("that wait to be tried again", job, 1)
        .await?;
    scene.broker.cancel(job).await?;
    scene.unfinished("of a cancelled job", job, 0).await?;
    scene.unfinished("of the other job", other, 1).await?;
    let last = scene.pull_as(&puller_with(1, &gpu)).await?;
    scene.report(&last, vec![completed(0)]).await?;
    scene.unfinished("when all are completed", other, 0).await
}

/// Two jobs with the same task indices have outcomes and positions of their own.
pub async fn jobs_do_not_mix(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (one, other) = (scene.job().await?, scene.job().await?);
    scene.publish(one, 0..2).await?;
    scene.publish(other, 0..3).await?;
    scene.work().await?;
    scene.work().await?;
    let first = scene.follow(one, 0).await?.outcomes(2).await?;
    let second = scene.follow(other, 0).await?.outcomes(3).await?;
    same(
        "the first positions",
        &(
            first.first().map(|(at, _)| *at),
            second.first().map(|(at, _)| *at),
        ),
        &(Some(0), Some(0)),
    )?;
    let tasks = |outcomes: &[(u64, sortie_protocol::Outcome)]| {
        outcomes
            .iter()
            .map(|(_, outcome)| outcome.index)
            .collect::<Vec<_>>()
    };
    same(
        "the tasks of each job",
        &(tasks(&first), tasks(&second)),
        &(vec![0, 1], vec![0, 1, 2]),
    )
}

/// Nothing of a cancelled job is granted any more.
pub async fn cancel_drops_what_waits(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    for index in 0..5 {
        scene.publish(job, [index]).await?;
    }
    let released = scene.pull().await?;
    let expiring = scene.pull().await?;
    scene.broker.cancel(job).await?;
    scene.broker.release(released.id).await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await?;
    scene.report(&expiring, vec![completed(1)]).await
}

/// A task that waits to be tried again is dropped with its job, and none is taken in later.
pub async fn cancel_drops_retrials(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, 0..2).await?;
    scene.publish(job, 2..4).await?;
    let (one, other) = (scene.pull().await?, scene.pull().await?);
    let again = |index| Report {
        outcomes: Vec::new(),
        retrials: vec![
            retrial(index, scene.lease / 4),
            retrial(index + 1, scene.lease / 4),
        ],
    };
    scene.report_on(&one, again(0)).await?;
    scene.broker.cancel(job).await?;
    scene.report_on(&other, again(2)).await?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}

/// A worker that missed the cancellation learns of it when it next extends a lease.
pub async fn cancel_takes_leases_away(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    let lease = scene.pull().await?;
    ensure(
        matches!(scene.broker.extend(lease.id).await?, Extended::Until(_)),
        || "the lease was lost before the job was cancelled".into(),
    )?;
    scene.broker.cancel(job).await?;
    same(
        "extending a lease of a cancelled job",
        &scene.broker.extend(lease.id).await?,
        &Extended::Lost,
    )
}

/// Every follower, early or late, gets what was stored before, then the cancellation, then the end.
pub async fn cancel_ends_followers_after_what_was_stored(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    let mut early = scene.follow(job, 0).await?;
    scene.publish(job, [0]).await?;
    scene.work().await?;
    early.expect(&[0]).await?;
    scene.publish(job, [1]).await?;
    scene.work().await?;
    let (waiting, cancelled) = futures::future::join(
        async {
            early.expect(&[1]).await?;
            early.expect_cancelled().await
        },
        async {
            scene.broker.cancel(job).await?;
            scene.broker.cancel(job).await
        },
    )
    .await;
    cancelled?;
    waiting?;
    let mut late = scene.follow(job, 0).await?;
    late.expect(&[0, 1]).await?;
    late.expect_cancelled().await
}

/// Workers are told of every job that is cancelled from the time they listen on, once.
pub async fn cancel_is_told_to_workers(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (before, one, other) = (scene.job().await?, scene.job().await?, scene.job().await?);
    scene.broker.cancel(before).await?;
    let mut early = scene.broker.cancellations().await?;
    scene.broker.cancel(one).await?;
    scene.broker.cancel(one).await?;
    let mut late = scene.broker.cancellations().await?;
    scene.broker.cancel(other).await?;
    same(
        "the first cancellation",
        &scene.soon("a cancellation", early.next()).await?,
        &Some(Cancellation::Job(one)),
    )?;
    same(
        "the second cancellation",
        &scene.soon("a cancellation", early.next()).await?,
        &Some(Cancellation::Job(other)),
    )?;
    same(
        "the cancellation that a later follower sees",
        &scene.soon("a cancellation", late.next()).await?,
        &Some(Cancellation::Job(other)),
    )
}

async fn refused(scene: &Scene, job: JobKey) -> Verdict {
    match scene
        .soon("a refusal", scene.broker.publish(bundle(job, [9])))
        .await?
    {
        Err(Error::JobCancelled(named)) => same("the job in the error", &named, &job.job),
        other => Err(Broken::new(format!(
            "publishing to a cancelled job gave {other:?}"
        ))),
    }
}

/// A cancelled job takes no more bundles.
pub async fn cancel_refuses_further_bundles(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.broker.cancel(job).await?;
    refused(&scene, job).await?;
    scene.nothing_to_pull(scene.lease / 8).await
}

/// What workers still report on a cancelled job is not stored: its followers were told that nothing
/// more comes.
pub async fn cancel_makes_late_outcomes_invisible(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    scene.publish(job, [1]).await?;
    scene.work().await?;
    let lease = scene.pull().await?;
    scene.broker.cancel(job).await?;
    scene
        .report(&lease, indices(&lease).into_iter().map(completed).collect())
        .await?;
    let mut follower = scene.follow(job, 0).await?;
    follower.outcomes(1).await?;
    follower.expect_cancelled().await
}

/// Only the job that was named is cancelled.
pub async fn cancel_leaves_other_jobs_alone(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (kept, cancelled) = (scene.job().await?, scene.job().await?);
    scene.publish(kept, [0]).await?;
    let held = scene.pull().await?;
    scene.publish(cancelled, [0]).await?;
    scene.publish(kept, [1]).await?;
    let mut follower = scene.follow(kept, 0).await?;
    scene.broker.cancel(cancelled).await?;
    ensure(
        matches!(scene.broker.extend(held.id).await?, Extended::Until(_)),
        || "another job's lease was lost".into(),
    )?;
    scene.report(&held, vec![completed(0)]).await?;
    same("the job still granted", &scene.work().await?.job.key, &kept)?;
    follower.expect(&[0, 1]).await
}

/// A forgotten job is unknown. The streams of its followers end, and do not tell of a cancellation.
pub async fn forget_ends_followers(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let job = scene.job().await?;
    scene.publish(job, [0]).await?;
    scene.work().await?;
    let (mut read, mut waiting) = (scene.follow(job, 0).await?, scene.follow(job, 0).await?);
    read.expect(&[0]).await?;
    waiting.expect(&[0]).await?;
    let (ended, forgotten) =
        futures::future::join(waiting.expect_end(), scene.broker.forget(job)).await;
    forgotten?;
    ended?;
    read.expect_end().await?;
    unknown(
        "following a forgotten job",
        job,
        scene.broker.follow(job, 0).await,
    )?;
    unknown(
        "publishing to a forgotten job",
        job,
        scene.broker.publish(bundle(job, [1])).await,
    )?;
    Ok(scene.broker.forget(job).await?)
}

/// Workers are told to stop what runs of a forgotten job. Nothing of it is granted any more;
/// reports on it are taken and go nowhere.
pub async fn forget_takes_bundles_and_leases_away(harness: &dyn Harness) -> Verdict {
    let scene = Scene::new(harness).await;
    let (job, other) = (scene.job().await?, scene.job().await?);
    for index in 0..3 {
        scene.publish(job, [index]).await?;
    }
    let (one, two) = (scene.pull().await?, scene.pull().await?);
    let mut cancelled = scene.broker.cancellations().await?;
    scene
        .report_on(
            &one,
            Report {
                outcomes: Vec::new(),
                retrials: vec![retrial(0, scene.lease / 4)],
            },
        )
        .await?;
    scene.publish(other, [0]).await?;
    scene.broker.forget(job).await?;
    same(
        "what workers are told of a forgotten job",
        &scene.soon("that", cancelled.next()).await?,
        &Some(Cancellation::Job(job)),
    )?;
    same(
        "extending a lease of a forgotten job",
        &scene.broker.extend(two.id).await?,
        &Extended::Lost,
    )?;
    scene.report(&two, vec![completed(1)]).await?;
    same(
        "the job still granted",
        &scene.work().await?.job.key,
        &other,
    )?;
    scene.nothing_to_pull(scene.lease * 3 / 2).await
}
