//! The process of a run that lives through all of it: a program that maps a function over inputs
//! and waits, as most users' programs do.
//!
//! It has a job and a history of its own, in a folder of its own, judged like the other. It is
//! paused and cut off, but not killed: a job that is mapped ends with its program.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{Stream, stream};
use sortie::{Arguments, Client, ConnectError, Function, IntoArguments as _, value};
use sortie_broker::Submit as _;
use tokio::time::interval;

use crate::common::{config, connect, take_all, told, until};
use crate::history::{Log, Record};
use crate::work::{self, Work};

/// What a mapper is told.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The servers, each behind a proxy.
    pub broker: String,
    /// The folder for its history, which is there.
    pub folder: PathBuf,
    /// All tasks.
    pub work: Work,
    /// Between two inputs.
    pub pace: Duration,
}

/// Map over the tasks until all outcomes are there.
///
/// # Errors
/// When the job ends without all of them.
pub async fn map(mapping: &Mapping) -> Result<()> {
    let mut log = Log::create(&mapping.folder.join("outcomes.jsonl"))?;
    let mapped = try_map(mapping, &mut log).await;
    told(mapped, "the mapper", &mut log)
}

async fn try_map(mapping: &Mapping, log: &mut Log) -> Result<()> {
    let (reader, config) = (0, config(&mapping.broker));
    let client = until(
        || Client::fleet(config.clone()),
        |error| matches!(error, ConnectError::Broker(error) if error.is_transient()),
    )
    .await?;
    let component = until(
        || client.load(sortie_harness::component(work::COMPONENT)),
        |_| true,
    )
    .await?;
    let function: Function<u64> = component.function(work::FUNCTION)?;
    log.write([
        Record::Planned {
            tasks: mapping.work.tasks,
        },
        Record::Reading { reader, from: 0 },
    ])?;
    let inputs = Arc::new(Mutex::new(Log::create(
        &mapping.folder.join("inputs.jsonl"),
    )?));
    let mut job = client.map_stream(
        &function.with_options(work::options()),
        paced(mapping, inputs),
    );
    let next = take_all(reader, &mut job, log).await?;
    let id = job.id().context("a job without a name")?;
    let tasks = job
        .progress()
        .total()
        .with_context(|| format!("the job ended at position {next} and is not complete"))?;
    drop(job);
    client.flush_jobs().await;
    let broker = connect(&mapping.broker).await?;
    let id = work::key(id);
    let asked = until(|| broker.unfinished(id), sortie_broker::Error::is_transient);
    let left = asked.await?.bundles;
    log.write([
        Record::Left { bundles: left },
        Record::Sealed { reader, tasks },
        Record::Read { reader },
    ])?;
    Ok(broker.close().await?)
}

/// The inputs, one by one, each written down when it is taken. What cannot be written down ends
/// them.
fn paced(
    mapping: &Mapping,
    log: Arc<Mutex<Log>>,
) -> impl Stream<Item = Arguments> + Send + 'static {
    let (work, ticks) = (
        mapping.work,
        interval(mapping.pace.max(Duration::from_micros(1))),
    );
    stream::unfold((0, ticks, log), move |(index, mut ticks, log)| async move {
        if index == work.tasks {
            return None;
        }
        ticks.tick().await;
        let argument = work.argument(index);
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write([Record::Submitted { index, argument }])
            .ok()?;
        Some((value(argument).into_arguments(), (index + 1, ticks, log)))
    })
}
