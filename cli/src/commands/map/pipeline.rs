//! `sortie map` of several functions, each with the result of the one before.

use sortie_frontend::binding::Inputs;
use sortie_frontend::pipeline::{Pipeline, Plan};
use sortie_frontend::session::Session;

use super::checked::Checked;
use super::kept::{Kept, whole_or_nothing};
use crate::arguments::map::Map;
use crate::ending::{Ending, Error};
use crate::follow::{Run, Stopped};
use crate::session;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;
use crate::terminal::summary::{Counts, Reduction, Summary};

/// What is said where the process ends before it is known what became of its tasks at the broker.
const MAY_GO_ON: &str = "interrupted; what was submitted may go on at the broker: `sortie job \
                         list` shows it, `sortie job cancel` cancels it";

/// Counters of what a plan does.
pub(super) fn summary(plan: &Plan) -> Summary {
    Summary::of(if plan.reduces() {
        Counts::Reduced(Reduction::Pending)
    } else {
        Counts::Inputs
    })
}

/// Call the functions for each input, and write what comes of it.
pub(super) async fn follow(
    arguments: &Map,
    checked: Checked,
    plan: Plan,
    inputs: Inputs,
    session: &Session,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let options = checked.first.options().clone();
    let mut run = checked
        .open(arguments, inputs.total(), session, interrupt)
        .await?;
    let none = Error::from(inputs.none());
    let kept = Kept::of(session.keeps, &options);
    interrupt.set_parting(match (run.output.whole_or_nothing(), kept) {
        (_, Kept::AtBroker) => MAY_GO_ON.into(),
        (Some(place), _) => whole_or_nothing(place),
        (None, _) => kept.parting(None),
    });
    let in_flight = run.in_flight.clone();
    let mut pipeline = Pipeline::start(session.client.clone(), plan, inputs, in_flight);
    let stopped = run.drive(&mut pipeline, interrupt).await?;
    let ended = conclude(&run, stopped, &pipeline, none, kept);
    if let Some(why) = session::why_not_kept(&options)
        .filter(|_| stopped == Stopped::AtEnd && run.summary.ended() > 0)
    {
        terminal::say(&why);
    }
    ended
}

/// Report how the run ended.
fn conclude(
    run: &Run,
    stopped: Stopped,
    pipeline: &Pipeline,
    none: Error,
    kept: Kept,
) -> Result<Ending, Error> {
    if stopped == Stopped::ByReader {
        run.progress.finish();
        return Err(stdout::closed());
    }
    run.sum_up();
    if stopped == Stopped::BySignal {
        terminal::say(&how_to_go_on(kept, pipeline, run.has_ended(pipeline)));
        return Ok(Ending::Interrupted);
    }
    if let Some(trouble) = run.in_flight.trouble() {
        return Err(trouble.into());
    }
    if run.has_ended(pipeline) {
        return Ok(run.ending());
    }
    let progress = pipeline.progress();
    if progress.cancelled {
        return Err(Error::Platform(
            "the job was cancelled by another client; run the same command again".into(),
        ));
    }
    if progress.complete && run.in_flight.taken() == 0 {
        return Err(none);
    }
    let (taken, ended) = (run.in_flight.taken(), run.summary.ended());
    let why = pipeline
        .trouble()
        .map(|trouble| format!(": {}", trouble.message))
        .unwrap_or_default();
    Err(Error::Platform(format!(
        "the run ended early, after {ended} of {taken} inputs{why}; run the same command again"
    )))
}

fn how_to_go_on(kept: Kept, pipeline: &Pipeline, has_ended: bool) -> String {
    match (kept, pipeline.progress().cancelled) {
        (Kept::AtBroker, _) if has_ended => {
            "interrupted; all tasks had ended, but not all results were written. To start over, \
             run the same command again"
                .into()
        }
        (Kept::AtBroker, false) => format!(
            "{MAY_GO_ON}; the broker has not confirmed in time that the tasks are cancelled"
        ),
        (kept, _) => format!("interrupted; {}", kept.how_to_go_on()),
    }
}
