//! Submits the tasks of one input after the other.

use std::sync::Arc;

use futures::StreamExt as _;
use sortie::{Arguments, Client, value};

use super::plan::Plan;
use super::refused::Refused;
use super::way::Way;
use crate::binding::{InFlight, Tasks, name};
use crate::error::Error;

/// Takes inputs, and submits what is called for them.
pub(super) struct Feeder {
    client: Client,
    plan: Arc<Plan>,
    inputs: Tasks,
    in_flight: Arc<InFlight>,
    taken: u64,
}

/// What was submitted.
pub(super) enum Fed {
    /// The tasks of an input.
    Input(Way),
    /// There are no further inputs.
    End(Inputs),
    /// Nothing more can be submitted, for this reason.
    Trouble(Error),
}

/// Why there are no further inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inputs {
    /// These are all.
    All,
    /// One of them is wrong.
    Broken,
}

impl Feeder {
    pub(super) fn new(
        client: Client,
        plan: Arc<Plan>,
        inputs: Tasks,
        in_flight: Arc<InFlight>,
    ) -> Self {
        Self {
            client,
            plan,
            inputs,
            in_flight,
            taken: 0,
        }
    }

    /// Take the next input, and submit its tasks.
    pub(super) async fn feed(mut self) -> (Self, Fed) {
        let fed = match self.inputs.next().await {
            Some(arguments) => self.submit(arguments).await,
            None if self.in_flight.trouble().is_some() => Fed::End(Inputs::Broken),
            None => Fed::End(Inputs::All),
        };
        (self, fed)
    }

    async fn submit(&mut self, arguments: Arguments) -> Fed {
        let index = self.taken;
        self.taken += 1;
        let mut way = Way {
            index,
            input: name(&self.in_flight.shown(index)),
            tasks: Vec::with_capacity(self.plan.functions()),
            refused: None,
        };
        match chain(&self.client, &self.plan, arguments, &mut way).await {
            Ok(()) => Fed::Input(way),
            Err(Refused::Task(failure)) => {
                way.refused = Some(failure);
                Fed::Input(way)
            }
            Err(Refused::All(error)) => Fed::Trouble(error),
        }
    }
}

/// Submit the tasks of an input, each with the future of the one before.
async fn chain(
    client: &Client,
    plan: &Plan,
    arguments: Arguments,
    way: &mut Way,
) -> Result<(), Refused> {
    let mut last = client.submit(&plan.first, arguments).await?;
    way.tasks.push(last.clone());
    for stage in &plan.then {
        let arguments = stage.shape.with_result(value(&last), way.input.clone());
        last = client.submit(&stage.function, arguments).await?;
        way.tasks.push(last.clone());
    }
    Ok(())
}
