//! Takes all the room there is in a queue or in the servers' storage, and gives it back.
//!
//! It works beside the schedule and over connections of its own, because servers may be killed
//! meanwhile. In a queue the room is taken in pieces that get smaller until the smallest is refused
//! as well; servers that store more than they may refuse every piece. From then on whatever becomes
//! free is taken again, for as long as the fault lasts.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::join_all;
use sortie_broker::Submit as _;
use sortie_harness::patience;
use sortie_protocol::{Digest, FunctionOptions, FunctionRef, Job, JobId, JobKey};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::accounts::{JUDGED, User, nobody, tenant};
use crate::common::{PAUSE, connect, now, patiently};
use crate::raw::{Answer, Raw};
use crate::schedule::Target;
use crate::work;

/// The largest piece: less than a message may have.
const PIECE_MAX: usize = 1000 << 10;
/// The smallest: less than the bundle of one task, and than the report on it.
const PIECE_MIN: usize = 64;
/// How much smaller a piece is than one that was refused.
const SMALLER: usize = 4;
/// Large pieces that are stored at a time.
const AT_A_TIME: usize = 4;
/// Before room that may have become free is taken again.
const AGAIN: Duration = Duration::from_millis(5);
/// How long it may take until nothing more is stored: beyond every fault of a server.
const FILL_TIME_MAX: Duration = Duration::from_secs(120);
/// The stream that fills the storage.
const STREAM: &str = "filler";

/// What fills. It ends by itself.
#[derive(Debug)]
pub(crate) struct Filler {
    end: oneshot::Sender<()>,
    work: JoinHandle<Result<bool>>,
}

impl Filler {
    /// Begin to fill, over these servers, of which there are so many, and keep it full for so long.
    pub(crate) fn start(target: Target, lasts: Duration, servers: String, replicas: usize) -> Self {
        let (end, ends) = oneshot::channel();
        let runtime = Handle::current();
        // On a thread of its own: what asks again cannot move between threads.
        let work = spawn_blocking(move || {
            runtime.block_on(async {
                if target == Target::Queue {
                    fill_queue(&servers, lasts, ends).await
                } else {
                    fill_storage(&servers, replicas, lasts, ends).await
                }
            })
        });
        Self { end, work }
    }

    /// Whether the room was given back.
    pub(crate) fn is_finished(&self) -> bool {
        self.work.is_finished()
    }

    /// Give the room back now, if that was not done. Answers whether the servers had refused for
    /// want of it.
    pub(crate) async fn end(self) -> Result<bool> {
        // One that has ended does not hear it.
        let _ = self.end.send(());
        self.work.await?
    }
}

/// With bundles of a job that nobody serves, which is cancelled then.
async fn fill_queue(servers: &str, lasts: Duration, ends: oneshot::Receiver<()>) -> Result<bool> {
    let broker = connect(&User::Judged.urls(servers)).await?;
    let raw = Raw::connect(servers, User::Judged).await?;
    let key = JobKey {
        tenant: tenant(JUDGED),
        job: JobId::from_bytes(u128::from(now().as_nanos()).to_be_bytes()),
    };
    let options = FunctionOptions {
        labels: nobody(),
        ..work::options()
    };
    let function = FunctionRef {
        component: Digest::of(b"none"),
        name: work::FUNCTION.into(),
    };
    let job = Job::of(key, function, options);
    patiently(|| broker.put_job(job.clone(), now())).await?;
    let was_full = pour_until(&raw, &waiting(key), PIECE_MIN, lasts, ends).await;
    patiently(|| broker.cancel(key)).await?;
    patiently(|| broker.forget(key)).await?;
    broker.close().await?;
    Ok(was_full)
}

/// Where bundles of a job wait that nobody serves.
pub(crate) fn waiting(key: JobKey) -> String {
    let (pool, JobKey { tenant, job }) = (nobody().pool(), key);
    format!("sortie.tasks.{tenant}.0.{pool}.normal.{job}")
}

/// With a stream of its own, with as many copies as the others, which is deleted then.
async fn fill_storage(
    servers: &str,
    replicas: usize,
    lasts: Duration,
    ends: oneshot::Receiver<()>,
) -> Result<bool> {
    let raw = Raw::connect(servers, User::Operator).await?;
    let subject = format!("{STREAM}.pieces");
    let stream = serde_json::json!({
        "name": STREAM,
        "subjects": [subject],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
    });
    let made = format!("$JS.API.STREAM.CREATE.{STREAM}");
    until_done(&raw, &made, &stream.to_string()).await?;
    let was_full = pour_until(&raw, &subject, PIECE_MAX, lasts, ends).await;
    until_done(&raw, &format!("$JS.API.STREAM.DELETE.{STREAM}"), "").await?;
    Ok(was_full)
}

/// Ask again until it is done. What is refused as not there is done: an answer was lost.
async fn until_done(raw: &Raw, subject: &str, payload: &str) -> Result<()> {
    const STREAM_NOT_FOUND: u64 = 10059;
    let started = Instant::now();
    loop {
        match raw.ask(subject, payload.to_owned()).await {
            Answer::Done | Answer::Refused(STREAM_NOT_FOUND) => return Ok(()),
            answer if started.elapsed() > patience() => bail!("`{subject}`: {answer:?}"),
            _ => sleep(PAUSE).await,
        }
    }
}

/// Pour until it was full for so long, or is to end. Answers whether it was full.
async fn pour_until(
    raw: &Raw,
    subject: &str,
    smallest: usize,
    lasts: Duration,
    ends: oneshot::Receiver<()>,
) -> bool {
    let (full, mut fulls) = watch::channel(false);
    let keep_full = async {
        let filling = fulls.wait_for(|is_full| *is_full);
        if matches!(timeout(FILL_TIME_MAX, filling).await, Ok(Ok(_))) {
            sleep(lasts).await;
        }
    };
    tokio::select! {
        () = keep_full => {}
        _ = ends => {}
        () = pour(raw, subject, smallest, &full) => {}
    }
    *full.borrow()
}

/// Fill a queue without end, and tell when it is full.
pub(crate) async fn pour_into_queue(raw: &Raw, subject: &str, full: &watch::Sender<bool>) {
    pour(raw, subject, PIECE_MIN, full).await;
}

/// Store pieces without end, and tell when the smallest was refused.
async fn pour(raw: &Raw, subject: &str, smallest: usize, full: &watch::Sender<bool>) {
    let mut size = PIECE_MAX;
    loop {
        let count = if size == PIECE_MAX { AT_A_TIME } else { 1 };
        let pieces = (0..count).map(|_| raw.ask(subject, vec![0; size]));
        let stored = join_all(pieces).await;
        if stored.iter().all(|stored| *stored == Answer::Done) {
            continue;
        }
        if !stored.contains(&Answer::Full) {
            sleep(PAUSE).await;
        } else if size > smallest {
            size = (size / SMALLER).max(smallest);
        } else {
            full.send_replace(true);
            sleep(AGAIN).await;
        }
    }
}
