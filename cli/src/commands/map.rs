//! `sortie map`: one task for each input, results as JSON lines or as a table.
//!
//! Everything that can be checked is checked before the output is touched and the first task
//! starts. From then on nothing is held but what is under way: inputs are taken as results are
//! written.

use std::path::Path;
use std::sync::Arc;

use sortie::{Detached, Function, Job, SubmitError};
use sortie_frontend::binding::{InFlight, Inputs, Names, Order, Origin, Shape, Source};
use sortie_frontend::chain;
use sortie_frontend::results::{Reorder, Target, Writer};
use sortie_frontend::session::{Keeps, Session};
use sortie_frontend::settings::Environment;

use crate::arguments::map::Map;
use crate::ending::{Ending, Error, refused};
use crate::follow::{OnSignal, Run, Stopped};
use crate::session;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::stdout;
use crate::terminal::summary::Summary;

/// Run the command.
pub(crate) async fn run(
    arguments: Map,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    check_early(&arguments)?;
    let session = session::open(&arguments.host, &arguments.broker, environment, interrupt).await?;
    let ended = start(&arguments, &session, interrupt).await;
    session::settle(&session, interrupt).await;
    ended
}

async fn start(arguments: &Map, session: &Session, interrupt: &Interrupt) -> Result<Ending, Error> {
    if arguments.detach && session.keeps != Keeps::Job {
        return Err(Error::Usage(
            "--detach leaves the job to a fleet, but no broker is named; add --broker URL".into(),
        ));
    }
    let function = session
        .function(
            &arguments.component,
            &arguments.function,
            arguments.task.job(),
            interrupt.stop(),
        )
        .await?;
    let target = Target::parse(arguments.output.as_deref(), &session.places.folder)?;
    let names = if arguments.literal {
        Names::Literal
    } else {
        Names::Patterns
    };
    let places = session.places_beside(target.as_output(&session.places.folder), names);
    let shape = interrupt
        .or(Shape::new(
            function.signature(),
            &arguments.fixed.named,
            places,
        ))
        .await??;
    let source = match &arguments.lines {
        Some(path) => Source::Lines(path.clone()),
        None => Source::Named(arguments.inputs.clone()),
    };
    let inputs = Inputs::open(&source, shape, interrupt.stop()).await?;
    if arguments.detach {
        detach(&function, inputs, session, interrupt).await
    } else {
        follow(arguments, &target, &function, inputs, session, interrupt).await
    }
}

/// Submit the job and write its results.
async fn follow(
    arguments: &Map,
    target: &Target,
    function: &Function<()>,
    inputs: Inputs,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    session::say_if_nobody_works(function, session, interrupt).await?;
    target.check(&session.places.troubles)?;
    let output = Writer::open(
        target,
        stdout::lines,
        &session.places.objects,
        &session.places.folder,
        interrupt.stop(),
    )
    .await?;
    let order = if arguments.ordered {
        Order::Inputs
    } else {
        Order::Completion
    };
    let in_flight = Arc::new(InFlight::new(order));
    let results = if stdout::is_terminal(&output) {
        Results::OnTerminal
    } else {
        Results::Elsewhere
    };
    let total = inputs.total();
    let none = Error::from(inputs.none());
    let mut job = session
        .client
        .map_stream(function, inputs.stream(in_flight.clone()));
    if session.keeps == Keeps::Job && output.is_whole_or_nothing() {
        // A broker in this process would only hold them in memory, and ends with it.
        job.keep_outcomes();
    }
    let mut run = Run {
        output,
        in_flight,
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        results,
        progress: Progress::start(arguments.progress, results),
        total,
        on_signal: OnSignal::Cancel,
        keeps: session.keeps,
        lacks_values: false,
    };
    match run.drive(&mut job, interrupt).await {
        Ok(stopped) => {
            let ended = conclude(&run, stopped, &job, none, session.keeps);
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
async fn detach(
    function: &Function<()>,
    inputs: Inputs,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    session::say_if_nobody_works(function, session, interrupt).await?;
    let in_flight = Arc::new(InFlight::new(Order::Nowhere));
    let none = inputs.none();
    let submitting = session
        .client
        .submit_all_stream(function, inputs.stream(in_flight.clone()));
    let Detached { job, tasks } = interrupt.or(submitting).await?.map_err(refused)?;
    let wrong = in_flight.trouble().or_else(|| (tasks == 0).then_some(none));
    if let Some(wrong) = wrong {
        // Half a job is none.
        session.client.forget(job).await.map_err(refused)?;
        return Err(wrong.into());
    }
    let mut output = stdout::lines();
    output
        .pending()
        .extend_from_slice(format!("{job}\n").as_bytes());
    output.flush()?;
    let what = if tasks == 1 {
        "1 task was".to_owned()
    } else {
        format!("{tasks} tasks were")
    };
    terminal::say(&format!(
        "{what} submitted; `sortie job status {job}` tells how far they are, `sortie job gather \
         {job}` writes their results"
    ));
    Ok(Ending::Completed)
}

/// What needs neither a client nor a component to be seen.
fn check_early(arguments: &Map) -> Result<(), Error> {
    match &arguments.lines {
        Some(path) => {
            let origin = Origin::of(path)?;
            match (&origin, &arguments.output) {
                (Origin::File(from), Some(to)) if same_file(from, to) => {
                    let shown = from.display();
                    Err(Error::Usage(format!(
                        "`{shown}` is an input and the output; write the results to another file"
                    )))
                }
                _ => Ok(()),
            }
        }
        None if arguments.inputs.is_empty() => Err(Error::Usage(
            "name at least one INPUT, or a file of them with --inputs; see `sortie map --help`"
                .into(),
        )),
        None => Ok(()),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Say what became of everything.
fn conclude(
    run: &Run,
    stopped: Stopped,
    job: &Job<()>,
    none: Error,
    keeps: Keeps,
) -> Result<Ending, Error> {
    if stopped == Stopped::ByReader {
        run.progress.finish();
        return Ok(run.ending());
    }
    run.sum_up();
    if stopped == Stopped::BySignal {
        terminal::say(&how_to_go_on(keeps, job, run.has_ended(job)));
        return Ok(Ending::Interrupted);
    }
    if let Some(trouble) = run.in_flight.trouble() {
        return Err(trouble.into());
    }
    if job.progress().cancelled {
        return Err(Error::Platform(
            "the job was cancelled by somebody else; run the same command again".into(),
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
            "the job broke off after {ended} of {taken} tasks{why}{stays} run the same command \
             again"
        )));
    }
    if taken == 0 {
        Err(none)
    } else {
        Ok(run.ending())
    }
}

/// Where the rest is of a job whose broker was away for too long.
fn stays(job: &Job<()>) -> Option<String> {
    let id = job
        .id()
        .filter(|_| job.trouble().is_some_and(SubmitError::is_transient))?;
    Some(format!(
        "What was submitted stays at the broker: `sortie job gather {id}`"
    ))
}

/// A job that has ended is interrupted where its results are still on their way into a store.
fn how_to_go_on(keeps: Keeps, job: &Job<()>, has_ended: bool) -> String {
    let text = match (keeps, job.progress().cancelled, job.id()) {
        (Keeps::Results, ..) => {
            "to go on, run the same command again: finished results are kept in the cache"
        }
        (Keeps::Nothing, ..) => {
            "to start over, run the same command again: without a cache no results are kept"
        }
        (Keeps::Job, ..) if has_ended => {
            "all tasks had ended, but not all results were written. To start over, run the same \
             command again"
        }
        (Keeps::Job, true, _) | (Keeps::Job, _, None) => {
            "the job was cancelled at the broker. To start over, run the same command again"
        }
        (Keeps::Job, false, Some(id)) => {
            return format!(
                "interrupted; the broker has not confirmed in time that the job is cancelled, so \
                 it may go on: `sortie job cancel {id}` cancels it, `sortie job gather {id}` \
                 writes its results"
            );
        }
    };
    format!("interrupted; {text}")
}
