//! `sortie map`: one task for each input, results as JSON lines or as a table.
//!
//! Everything that can be checked is checked before the output is touched and the first task
//! starts. From then on only tasks in flight are held in memory: inputs are taken as results are
//! written.

use std::path::Path;
use std::sync::Arc;

use sortie::protocol::job::Memo;
use sortie::{Detached, Function, FunctionOptions, Job, JobId, SubmitError};
use sortie_frontend::binding::{InFlight, Inputs, Names, Order, Origin, Shape, Source};
use sortie_frontend::chain;
use sortie_frontend::results::{Naming, Reorder, Target, Writer, makes_object};
use sortie_frontend::session::{Keeps, Session};
use sortie_frontend::settings::Environment;
use tokio::task::JoinSet;

use crate::arguments::map::Map;
use crate::ending::{Ending, Error, refused};
use crate::follow::{OnSignal, Outputs, Run, Stopped};
use crate::session::{self, may_go_on};
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::stdout;
use crate::terminal::summary::Summary;
use crate::workers::WorkerNews;

/// Run the command.
pub(crate) async fn run(
    arguments: Map,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    check_early(&arguments)?;
    let session = session::open(&arguments.host, &arguments.broker, environment, interrupt).await?;
    let ended = start(&arguments, &session, interrupt).await;
    session::settle(&session, interrupt, &ended).await;
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
    let outputs = Outputs::of(&arguments.output)?;
    let target = Target::parse(outputs.results.as_deref(), &session.places.folder)?;
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
    let naming = naming(outputs.pattern.as_deref(), &function, &shape, session)?;
    let shape = shape.with_naming(naming.clone());
    session::check_store(&function, session, interrupt).await?;
    let source = match &arguments.lines {
        Some(path) => Source::Lines(path.clone()),
        None => Source::Named(arguments.inputs.clone()),
    };
    let inputs = Inputs::open(&source, shape, interrupt.stop()).await?;
    if arguments.detach {
        detach(&function, inputs, session, interrupt).await
    } else {
        let job = ToFollow {
            target,
            naming,
            function,
            inputs,
        };
        follow(arguments, job, session, interrupt).await
    }
}

/// What names the objects that tasks make, if a pattern is given.
fn naming(
    pattern: Option<&str>,
    function: &Function<()>,
    shape: &Shape,
    session: &Session,
) -> Result<Option<Naming>, Error> {
    let Some(pattern) = pattern else {
        return Ok(None);
    };
    if !makes_object(function.signature()) {
        return Err(Error::Usage(format!(
            "--output: `{pattern}` names objects that tasks make, but `{}` returns none; for its \
             results name a place without braces",
            function.signature()
        )));
    }
    let places = &session.places;
    let naming = Naming::parse(
        pattern,
        shape.stems(),
        &places.objects,
        &places.folder,
        &places.troubles,
    )?;
    Ok(Some(naming))
}

/// A job that is to be submitted and followed.
struct ToFollow {
    target: Target,
    naming: Option<Naming>,
    function: Function<()>,
    inputs: Inputs,
}

/// Submit the job and write its results.
async fn follow(
    arguments: &Map,
    job: ToFollow,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let ToFollow {
        target,
        naming,
        function,
        inputs,
    } = job;
    let workers_told = session::say_if_nobody_works(&function, session, interrupt).await?;
    let output = open(&target, naming.as_ref(), session, interrupt).await?;
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
        .map_stream(&function, inputs.stream(in_flight.clone()));
    let kept = Kept::of(session.keeps, function.options());
    match output.whole_or_nothing() {
        Some(place) if kept != Kept::AtBroker => interrupt.set_parting(whole_or_nothing(place)),
        _ => interrupt.set_parting(kept.parting(job.id())),
    }
    if output.whole_or_nothing().is_some() {
        interrupt.wait_for_upload();
    }
    if session.keeps == Keeps::Job && output.whole_or_nothing().is_some() {
        // An in-process broker would only hold them in memory, and ends with this process.
        job.keep_outcomes();
    }
    let mut run = Run {
        output,
        in_flight,
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        results,
        progress: Progress::start(arguments.progress, results, session.terminal),
        total,
        on_signal: OnSignal::Cancel,
        keeps: session.keeps,
        lacks_values: false,
        naming,
        copies: JoinSet::new(),
        workers: watch(session, &job, workers_told),
    };
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

/// Open the place for results, when it is known that what else is written can be.
async fn open(
    target: &Target,
    naming: Option<&Naming>,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Writer, Error> {
    let places = &session.places;
    target.check(&places.troubles)?;
    if let Some(naming) = naming {
        naming.check(interrupt.stop()).await?;
    }
    let (objects, folder) = (&places.objects, &places.folder);
    let opening = Writer::open(target, stdout::lines, objects, folder, interrupt.stop());
    Ok(opening.await?)
}

/// Watch the workers that are there for the job of a fleet.
fn watch(session: &Session, job: &Job<()>, told: Option<usize>) -> Option<WorkerNews> {
    let id = job.id().filter(|_| session.keeps == Keeps::Job)?;
    Some(WorkerNews::start(&session.client, id, told))
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

/// Checks that need neither a client nor a component.
fn check_early(arguments: &Map) -> Result<(), Error> {
    match &arguments.lines {
        Some(path) => {
            let origin = Origin::of(path)?;
            let is_output = match &origin {
                Origin::File(from) => arguments.output.iter().any(|to| same_file(from, to)),
                Origin::Pipe(_) | Origin::Stdin => false,
            };
            if is_output {
                Err(Error::Usage(format!(
                    "`{}` is an input and the output; write the results to another file",
                    path.display()
                )))
            } else {
                Ok(())
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

/// What becomes of results when a run is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// They are in the cache, or in a store.
    InCache,
    /// There is no cache.
    Nowhere,
    /// There is one, but the results of this run are not kept there.
    NotOfThisRun,
    /// The broker has the job.
    AtBroker,
}

impl Kept {
    fn of(keeps: Keeps, options: &FunctionOptions) -> Self {
        match keeps {
            Keeps::Job => Self::AtBroker,
            Keeps::Nothing => Self::Nowhere,
            Keeps::Results if options.memo == Memo::Off || !options.grants.deterministic() => {
                Self::NotOfThisRun
            }
            Keeps::Results => Self::InCache,
        }
    }

    /// How to go on after an interruption, where nothing else is known.
    fn how_to_go_on(self) -> &'static str {
        match self {
            Self::InCache => {
                "to go on, run the same command again: finished results are kept in the cache"
            }
            Self::Nowhere => {
                "to start over, run the same command again: without a cache no results are kept"
            }
            Self::NotOfThisRun => {
                "to start over, run the same command again: the results of this run are not kept"
            }
            Self::AtBroker => {
                "the job was cancelled at the broker. To start over, run the same command again"
            }
        }
    }

    /// What is said where a second signal ends the process before anything is known for sure.
    fn parting(self, job: Option<JobId>) -> String {
        match (self, job) {
            (Self::AtBroker, Some(id)) => may_go_on(id),
            (Self::AtBroker, None) => "interrupted".into(),
            (Self::InCache, _) => "interrupted; results that were written stay, and finished ones \
                                   are kept in the cache"
                .into(),
            (Self::Nowhere | Self::NotOfThisRun, _) => {
                "interrupted; results that were written stay".into()
            }
        }
    }
}

/// What is said where a process ends before its results were written to `place`, or while they are.
fn whole_or_nothing(place: &str) -> String {
    format!("interrupted; {place} has all results, or is as it was before")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_of_results_that_are_not_kept() {
        let options = FunctionOptions::default();
        let fresh = FunctionOptions {
            memo: Memo::Off,
            ..options.clone()
        };
        let granted = FunctionOptions {
            grants: [sortie::Grant::Clock].into(),
            ..options.clone()
        };
        let kept = Kept::of(Keeps::Results, &options);
        assert!(kept.how_to_go_on().contains("finished results are kept"));
        for (keeps, options) in [
            (Keeps::Results, &fresh),
            (Keeps::Results, &granted),
            (Keeps::Nothing, &options),
        ] {
            let kept = Kept::of(keeps, options);
            for text in [kept.how_to_go_on().to_owned(), kept.parting(None)] {
                assert!(!text.contains("are kept in the cache"), "{text}");
            }
        }
        let id = JobId::from_bytes([7; 16]);
        let parting = Kept::of(Keeps::Job, &fresh).parting(Some(id));
        assert!(
            parting.contains(&format!("sortie job cancel {id}")),
            "{parting}"
        );
    }
}
