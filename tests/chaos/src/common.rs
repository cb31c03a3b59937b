//! What the processes of a run share: connecting, asking again, writing records.
//!
//! A broker that is away is asked again for [`patience`], which is longer than any fault.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sortie::Job;
use sortie_broker::Error;
use sortie_broker::nats::{Config, NatsBroker, Provision, Role};
use sortie_harness::patience;
use sortie_protocol::{Outcome, Timestamp};
use tokio::time::{Instant, sleep};

use crate::accounts::{JUDGED, tenant};
use crate::history::{Log, Record};
use crate::work;

/// The pause before it is asked again, and between looks at what cannot be waited for.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// A client of an installation that is there.
pub(crate) async fn connect(servers: &str) -> Result<NatsBroker> {
    let config = config(servers);
    patiently(|| NatsBroker::connect(config.clone()))
        .await
        .context("failed to connect")
}

/// For the tenant that is judged, in an installation that is there. The addresses have its
/// password.
pub(crate) fn config(servers: &str) -> Config {
    Config {
        tenant: tenant(JUDGED),
        provision: Provision::Never,
        ..Config::new(servers, Role::Client)
    }
}

/// Ask again while the broker is away.
pub(crate) async fn patiently<T>(ask: impl AsyncFnMut() -> Result<T, Error>) -> Result<T> {
    until(ask, Error::is_transient).await
}

/// Ask again while an error may pass.
pub(crate) async fn until<T, E>(
    mut ask: impl AsyncFnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let started = Instant::now();
    loop {
        match ask().await {
            Err(error) if passes(&error) && started.elapsed() < patience() => sleep(PAUSE).await,
            answer => return Ok(answer?),
        }
    }
}

/// An error is part of the history.
pub(crate) fn told(done: Result<()>, who: &str, log: &mut Log) -> Result<()> {
    if let Err(error) = &done {
        log.write([Record::Broken {
            what: format!("{who}: {error:#}"),
        }])?;
    }
    done
}

/// Write down all outcomes of a job, which come in their order. Answers how many there were.
pub(crate) async fn take_all(reader: u32, job: &mut Job<u64>, log: &mut Log) -> Result<u64> {
    let mut next = 0;
    while let Some(outcome) = job.next_outcome().await {
        next = record(reader, next, &[outcome], log)?;
    }
    match job.trouble() {
        Some(trouble) => bail!("the job was lost at position {next}: {trouble}"),
        None => Ok(next),
    }
}

/// Answers the position after the last.
pub(crate) fn record(
    reader: u32,
    position: u64,
    outcomes: &[Outcome],
    log: &mut Log,
) -> Result<u64> {
    let records = outcomes.iter().zip(position..).map(|(outcome, position)| {
        let ended = work::ended(&outcome.ending);
        Record::Outcome {
            reader,
            position,
            index: outcome.index,
            attempts: outcome.attempts,
            ended,
        }
    });
    log.write(records)?;
    Ok(position + outcomes.len() as u64)
}

/// The submitter's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "bundles say when they were published"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::default()
        + std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
}
