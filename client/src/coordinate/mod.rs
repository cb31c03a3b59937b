//! Goes on with the open jobs of clients that ended.
//!
//! A client coordinates the tasks that it submits one by one: it releases those that take results
//! of others when these are there. What waits is written to the broker, and so is the client's
//! claim to the job. When the claim is not repeated any more, a coordinator takes the job over: it
//! reads what is left, does what the client would have done, and seals the job when all of its
//! tasks have ended. Their results stay at the broker, as those of any job.
//!
//! A client that was only away takes its job back. Two that coordinate one job for a while are
//! harmless: a task may run twice, and its first outcome counts.
//!
//! Bounds: [`JOBS_MAX`] jobs at once, of them [`TENANT_JOBS_MAX`] of one tenant; a job's graph and
//! the results that its tasks take have [`GRAPH_BYTES_MAX`](sortie_broker::GRAPH_BYTES_MAX) and
//! [`OUTCOME_BYTES_MAX`] bytes. A job that has more is cancelled.

mod estate;
mod sightings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sortie_broker::{Broker, Claimed, Error};
use sortie_objects::{Objects, OutputStore};
use sortie_protocol::submission::End;
use sortie_protocol::{JobKey, TaskIndex, WorkerId};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use self::estate::Estate;
use self::sightings::Sightings;
use crate::api::shared::new_holder;
use crate::drive::clock::Clock;
use crate::drive::driver::{Driver, Stopped};
use crate::drive::feed::Feed;
use crate::drive::program::Program;
use crate::drive::term::HeldTerm;
use crate::drive::tracker::TaskTracker;
use crate::drive::values::Values;
use crate::drive::window::Window;
use crate::observer::Observed;

/// How many jobs one coordinator drives at once.
const JOBS_MAX: usize = 8;
/// How many of them may be of one tenant.
const TENANT_JOBS_MAX: usize = 4;
/// How often it is looked for jobs that were left, where few are open.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How much longer that takes for each open job: whoever looks reads the claims to all of them.
const LOOK_INTERVAL_PER_JOB: Duration = Duration::from_millis(10);
/// How long tasks that the broker does not have are waited for: their submitter may only have stood
/// still, or lost its connection, and still have them.
const MISSING_TIME: Duration = Duration::from_secs(300);
/// The most bytes of results that the tasks of a job take.
const OUTCOME_BYTES_MAX: usize = 512 << 20;

/// Goes on with open jobs whose clients ended, for as long as it is there. Dropping it leaves its
/// jobs to others after a while; [`Coordinator::stop`] does at once.
#[derive(Debug)]
pub struct Coordinator {
    stop: watch::Sender<bool>,
    running: JoinSet<()>,
}

/// What each job needs.
#[derive(Debug, Clone)]
struct Means {
    broker: Arc<dyn Broker>,
    objects: Objects,
    store: Option<OutputStore>,
    holder: WorkerId,
    stop: watch::Receiver<bool>,
}

impl Coordinator {
    /// Start one. Call it within a tokio runtime, on which it runs. Results that are put into
    /// larger values are read from, and written to, `store`.
    #[must_use]
    pub fn start(broker: Arc<dyn Broker>, objects: Objects, store: Option<OutputStore>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let means = Means {
            broker,
            objects,
            store,
            holder: new_holder(),
            stop: stopped,
        };
        let mut running = JoinSet::new();
        running.spawn(run(means));
        Self { stop, running }
    }

    /// Leave all jobs to others.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.running.join_next().await.is_some() {}
    }
}

async fn run(means: Means) {
    let clock = Clock::start();
    let mut sightings = Sightings::default();
    let mut driven: HashMap<Id, JobKey> = HashMap::new();
    let mut jobs = JoinSet::new();
    let mut stop = means.stop.clone();
    let mut open: u32 = 0;
    while !*stop.borrow_and_update() {
        match means.broker.all_claimed().await {
            Ok(all) => {
                open = u32::try_from(all.len()).unwrap_or(u32::MAX);
                for (job, claimed) in sightings.see(all, means.holder, clock.now()) {
                    if may_take(&driven, job) {
                        let task = jobs.spawn(go_on(means.clone(), job, claimed));
                        driven.insert(task.id(), job);
                    }
                }
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "cannot look for jobs that were left");
                sightings.miss();
            }
            Err(error) => {
                tracing::warn!(%error, "open jobs whose clients end are not gone on with here");
                break;
            }
        }
        let interval = LOOK_INTERVAL.max(LOOK_INTERVAL_PER_JOB.saturating_mul(open));
        let pause = tokio::time::sleep(interval);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                _ = stop.changed() => break,
                () = &mut pause => break,
                Some(ended) = jobs.join_next_with_id(), if !jobs.is_empty() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    driven.remove(&id);
                }
            }
        }
    }
    while jobs.join_next().await.is_some() {}
}

/// Whether a job can be taken in beside those that are driven.
fn may_take(driven: &HashMap<Id, JobKey>, job: JobKey) -> bool {
    let of_tenant = driven.values().filter(|other| other.tenant == job.tenant);
    driven.len() < JOBS_MAX
        && of_tenant.count() < TENANT_JOBS_MAX
        && !driven.values().any(|other| *other == job)
}

/// Take a job over, and drive it to its end.
async fn go_on(means: Means, job: JobKey, seen: Claimed) {
    let broker = means.broker.clone();
    match HeldTerm::take_over(broker, job, means.holder, seen).await {
        Ok(Some(mut term)) => match drive(&means, &mut term).await {
            Ok(Next::Drop) => {
                if let Err(error) = means.broker.drop_graph(job).await {
                    tracing::debug!(%job, %error, "the graph of a job that is over stays a while");
                }
            }
            Ok(Next::Resign) => term.resign().await,
            Ok(Next::Nothing) => {}
            Err(error) => tracing::warn!(%job, %error, "a job that was left cannot be driven now"),
        },
        // Somebody else was faster.
        Ok(None) => {}
        Err(error) => tracing::debug!(%job, %error, "a job that was left cannot be claimed"),
    }
}

/// What is to be done when a job is not driven any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is over.
    Drop,
    /// Others may go on with it.
    Resign,
    /// Somebody else has it.
    Nothing,
}

async fn drive(means: &Means, term: &mut HeldTerm) -> Result<Next, Error> {
    let (broker, job) = (&means.broker, term.job);
    let (inherited, published, missing) = match estate::find(&**broker, job).await? {
        Estate::Open(inherited, published, missing) => (inherited, published, missing),
        Estate::Over => return Ok(Next::Drop),
        Estate::Damaged(reason) => {
            tracing::warn!(%job, reason, "a job that was left is cancelled: it is damaged");
            return match broker.cancel(job).await {
                Err(error) if error.is_transient() => Err(error),
                // What cannot be read cannot be cancelled either.
                Ok(()) | Err(_) => Ok(Next::Drop),
            };
        }
    };
    tracing::info!(
        %job,
        waiting = inherited.waiting.len(),
        missing = inherited.missing,
        "going on with a job whose submitter ended"
    );
    let total = inherited.total;
    let driven = Program::inherit(job, TaskTracker::default(), inherited);
    let program = driven.program.clone();
    let store = means.store.as_ref().map(|store| store.of(job.tenant));
    let driver = Driver {
        broker: broker.clone(),
        runtime: Handle::current(),
        window: Window::fleet(),
        observed: Observed::default(),
        feed: Feed::open(broker, job, Observed::default()).await?,
        values: Values::new(means.objects.clone(), store, broker.clone()),
    };
    let mut stop = means.stop.clone();
    let stopped = tokio::select! {
        stopped = driver.drive(driven, Some((published, total)), term) => stopped,
        () = stopped_by(&mut stop) => return Ok(Next::Resign),
        () = give_up(&program, &missing) => return Ok(Next::Resign),
        () = grown(&program) => {
            tracing::warn!(
                %job,
                bytes_max = OUTCOME_BYTES_MAX,
                "a job that was left is cancelled: its tasks take more results than is allowed"
            );
            broker.cancel(job).await?;
            return Ok(Next::Drop);
        }
    };
    Ok(match stopped {
        Stopped::Ended(End::Complete(_) | End::Cancelled | End::Closed(None)) => Next::Drop,
        Stopped::Ended(End::Closed(Some(error)) | End::Failed(error)) => return Err(error),
        Stopped::Ended(End::Lost(_) | End::Incomplete(_) | End::Gone) => Next::Resign,
        Stopped::TakenOver => Next::Nothing,
    })
}

/// Wait until the coordinator is to stop, or is dropped.
async fn stopped_by(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// End the tasks that the broker does not have, once the submitter had the time to bring them.
/// Never returns.
async fn give_up(program: &Program, missing: &[TaskIndex]) {
    tokio::time::sleep(MISSING_TIME).await;
    program.give_up(missing);
    std::future::pending().await
}

/// Wait until a job holds more results than it may.
async fn grown(program: &Program) {
    while program.outcome_bytes() <= OUTCOME_BYTES_MAX {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
