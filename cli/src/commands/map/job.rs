//! `sortie map` of one function: a job of its own.

use std::sync::Arc;

use sortie::{Detached, Function, Job, SubmitError};
use sortie_frontend::binding::{InFlight, Inputs, Order};
use sortie_frontend::chain;
use sortie_frontend::session::{Keeps, Session};

use super::checked::Checked;
use super::kept::{Kept, whole_or_nothing};
use crate::arguments::map::Map;
use crate::ending::{Ending, Error, refused};
use crate::follow::{Run, Stopped};
use crate::session::{self, may_go_on};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;

/// Submit the job and write its results.
pub(super) async fn follow(
    arguments: &Map,
    checked: Checked,
    inputs: Inputs,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let function = checked.first.clone();
    let mut run = checked
        .open(arguments, inputs.total(), session, interrupt)
        .await?;
    let none = Error::from(inputs.none());
    let mut job = session
        .client
        .map_stream(&function, inputs.stream(run.in_flight.clone()));
    let kept = Kept::of(session.keeps, function.options());
    match run.output.whole_or_nothing() {
        Some(place) if kept != Kept::AtBroker => interrupt.set_parting(whole_or_nothing(place)),
        _ => interrupt.set_parting(kept.parting(job.id())),
    }
    if session.keeps == Keeps::Job && run.output.whole_or_nothing().is_some() {
        // An in-process broker would only hold them in memory, and ends with this process.
        job.keep_outcomes();
    }
    match run.drive(&mut job, interrupt).await {
        Ok(stopped) => {
            let ended = conclude(&run, stopped, &job, none, kept);
            if let Some(why) = session::why_not_kept(function.options())
                .filter(|_| stopped == Stopped::AtEnd && run.summary.ended() > 0)
            {
                terminal::say(&why);
            }
            ended
        }
        Err(error) => Err(left(error, job, session.keeps)),
    }
}

/// Results could not be written; those of a fleet are not lost with that.
fn left(error: Error, job: Job<()>, keeps: Keeps) -> Error {
    match (error, keeps, job.id()) {
        (Error::Platform(text), Keeps::Job, Some(id)) => {
            job.leave();
            Error::Platform(format!(
                "{text}; the job stays at the broker: `sortie job gather {id}`"
            ))
        }
        (error, ..) => error,
    }
}

/// Submit the job and leave it to the fleet.
pub(super) async fn detach(
    function: &Function<()>,
    inputs: Inputs,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    stdout::check()?;
    session::say_if_nobody_works(function, session, interrupt).await?;
    let in_flight = Arc::new(InFlight::new(Order::Nowhere));
    interrupt.set_parting(
        "interrupted; what was submitted may go on at the broker: `sortie job list` shows it"
            .into(),
    );
    let none = inputs.none();
    let submitting = session
        .client
        .submit_all_stream(function, inputs.stream(in_flight.clone()));
    let Detached { job, tasks } = interrupt.or(submitting).await?.map_err(refused)?;
    let wrong = in_flight.trouble().or_else(|| (tasks == 0).then_some(none));
    if let Some(wrong) = wrong {
        // A job without all of its inputs is of no use.
        session.client.forget(job).await.map_err(refused)?;
        return Err(wrong.into());
    }
    let mut output = stdout::lines();
    output
        .pending()
        .extend_from_slice(format!("{job}\n").as_bytes());
    stdout::flush(&mut output).map_err(|error| {
        Error::Platform(format!(
            "{error}; the job is submitted, and its name is {job}: `sortie job gather {job}` \
             writes its results"
        ))
    })?;
    let what = if tasks == 1 {
        "1 task was".to_owned()
    } else {
        format!("{tasks} tasks were")
    };
    terminal::say(&format!(
        "{what} submitted; `sortie job status {job}` shows their progress, `sortie job gather \
         {job}` writes their results"
    ));
    Ok(Ending::Completed)
}

/// Report how the run ended.
fn conclude(
    run: &Run,
    stopped: Stopped,
    job: &Job<()>,
    none: Error,
    kept: Kept,
) -> Result<Ending, Error> {
    if stopped == Stopped::ByReader {
        run.progress.finish();
        return Err(stdout::closed());
    }
    run.sum_up();
    if stopped == Stopped::BySignal {
        terminal::say(&how_to_go_on(kept, job, run.has_ended(job)));
        return Ok(Ending::Interrupted);
    }
    if let Some(trouble) = run.in_flight.trouble() {
        return Err(trouble.into());
    }
    if job.progress().cancelled {
        return Err(Error::Platform(
            "the job was cancelled by another client; run the same command again".into(),
        ));
    }
    let (taken, ended) = (run.in_flight.taken(), run.summary.ended());
    if ended < taken || !job.progress().complete {
        let why = job
            .trouble()
            .map(|error| format!(": {}", chain(error)))
            .unwrap_or_default();
        let stays = stays(job)
            .map(|stays| format!(". {stays}, or"))
            .unwrap_or_else(|| ";".into());
        return Err(Error::Platform(format!(
            "the run ended early, after {ended} of {taken} tasks{why}{stays} run the same command \
             again"
        )));
    }
    if taken == 0 {
        Err(none)
    } else {
        Ok(run.ending())
    }
}

/// Where to find the remaining results if the broker was unreachable for too long.
fn stays(job: &Job<()>) -> Option<String> {
    let id = job
        .id()
        .filter(|_| job.trouble().is_some_and(SubmitError::is_transient))?;
    Some(format!(
        "What was submitted stays at the broker: `sortie job gather {id}`"
    ))
}

/// A job that has ended is interrupted where its results are still on their way into a store.
fn how_to_go_on(kept: Kept, job: &Job<()>, has_ended: bool) -> String {
    match (kept, job.progress().cancelled, job.id()) {
        (Kept::AtBroker, ..) if has_ended => {
            "interrupted; all tasks had ended, but not all results were written. To start over, \
             run the same command again"
                .into()
        }
        (Kept::AtBroker, false, Some(id)) => format!(
            "{}; the broker has not confirmed in time that the job is cancelled",
            may_go_on(id)
        ),
        (kept, ..) => format!("interrupted; {}", kept.how_to_go_on()),
    }
}
