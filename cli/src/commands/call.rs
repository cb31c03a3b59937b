//! `sortie call`: runs one task and prints its value on stdout.

use std::io::IsTerminal as _;
use std::time::Duration;

use sortie::protocol::{Output as TaskOutput, OutputObject};
use sortie::{Blame, Ending as TaskEnding, JobId, Outcome, TaskError};
use sortie_frontend::binding::Shape;
use sortie_frontend::json::{self, Layout};
use sortie_frontend::results::{ShownObject, bad_result};
use sortie_frontend::session::{Keeps, Session};
use sortie_frontend::settings::Environment;

use crate::arguments::call::Call;
use crate::ending::{Ending, Error, failure_advice, refused};
use crate::session;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;
use crate::workers::WorkerNews;

/// How often it is said what became known of the workers.
const NEWS_INTERVAL: Duration = Duration::from_secs(1);

/// Run the command.
pub(crate) async fn run(
    arguments: Call,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let session = session::open(&arguments.host, &arguments.broker, environment, interrupt).await?;
    let ended = start(&arguments, &session, interrupt).await;
    session::settle(&session, interrupt, &ended).await;
    ended
}

async fn start(
    arguments: &Call,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let function = session
        .function(
            &arguments.component,
            &arguments.function,
            arguments.task.job(),
            interrupt.stop(),
        )
        .await?;
    let shape = interrupt
        .or(Shape::new(
            function.signature(),
            &arguments.fixed.named,
            session.places.clone(),
        ))
        .await??;
    let inputs = interrupt
        .or(shape.arguments(&arguments.arguments))
        .await??;
    session::check_store(&function, session, interrupt).await?;
    let told = session::say_if_nobody_works(&function, session, interrupt).await?;
    let task = interrupt
        .or(session.client.submit(&function, inputs))
        .await?
        .map_err(refused)?;
    let job = task.job();
    let outcome = if session.keeps == Keeps::Job {
        interrupt.set_parting(session::may_go_on(job));
        let news = WorkerNews::start(&session.client, job, told);
        interrupt.or(beside_news(task.outcome(), news)).await?
    } else {
        interrupt.or(task.outcome()).await?
    };
    let outcome = outcome.map_err(|error| lost(&error, job, session.keeps))?;
    let outcome = interrupt.or(session.client.fetched(outcome)).await?;
    if let Some(log) = &outcome.log {
        terminal::log(&log.text);
        if log.dropped > 0 {
            terminal::say(&format!(
                "[{} more bytes of the log were dropped]",
                log.dropped
            ));
        }
    }
    let ending = show(&outcome, arguments.raw, session.keeps)?;
    if let Some(why) = session::why_not_kept(function.options()) {
        terminal::say(&why);
    }
    Ok(ending)
}

/// Wait for an outcome, and say meanwhile what becomes known of the workers.
async fn beside_news<T>(outcome: impl Future<Output = T>, mut news: WorkerNews) -> T {
    tokio::pin!(outcome);
    loop {
        tokio::select! {
            biased;
            outcome = &mut outcome => return outcome,
            () = tokio::time::sleep(NEWS_INTERVAL) => {}
        }
        news.lines().iter().for_each(|line| terminal::say(line));
    }
}

fn show(outcome: &Outcome, raw: bool, keeps: Keeps) -> Result<Ending, Error> {
    match &outcome.ending {
        TaskEnding::Completed(TaskOutput::Value(cbor)) => print(outcome, cbor, raw),
        TaskEnding::Completed(TaskOutput::Object(object)) => print_object(object, raw),
        TaskEnding::Completed(TaskOutput::Stored(stored)) => Err(Error::Platform(format!(
            "the result is still at `{}`",
            stored.location
        ))),
        TaskEnding::Completed(TaskOutput::AtBroker(_)) => {
            Err(Error::Platform("the result is still at the broker".into()))
        }
        TaskEnding::Failed(failure) => {
            let (code, blame, attempts) =
                (failure.code(), failure.blame().as_str(), outcome.attempts);
            let attempts = if attempts > 1 {
                format!(", {attempts} attempts")
            } else {
                String::new()
            };
            terminal::error(&format!("{code}: {failure} (blame: {blame}{attempts})"));
            if let Some(text) = failure_advice(failure.advice().as_ref(), keeps) {
                terminal::say(&text);
            }
            Ok(match failure.blame() {
                Blame::Guest | Blame::Input => Ending::TasksFailed,
                Blame::Platform => Ending::PlatformFailure,
            })
        }
        // Not our own interrupt: that ends the command before there is an outcome.
        TaskEnding::Cancelled => Err(Error::Platform(
            "the task was cancelled by another client; run the same command again".into(),
        )),
    }
}

/// The task's outcome could not be read. If the broker was unreachable for longer than
/// `--outage-timeout`, the task may still be running.
fn lost(error: &TaskError, job: JobId, keeps: Keeps) -> Error {
    Error::Platform(match (keeps, error) {
        (Keeps::Job, TaskError::BrokerGone { stays: true, .. }) => {
            format!("{error}; `sortie job gather {job}` has the result when it is back")
        }
        (Keeps::Job | Keeps::Results | Keeps::Nothing, _) => error.to_string(),
    })
}

/// Print an object as in JSON lines of results; with `--raw` only its URL.
fn print_object(object: &OutputObject, raw: bool) -> Result<Ending, Error> {
    let mut output = stdout::lines();
    let pending = output.pending();
    if raw {
        pending.extend_from_slice(object.stored.location.to_url().as_bytes());
    } else {
        // Writing this type into memory cannot fail.
        let _ = serde_json::to_writer(&mut *pending, &ShownObject::from(object));
    }
    pending.push(b'\n');
    stdout::flush(&mut output)?;
    Ok(Ending::Completed)
}

fn print(outcome: &Outcome, cbor: &[u8], raw: bool) -> Result<Ending, Error> {
    let mut output = stdout::lines();
    if let Some(bytes) = raw.then(|| plain(cbor)).flatten() {
        output.pending().extend_from_slice(&bytes);
    } else {
        let layout = if std::io::stdout().is_terminal() {
            Layout::Indented
        } else {
            Layout::Line
        };
        if let Err(what) = json::write(cbor, layout, output.pending()) {
            let reason = bad_result(outcome, &what);
            terminal::error(&format!("{}: {}", reason.code, reason.message));
            return Ok(Ending::TasksFailed);
        }
        output.pending().push(b'\n');
    }
    stdout::flush(&mut output)?;
    Ok(Ending::Completed)
}

/// The bytes of a text or byte string; `None` for other values, which are not decoded: as a tree
/// they could take gigabytes.
fn plain(cbor: &[u8]) -> Option<Vec<u8>> {
    const BYTE_STRING: u8 = 2;
    const TEXT_STRING: u8 = 3;
    if !matches!(cbor.first()? >> 5, BYTE_STRING | TEXT_STRING) {
        return None;
    }
    match ciborium::from_reader(cbor) {
        Ok(ciborium::Value::Text(text)) => Some(text.into_bytes()),
        Ok(ciborium::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_to_be_gathered_only_where_it_stays() {
        let job = JobId::from_bytes([7; 16]);
        let text = |stays, keeps| {
            lost(
                &TaskError::BrokerGone {
                    reason: "it refuses".into(),
                    stays,
                },
                job,
                keeps,
            )
            .to_string()
        };
        assert!(text(true, Keeps::Job).contains(&format!("`sortie job gather {job}`")));
        for text in [
            text(false, Keeps::Job),
            text(true, Keeps::Results),
            text(false, Keeps::Nothing),
        ] {
            assert!(
                text.contains("it refuses") && !text.contains("gather"),
                "{text}"
            );
        }
    }

    #[test]
    fn only_strings_are_printed_as_they_are() {
        assert_eq!(plain(&[0x62, b'h', b'i']), Some(b"hi".to_vec()));
        assert_eq!(plain(&[0x41, 0xff]), Some(vec![0xff]));
        assert_eq!(plain(&[0x81, 0x61, b'x']), None);
        assert_eq!(plain(&[]), None);
    }
}
