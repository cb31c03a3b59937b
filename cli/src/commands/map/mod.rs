//! `sortie map`: one task for each input, results as JSON lines or as a table.
//!
//! Everything that can be checked is checked before the output is touched and the first task
//! starts. From then on only tasks in flight are held in memory: inputs are taken as results are
//! written.

mod checked;
mod job;
mod kept;
mod pipeline;

use std::path::Path;

use sortie::Signature;
use sortie_frontend::binding::{Inputs, Names, Origin, Places, Shape, Source};
use sortie_frontend::pipeline::{Functions, Plan};
use sortie_frontend::results::{Naming, Stems, Target, makes_object};
use sortie_frontend::session::{Keeps, Session};
use sortie_frontend::settings::Environment;

use self::checked::Checked;
use crate::arguments::map::Map;
use crate::ending::{Ending, Error};
use crate::follow::Outputs;
use crate::session;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
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
    session::settle(&session, interrupt, &ended).await;
    ended
}

async fn start(arguments: &Map, session: &Session, interrupt: &Interrupt) -> Result<Ending, Error> {
    if arguments.detach && session.keeps != Keeps::Job {
        return Err(Error::Usage(
            "--detach leaves the job to a fleet, but no broker is named; add --broker URL".into(),
        ));
    }
    let functions = functions(arguments, session, interrupt).await?;
    let outputs = Outputs::of(&arguments.output)?;
    let target = Target::parse(outputs.results.as_deref(), &session.places.folder)?;
    let names = if arguments.literal {
        Names::Literal
    } else {
        Names::Patterns
    };
    let places = session.places_beside(target.as_output(&session.places.folder), names);
    let (first, result) = (functions.first.clone(), functions.result().clone());
    let making: Vec<_> = functions
        .all()
        .filter(|function| makes_object(function.signature()))
        .cloned()
        .collect();
    let (plan, shape) = plan(functions, arguments, places, interrupt).await?;
    let reduces = plan.as_ref().is_some_and(Plan::reduces);
    // What is made of all inputs has the name of none.
    let stems = if reduces {
        Stems::Unnamed
    } else {
        shape.stems()
    };
    let naming = naming(outputs.pattern.as_deref(), &result, stems, session)?;
    let shape = shape.with_naming(naming.clone().filter(|_| !reduces));
    for function in &making {
        session::check_store(function, session, interrupt).await?;
    }
    let source = match &arguments.lines {
        Some(path) => Source::Lines(path.clone()),
        None => Source::Named(arguments.inputs.clone()),
    };
    let inputs = Inputs::open(&source, shape, interrupt.stop()).await?;
    if arguments.detach {
        return job::detach(&first, inputs, session, interrupt).await;
    }
    let summary = plan
        .as_ref()
        .map_or_else(Summary::default, pipeline::summary);
    let checked = Checked {
        target,
        naming,
        first,
        summary,
    };
    match plan {
        Some(plan) => pipeline::follow(arguments, checked, plan, inputs, session, interrupt).await,
        None => job::follow(arguments, checked, inputs, session, interrupt).await,
    }
}

/// The functions that the command names, with the options of their tasks.
async fn functions(
    arguments: &Map,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Functions, Error> {
    let chained = &arguments.pipeline;
    let beside = chained.then.iter().chain(&chained.reduce).map(|function| {
        let component = function.component.as_ref();
        let component = component.unwrap_or(&arguments.component);
        (component.as_path(), function.name.as_str())
    });
    let first = (arguments.component.as_path(), arguments.function.as_str());
    let named: Vec<_> = std::iter::once(first).chain(beside).collect();
    let options = arguments.task.job();
    let found = session.functions(&named, &options, interrupt.stop()).await;
    let mut found = found.map_err(said_but_the_last)?.into_iter();
    let first = found.next();
    let then = found.by_ref().take(chained.then.len()).collect();
    let reduce = found.next().zip(Some(chained.fan_in.unwrap_or_default()));
    match first {
        Some(first) => Ok(Functions {
            first,
            then,
            reduce,
        }),
        None => Err(Error::Platform("no function was loaded".into())),
    }
}

/// How the functions are called, if there are several, and what the inputs are.
async fn plan(
    functions: Functions,
    arguments: &Map,
    places: Places,
    interrupt: &Interrupt,
) -> Result<(Option<Plan>, Shape), Error> {
    let fixed = &arguments.fixed.named;
    if arguments.pipeline.is_empty() {
        let shape = Shape::new(functions.first.signature(), fixed, places);
        return Ok((None, interrupt.or(shape).await??));
    }
    let planned = interrupt.or(Plan::new(functions, fixed, &places)).await?;
    let (plan, shape) = planned.map_err(said_but_the_last)?;
    Ok((Some(plan), shape))
}

/// Say all errors but the last, which the command ends with.
fn said_but_the_last(mut errors: Vec<sortie_frontend::Error>) -> Error {
    let last = errors.pop();
    for error in errors {
        terminal::error(&Error::from(error).to_string());
    }
    last.map_or_else(|| Error::Platform("nothing fits".into()), Error::from)
}

/// What names the objects that tasks make, if a pattern is given.
fn naming(
    pattern: Option<&str>,
    result: &Signature,
    stems: Stems,
    session: &Session,
) -> Result<Option<Naming>, Error> {
    let Some(pattern) = pattern else {
        return Ok(None);
    };
    if !makes_object(result) {
        return Err(Error::Usage(format!(
            "--output: `{pattern}` names objects that tasks make, but `{result}` returns none; for \
             its results name a place without braces"
        )));
    }
    let places = &session.places;
    let naming = Naming::parse(
        pattern,
        stems,
        &places.objects,
        &places.folder,
        &places.troubles,
    )?;
    Ok(Some(naming))
}

/// Checks that need neither a client nor a component.
fn check_early(arguments: &Map) -> Result<(), Error> {
    if arguments.detach && !arguments.pipeline.is_empty() {
        return Err(Error::Usage(
            "--detach leaves a job to a fleet, but with several functions inputs are taken as \
             results come, by this process, which has to stay; leave --detach away, or map the \
             first function alone"
                .into(),
        ));
    }
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
