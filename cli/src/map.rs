//! `sortie map`: one task for each input, results as JSON lines.
//!
//! Everything that can be checked is checked before the output is touched and the first task starts. From then on nothing is held but what is
//! under way: inputs are taken as results are written.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sortie::objects::Location;
use sortie::{Job, Outcome};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};

use crate::arguments::Map;
use crate::clock;
use crate::ending::{Ending, Error};
use crate::environment::Environment;
use crate::in_flight::{InFlight, Order};
use crate::inputs::Inputs;
use crate::interrupt::Interrupt;
use crate::lines::Origin;
use crate::output::{Flow, Output};
use crate::progress::{Progress, Results};
use crate::record;
use crate::reorder::Reorder;
use crate::session::{Keeps, Session};
use crate::shape::Shape;
use crate::summary::Summary;
use crate::terminal;

/// How long cancelled tasks may take to say so. Guests end within a tick; the rest of the second is for writing what there is.
const CANCEL_TIME_MAX: Duration = Duration::from_millis(600);

/// Run the command.
pub(crate) async fn run(arguments: Map, environment: &Environment, interrupt: &Interrupt) -> Result<Ending, Error> {
    check_early(&arguments)?;
    let session = Session::start(&arguments.host, environment)?;
    let function = session.function(&arguments.component, &arguments.function, arguments.task.job(), interrupt).await?;
    let shape = interrupt.or(Shape::new(function.signature(), &arguments.fixed, session.places.clone())).await??;
    let inputs = Inputs::open(&arguments, shape, interrupt).await?;
    check_not_an_input(arguments.output.as_deref(), &inputs, &session)?;
    let output = Output::open(arguments.output.as_deref())?;
    let order = if arguments.ordered { Order::Inputs } else { Order::Completion };
    let in_flight = Arc::new(InFlight::new(order));
    let results = if output.is_terminal() { Results::OnTerminal } else { Results::Elsewhere };
    let (total, none) = (inputs.total(), inputs.none());
    let mut job = session.client.map_stream(&function, inputs.stream(in_flight.clone()));
    let mut run = Run {
        output,
        in_flight,
        reorder: arguments.ordered.then(Reorder::default),
        summary: Summary::default(),
        progress: Progress::start(arguments.progress, results),
        total,
    };
    let stopped = run.drive(&mut job, interrupt).await?;
    run.conclude(stopped, &job, &none, session.keeps)
}

/// What needs neither a client nor a component to be seen.
fn check_early(arguments: &Map) -> Result<(), Error> {
    match &arguments.lines {
        Some(path) => {
            let origin = Origin::of(path).map_err(Error::Usage)?;
            match (&origin, &arguments.output) {
                (Origin::File(from), Some(to)) if same_file(from, to) => Err(Error::Usage(both(from))),
                _ => Ok(()),
            }
        }
        None if arguments.inputs.is_empty() => {
            Err(Error::Usage("name at least one INPUT, or a file of them with --inputs; see `sortie map --help`".into()))
        }
        None => Ok(()),
    }
}

/// Opening the output empties it, which must not happen to an input.
fn check_not_an_input(output: Option<&Path>, inputs: &Inputs, session: &Session) -> Result<(), Error> {
    let Some(path) = output else { return Ok(()) };
    let Ok(Location::File(output)) = Location::parse(&path.to_string_lossy(), &session.places.folder) else { return Ok(()) };
    if inputs.include(&output) { Err(Error::Usage(both(path))) } else { Ok(()) }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn both(path: &Path) -> String {
    format!("`{}` is an input and the output; write the results to another file", path.display())
}

/// A job while its results are written.
struct Run {
    output: Output,
    in_flight: Arc<InFlight>,
    reorder: Option<Reorder>,
    summary: Summary,
    progress: Progress,
    /// How many tasks there will be, as far as is known.
    total: Option<u64>,
}

/// Why a job is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// There are no more results.
    AtEnd,
    /// A signal came.
    BySignal,
    /// Nobody reads the results any more.
    ByReader,
}

impl Run {
    /// Write results until there are no more.
    async fn drive(&mut self, job: &mut Job<()>, interrupt: &Interrupt) -> Result<Stopped, Error> {
        let mut ticks = interval(self.progress.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut cancelled: Option<Instant> = None;
        loop {
            if cancelled.is_none() && interrupt.is_raised() {
                cancelled = Some(clock::now());
                job.cancel();
            }
            let next = match job.next_outcome().now_or_never() {
                Some(Some(outcome)) => Next::Outcome(outcome),
                Some(None) => Next::End,
                None => {
                    if self.flush()? == Flow::Closed {
                        return Ok(Stopped::ByReader);
                    }
                    wait(job, interrupt, cancelled, &mut ticks).await
                }
            };
            match next {
                Next::Outcome(outcome) => self.take(outcome),
                Next::Tick => {}
                Next::End => break,
            }
            if self.output.is_full() && self.flush()? == Flow::Closed {
                return Ok(Stopped::ByReader);
            }
            self.show(job);
        }
        self.finish()?;
        Ok(if cancelled.is_some() { Stopped::BySignal } else { Stopped::AtEnd })
    }

    /// An outcome came.
    fn take(&mut self, outcome: Outcome) {
        let Some(mut reorder) = self.reorder.take() else { return self.write(&outcome) };
        reorder.push(outcome);
        while let Some(outcome) = reorder.pop() {
            self.write(&outcome);
        }
        self.in_flight.set_waiting_bytes(reorder.bytes());
        self.reorder = Some(reorder);
    }

    fn write(&mut self, outcome: &Outcome) {
        let shown = self.in_flight.end(outcome.index);
        let status = record::write(outcome, &shown, self.output.pending());
        self.summary.count(&status, &outcome.bill, &shown);
    }

    /// Nothing more will come: write what still waits, gaps or not.
    fn finish(&mut self) -> Result<(), Error> {
        if let Some(mut reorder) = self.reorder.take() {
            reorder.drain().for_each(|outcome| self.write(&outcome));
        }
        self.flush().map(|_| ())
    }

    fn flush(&mut self) -> Result<Flow, Error> {
        let Self { output, progress, .. } = self;
        if output.pending().is_empty() {
            return Ok(Flow::Open);
        }
        if output.is_terminal() { progress.aside(|| output.flush()) } else { output.flush() }
    }

    fn show(&mut self, job: &Job<()>) {
        let taken = job.progress();
        let total = if taken.complete { Some(taken.submitted) } else { self.total.map(|total| total.max(taken.submitted)) };
        self.progress.show(&self.summary, total);
    }

    /// Say what became of everything.
    fn conclude(&self, stopped: Stopped, job: &Job<()>, none: &str, keeps: Keeps) -> Result<Ending, Error> {
        self.progress.finish();
        if stopped == Stopped::ByReader {
            return Ok(self.ending());
        }
        let taken = self.in_flight.taken();
        if taken > 0 {
            let elapsed = clock::now().duration_since(self.progress.started());
            self.summary.lines(elapsed).iter().for_each(|line| terminal::say(line));
            if let Some(path) = self.output.path() {
                terminal::say(&format!("results: {}", path.display()));
            }
        }
        if stopped == Stopped::BySignal {
            terminal::say(how_to_go_on(keeps));
            return Ok(Ending::Interrupted);
        }
        if let Some(trouble) = self.in_flight.trouble() {
            return Err(Error::Usage(trouble));
        }
        if self.summary.ended() < taken || !job.progress().complete {
            let ended = self.summary.ended();
            return Err(Error::Platform(format!("the job broke off after {ended} of {taken} tasks; run the same command again")));
        }
        if taken == 0 { Err(Error::Usage(none.into())) } else { Ok(self.ending()) }
    }

    fn ending(&self) -> Ending {
        if self.summary.failed() == 0 { Ending::Completed } else { Ending::TasksFailed }
    }
}

fn how_to_go_on(keeps: Keeps) -> &'static str {
    match keeps {
        Keeps::Results => "interrupted; to go on, run the same command again: finished results are kept in the cache",
        Keeps::Nothing => "interrupted; to start over, run the same command again: without a cache no results are kept",
    }
}

/// What happens next.
enum Next {
    Outcome(Outcome),
    End,
    /// Time to look around.
    Tick,
}

/// Wait for the next thing. Cancel safe.
async fn wait(job: &mut Job<()>, interrupt: &Interrupt, cancelled: Option<Instant>, ticks: &mut Interval) -> Next {
    let too_late = async {
        match cancelled {
            Some(since) => sleep_until((since + CANCEL_TIME_MAX).into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = interrupt.raised(), if cancelled.is_none() => Next::Tick,
        outcome = job.next_outcome() => outcome.map_or(Next::End, Next::Outcome),
        () = too_late => Next::End,
        _ = ticks.tick() => Next::Tick,
    }
}
