//! What `sortie map` has checked before anything runs, and the first step after that.

use std::sync::Arc;

use sortie::Function;
use sortie_frontend::binding::{InFlight, Order};
use sortie_frontend::results::{Naming, Reorder, Target, Writer};
use sortie_frontend::session::{Keeps, Session};
use tokio::task::JoinSet;

use crate::arguments::map::Map;
use crate::ending::Error;
use crate::follow::{OnSignal, Run};
use crate::session;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::{Progress, Results};
use crate::terminal::stdout;
use crate::terminal::summary::Summary;

/// What was checked before anything runs.
pub(super) struct Checked {
    pub(super) target: Target,
    pub(super) naming: Option<Naming>,
    /// The function that takes the inputs.
    pub(super) first: Function<()>,
    pub(super) summary: Summary,
}

impl Checked {
    /// Open the place of the results. From here on something happens.
    pub(super) async fn open(
        self,
        arguments: &Map,
        total: Option<u64>,
        session: &Session,
        interrupt: &Interrupt,
    ) -> Result<Run, Error> {
        let workers_told = session::say_if_nobody_works(&self.first, session, interrupt).await?;
        let places = &session.places;
        self.target.check(&places.troubles)?;
        if let Some(naming) = &self.naming {
            naming.check(interrupt.stop()).await?;
        }
        let (objects, folder) = (&places.objects, &places.folder);
        let opening = Writer::open(
            &self.target,
            stdout::lines,
            objects,
            folder,
            interrupt.stop(),
        );
        let output = opening.await?;
        let order = if arguments.ordered {
            Order::Inputs
        } else {
            Order::Completion
        };
        let results = if stdout::is_terminal(&output) {
            Results::OnTerminal
        } else {
            Results::Elsewhere
        };
        if output.whole_or_nothing().is_some() {
            interrupt.wait_for_upload();
        }
        Ok(Run {
            output,
            in_flight: Arc::new(InFlight::new(order)),
            reorder: arguments.ordered.then(Reorder::default),
            summary: self.summary,
            results,
            progress: Progress::start(arguments.progress, results, session.terminal),
            total,
            on_signal: OnSignal::Cancel,
            keeps: session.keeps,
            lacks_values: false,
            naming: self.naming,
            copies: JoinSet::new(),
            asks: (session.keeps == Keeps::Job).then(|| (session.client.clone(), workers_told)),
            workers: None,
        })
    }
}
