//! The processes of a run that are the program itself: one that submits, one that reads.
//!
//! Each writes down what it does before it matters to anybody else, and may be killed at any
//! moment; a successor goes on from the records. A broker that is away is asked again for
//! [`patience`], which is longer than any fault.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use sortie::{AttachError, Client, ConnectError, Job};
use sortie_broker::nats::NatsBroker;
use sortie_broker::{Event, Submit as _};
use sortie_harness::patience;
use sortie_protocol::{Bundle, JobId, JobState};
use tokio::time::{Instant, interval, sleep, timeout};

use crate::common::{PAUSE, config, connect, now, patiently, record, take_all, told, until};
use crate::history::{Log, Record};
use crate::work::{self, Work};

/// How long the last reader looks for outcomes after the last one.
const LINGER: Duration = Duration::from_millis(500);

/// What both kinds of process are told.
#[derive(Debug, Clone)]
pub struct Part {
    /// The servers, each behind a proxy.
    pub broker: String,
    /// The job.
    pub job: JobId,
    /// Where records go: a file that is not there yet.
    pub file: PathBuf,
}

/// What a submitter is told.
#[derive(Debug, Clone)]
pub struct Submission {
    /// All tasks.
    pub work: Work,
    /// Tasks in a bundle.
    pub bundle: u64,
    /// Tasks that were recorded before. The bundle of the last one is published again: nobody
    /// knows whether it was.
    pub recorded: u64,
    /// Between two bundles.
    pub pace: Duration,
}

/// What a reader is told.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Its name.
    pub reader: u32,
    /// Where it begins.
    pub from: u64,
    /// How many outcomes there will be.
    pub tasks: u64,
    /// What it reads through.
    pub through: Through,
}

/// What a reader reads through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Through {
    /// The client library, as a program does that attaches to a job. It always begins with the
    /// first outcome.
    Client,
    /// The broker itself, which can begin anywhere.
    Broker,
    /// The broker itself, for the last reader, which also looks for what should not be there.
    BrokerAtEnd,
}

/// Publish the tasks, bundle after bundle, then seal the job.
///
/// # Errors
/// When the broker refuses, or is away for too long.
pub async fn submit(part: &Part, submission: &Submission) -> Result<()> {
    let mut log = Log::create(&part.file)?;
    let submitted = try_submit(part, submission, &mut log).await;
    told(submitted, "a submitter", &mut log)
}

async fn try_submit(part: &Part, submission: &Submission, log: &mut Log) -> Result<()> {
    let Submission {
        work,
        bundle,
        recorded,
        pace,
    } = *submission;
    let broker = connect(&part.broker).await?;
    let mut ticks = interval(pace.max(Duration::from_micros(1)));
    let mut first = recorded.saturating_sub(1) / bundle * bundle;
    while first < work.tasks {
        ticks.tick().await;
        let indices = first..work.tasks.min(first + bundle);
        let new = indices.clone().filter(|index| *index >= recorded);
        log.write(new.map(|index| Record::Submitted {
            index,
            argument: work.argument(index),
        }))?;
        first = indices.end;
        let tasks: Vec<_> = indices.map(|index| work.task(index)).collect();
        let bundle = || Bundle {
            job: work::key(part.job),
            attempts_before: 0,
            lost_before: 0,
            published: now(),
            tasks: tasks.clone(),
        };
        patiently(|| broker.publish(bundle()))
            .await
            .context("failed to publish a bundle")?;
    }
    patiently(|| broker.seal(work::key(part.job), work.tasks))
        .await
        .context("failed to seal the job")?;
    Ok(broker.close().await?)
}

/// Follow the outcomes until all are there.
///
/// # Errors
/// When the broker refuses, is away for too long, or ends the stream of outcomes.
pub async fn read(part: &Part, reading: &Reading) -> Result<()> {
    let mut log = Log::create(&part.file)?;
    let read = match reading.through {
        Through::Client => attach(part, reading, &mut log).await,
        Through::Broker | Through::BrokerAtEnd => follow(part, reading, &mut log).await,
    };
    told(read, &format!("reader {}", reading.reader), &mut log)
}

async fn attach(part: &Part, reading: &Reading, log: &mut Log) -> Result<()> {
    let reader = reading.reader;
    let config = config(&part.broker);
    let client = until(
        || Client::fleet(config.clone()),
        |error| matches!(error, ConnectError::Broker(error) if error.is_transient()),
    )
    .await?;
    let again =
        |error: &AttachError| matches!(error, AttachError::Broker(error) if error.is_transient());
    let mut job: Job<u64> = until(|| client.attach(part.job), again).await?;
    take_all(reader, &mut job, log).await?;
    let tasks = job
        .progress()
        .total()
        .context("the job ended and is not complete")?;
    log.write([Record::Sealed { reader, tasks }, Record::Read { reader }])
}

async fn follow(part: &Part, reading: &Reading, log: &mut Log) -> Result<()> {
    let reader = reading.reader;
    let is_last = reading.through == Through::BrokerAtEnd;
    let broker = connect(&part.broker).await?;
    if is_last {
        // Bundles whose tasks ended may be delivered once more, to a worker that then finds that
        // out.
        let left = until_empty(&broker, part.job).await?;
        log.write([Record::Left { bundles: left }])?;
    }
    let mut events = patiently(|| broker.follow(work::key(part.job), reading.from))
        .await
        .context("failed to follow the job")?;
    let mut next = reading.from;
    while next < reading.tasks {
        match events.next().await {
            Some(Event::Outcomes(position, outcomes)) => {
                next = record(reader, position, &outcomes, log)?
            }
            Some(Event::CaughtUp(_) | Event::Submitting | Event::Sealed(_)) => {}
            Some(Event::Unreadable { reason, .. }) => bail!("an outcome is unreadable: {reason}"),
            Some(Event::Cancelled) => bail!("the job was cancelled"),
            Some(Event::Refused(error)) => return Err(error.into()),
            None => bail!("the stream of outcomes ended at position {next}"),
        }
    }
    let more = if is_last {
        let outcomes = async {
            loop {
                match events.next().await {
                    Some(Event::CaughtUp(_) | Event::Submitting | Event::Sealed(_)) => {}
                    event => return event,
                }
            }
        };
        timeout(LINGER, outcomes).await.ok().flatten()
    } else {
        None
    };
    if let Some(Event::Outcomes(position, outcomes)) = more {
        record(reader, position, &outcomes, log)?;
    }
    let tasks = until_sealed(&broker, part.job).await?;
    log.write([Record::Sealed { reader, tasks }, Record::Read { reader }])?;
    Ok(broker.close().await?)
}

/// The bundles that are in the queue when there is nobody left who would take one.
async fn until_empty(broker: &NatsBroker, job: JobId) -> Result<u64> {
    let started = Instant::now();
    loop {
        let left = patiently(|| broker.unfinished(work::key(job)))
            .await?
            .bundles;
        if left == 0 || started.elapsed() > patience() {
            return Ok(left);
        }
        sleep(PAUSE).await;
    }
}

async fn until_sealed(broker: &NatsBroker, job: JobId) -> Result<u64> {
    let started = Instant::now();
    loop {
        match patiently(|| broker.job(work::key(job)))
            .await?
            .map(|record| record.state)
        {
            Some(JobState::Sealed { tasks }) => return Ok(tasks),
            Some(JobState::Open) if started.elapsed() < patience() => sleep(PAUSE).await,
            Some(state) => bail!("the job is {state:?} though all its outcomes are there"),
            None => bail!("the job is not known"),
        }
    }
}
