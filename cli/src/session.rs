//! Shared by several commands: opens sessions, finds jobs by name, prints warnings for the user.

use std::time::Duration;

use sortie::nats::Role;
use sortie::protocol::Advice;
use sortie::{Client, Function, FunctionOptions, Grant, JobId, Presence};
use sortie_frontend::advice::command_line;
use sortie_frontend::binding::Notice;
use sortie_frontend::results::makes_object;
use sortie_frontend::session::{self, Keeps, SETTLE_TIME_MAX, Session};
use sortie_frontend::settings::{Cache, Environment};

use crate::arguments::broker::BrokerOptions;
use crate::arguments::host::HostOptions;
use crate::ending::{Ending, Error, refused};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;

/// Timeout for listing workers: long enough for an answer, short for a user who waits for the
/// first task.
const WORKERS_TIME_MAX: Duration = Duration::from_secs(1);
/// How many jobs are searched for a prefix of a name.
const LOOKED_THROUGH: usize = 100_000;
/// What a job's name begins with.
const PREFIX: &str = "job-";

/// Start a client of the broker that is named, or an embedded client if none is.
///
/// # Errors
/// As [`Session::open`].
pub(crate) async fn open(
    host: &HostOptions,
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Session, Error> {
    let config = broker.settings().config(environment, Role::Client)?;
    warn_if_nothing_is_kept(host.cache.as_ref(), environment);
    let host = host.settings();
    Ok(Session::open(&host, config, environment, tell, interrupt.stop()).await?)
}

/// What a command finds that looks at what a broker has.
pub(crate) enum Reached {
    There(Client),
    /// The broker has nothing of the tenant, because of this.
    Nothing(String),
}

/// A client of the broker that is named, to look at what is there: nothing is made, so that a
/// tenant whose name was mistyped is not there afterwards. An error if no broker is named.
pub(crate) async fn reach(
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Reached, Error> {
    let config = broker.settings().existing(environment, Role::Client)?;
    match session::connect(config, environment, interrupt.stop()).await {
        Ok(client) => Ok(Reached::There(client)),
        Err(error) => match error.advice.as_ref().and_then(lacks) {
            Some(lacks) => Ok(Reached::Nothing(lacks)),
            None => Err(error.into()),
        },
    }
}

/// What a broker lacks that has nothing yet, going by what is advised.
pub(crate) fn lacks(advice: &Advice) -> Option<String> {
    let lacks = match advice {
        Advice::InitTenant { tenant } => format!("the broker has no tenant `{tenant}`"),
        Advice::InitBroker => "the broker is not laid out for Sortie yet".into(),
        _ => return None,
    };
    Some(format!(
        "{lacks}: the first job makes what is missing, or {}",
        command_line(advice)
    ))
}

/// As [`reach`], for commands that name something of the tenant: without it there is none.
pub(crate) async fn connect(
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Client, Error> {
    match reach(broker, environment, interrupt).await? {
        Reached::There(client) => Ok(client),
        Reached::Nothing(why) => Err(Error::Usage(why)),
    }
}

/// Warn if there is no cache folder although the user did not disable it: every run then compiles
/// components again.
pub(crate) fn warn_if_nothing_is_kept(option: Option<&Cache>, environment: &Environment) {
    if option.is_none() && environment.cache.is_none() {
        tracing::warn!(
            "neither HOME nor XDG_CACHE_HOME is set, so nothing is kept between runs; name a \
             folder with --cache"
        );
    }
}

fn tell(notice: Notice) {
    match notice {
        Notice::FilesElsewhere => {
            terminal::say("inputs are local files: workers read these paths on their own machines");
        }
    }
}

/// Before exit: send the fleet's broker the pending cancellations of dropped jobs; of an embedded
/// client, wait until shared results are stored.
pub(crate) async fn settle(
    session: &Session,
    interrupt: &Interrupt,
    ended: &Result<Ending, Error>,
) {
    let time_max = interrupt.time_left().unwrap_or(SETTLE_TIME_MAX);
    let settled = session.settle(time_max).await;
    // A command that was interrupted has named the job that may go on.
    if !matches!(ended, Ok(Ending::Interrupted)) {
        warn_if_late(settled);
    }
}

/// The same for a client without a session.
pub(crate) async fn settle_client(client: &Client) {
    warn_if_late(session::settle(client, SETTLE_TIME_MAX).await);
}

fn warn_if_late(settled: Result<(), session::NotSettled>) {
    if let Err(late) = settled {
        tracing::warn!("{late}; `sortie job list` shows it");
    }
}

/// Why the results of a job with these options are not cached, if the user did not ask for that.
pub(crate) fn why_not_kept(options: &FunctionOptions) -> Option<String> {
    if options.grants.deterministic() {
        return None;
    }
    let said = options.grants.iter().map(|grant| match grant {
        Grant::Clock => "the clock",
        Grant::Random => "randomness",
    });
    let granted = said.collect::<Vec<_>>().join(" and ");
    Some(format!(
        "results were not cached: the function was granted {granted}, so another run may answer \
         otherwise"
    ))
}

/// What is said where a command ends before it is known what becomes of its job at the broker.
pub(crate) fn may_go_on(job: JobId) -> String {
    format!(
        "interrupted; the job may go on at the broker: `sortie job cancel {job}` cancels it, \
         `sortie job gather {job}` writes its results"
    )
}

/// The workers that are there for a function, if the broker tells in time. A user who may not ask,
/// or gets no answer, is not held up.
async fn workers(
    function: &Function<()>,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Option<Vec<Presence>>, Error> {
    if session.keeps != Keeps::Job {
        return Ok(None);
    }
    let asking = tokio::time::timeout(WORKERS_TIME_MAX, session.client.workers());
    let Ok(Ok(mut workers)) = interrupt.or(asking).await? else {
        return Ok(None);
    };
    workers.retain(|worker| worker.labels.include(&function.options().labels));
    Ok(Some(workers))
}

/// A function that returns an object needs a store where it runs: refuse it where it is known that
/// there is none.
pub(crate) async fn check_store(
    function: &Function<()>,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    if !makes_object(function.signature()) {
        return Ok(());
    }
    let workers = workers(function, session, interrupt).await?;
    Ok(session::check_store(
        function.signature(),
        session.keeps,
        workers.as_deref(),
    )?)
}

/// Tasks wait until a worker comes; a person who waits for them is told. How many there are, if
/// that is known.
pub(crate) async fn say_if_nobody_works(
    function: &Function<()>,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Option<usize>, Error> {
    let Some(workers) = workers(function, session, interrupt).await? else {
        return Ok(None);
    };
    let labels = &function.options().labels;
    if workers.is_empty() {
        let which = if labels.is_empty() {
            String::new()
        } else {
            format!(" with the labels {labels}")
        };
        terminal::say(&format!(
            "no worker{which} is connected yet; the tasks wait for one"
        ));
    }
    Ok(Some(workers.len()))
}

/// A client, and the job with this name or unique prefix of a name.
pub(crate) async fn find(
    text: &str,
    broker: &BrokerOptions,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<(Client, JobId), Error> {
    let known = parse(text)?;
    let client = connect(broker, environment, interrupt).await?;
    let job = match known {
        Some(job) => match interrupt.or(client.job(job)).await?.map_err(refused)? {
            Some(_) => job,
            None => return Err(unknown(text)),
        },
        None => interrupt.or(resolve(&client, text)).await??,
    };
    Ok((client, job))
}

/// A full job name; `None` if the text may be a prefix of one.
fn parse(text: &str) -> Result<Option<JobId>, Error> {
    if let Ok(job) = text.parse() {
        return Ok(Some(job));
    }
    let is_beginning = text
        .strip_prefix(PREFIX)
        .is_some_and(|digits| digits.len() < 32 && digits.bytes().all(|c| c.is_ascii_hexdigit()));
    if is_beginning {
        Ok(None)
    } else {
        Err(Error::Usage(format!(
            "`{text}` is not a job's name; write the name that `sortie job list` \
             shows, or a prefix of it"
        )))
    }
}

/// The only job whose name has this prefix.
pub(crate) async fn resolve(client: &Client, text: &str) -> Result<JobId, Error> {
    if let Some(job) = parse(text)? {
        return Ok(job);
    }
    let text = text.to_ascii_lowercase();
    let jobs = client.jobs(LOOKED_THROUGH).await.map_err(refused)?;
    let mut found = jobs
        .iter()
        .map(|record| record.job.key.job)
        .filter(|job| job.to_string().starts_with(&text));
    match (found.next(), found.count()) {
        (Some(job), 0) => Ok(job),
        (Some(_), others) => Err(Error::Usage(format!(
            "`{text}` is a prefix of {} jobs' names; write a longer one",
            others + 1
        ))),
        (None, _) => Err(unknown(&text)),
    }
}

fn unknown(text: &str) -> Error {
    Error::Usage(format!(
        "there is no job `{text}`; `sortie job list` shows the existing ones"
    ))
}

/// A job that was there a moment ago.
pub(crate) fn forgotten(job: JobId) -> Error {
    Error::Platform(sortie::SubmitError::Forgotten(job).to_string())
}

/// A job that cannot be attached to.
pub(crate) fn refused_job(text: &str, error: sortie::AttachError) -> Error {
    match error {
        sortie::AttachError::NoSuchJob(_) => Error::Usage(format!(
            "there is no job `{text}`; `sortie job list` shows the existing ones"
        )),
        sortie::AttachError::Gathered { gathered, .. } => Error::Usage(format!(
            "the results of `{text}` were gathered at {} and are not kept any longer",
            terminal::table::time(gathered.at)
        )),
        sortie::AttachError::Random(error) => {
            Error::Platform(format!("the system gives no random bytes: {error}"))
        }
        sortie::AttachError::Broker(error) => refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_by_itself_or_its_beginning() {
        let whole = JobId::from_bytes([0xab; 16]);
        assert_eq!(parse(&whole.to_string()), Ok(Some(whole)));
        assert_eq!(parse("job-ab12"), Ok(None));
        for text in ["ab12", "job-xy", "job", &format!("{whole}0")] {
            assert!(
                parse(text)
                    .unwrap_err()
                    .to_string()
                    .contains("sortie job list"),
                "{text}"
            );
        }
    }
}
