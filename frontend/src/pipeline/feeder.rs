//! Submits the tasks of one input after the other, and the calls of the tree that they complete.

use std::sync::Arc;

use futures::StreamExt as _;
use serde::Serialize;
use sortie::protocol::outcome::InputFault;
use sortie::{Arguments, Client, Failure, InputName, Rest, SubmitError, TaskFuture, Tree, value};

use super::plan::{Plan, Stage};
use super::way::Way;
use crate::binding::{InFlight, Tasks, name};
use crate::error::Error;

/// Takes inputs, and submits what is called for them.
pub(super) struct Feeder {
    client: Client,
    plan: Arc<Plan>,
    inputs: Tasks,
    in_flight: Arc<InFlight>,
    tree: Option<Tree<TaskFuture<()>>>,
    taken: u64,
}

/// What was submitted.
pub(super) enum Fed {
    /// The tasks of an input, and calls of the tree that wait for it.
    Input(Way, Vec<Call>),
    /// There are no further inputs: the last calls of the tree, and the result of the whole.
    End(Vec<Call>, Option<TaskFuture<()>>),
    /// Nothing more can be submitted, for this reason.
    Trouble(Error),
}

/// A call of the tree.
pub(super) struct Call {
    pub(super) task: TaskFuture<()>,
    /// How many results it takes.
    pub(super) results: usize,
}

/// Why a task was not submitted.
enum Refused {
    /// Because of its arguments.
    Task(Failure),
    /// No further one can be.
    All(Error),
}

impl From<SubmitError> for Refused {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Store(failure) | SubmitError::Upstream(failure) => Self::Task(failure),
            SubmitError::Call(wrong) => Self::Task(Failure::Input {
                fault: InputFault::Malformed,
                message: wrong.to_string(),
            }),
            SubmitError::Foreign
            | SubmitError::Broker(_)
            | SubmitError::Forgotten(_)
            | SubmitError::Lost { .. }
            | SubmitError::Ungranted(_)
            | SubmitError::ShuttingDown
            | SubmitError::Random(_) => Self::All(error.into()),
        }
    }
}

impl Feeder {
    pub(super) fn new(
        client: Client,
        plan: Arc<Plan>,
        inputs: Tasks,
        in_flight: Arc<InFlight>,
    ) -> Self {
        let tree = plan
            .reduce
            .as_ref()
            .map(|(_, fan_in)| Tree::new(fan_in.get()));
        Self {
            client,
            plan,
            inputs,
            in_flight,
            tree,
            taken: 0,
        }
    }

    /// Take the next input, and submit its tasks.
    pub(super) async fn feed(mut self) -> (Self, Fed) {
        let fed = match self.inputs.next().await {
            Some(arguments) => self.submit(arguments).await,
            // Inputs that end because one of them is wrong have no result together.
            None if self.in_flight.trouble().is_some() => Ok(Fed::End(Vec::new(), None)),
            None => self.finish().await,
        };
        (self, fed.unwrap_or_else(Fed::Trouble))
    }

    async fn submit(&mut self, arguments: Arguments) -> Result<Fed, Error> {
        let index = self.taken;
        self.taken += 1;
        let mut way = Way {
            index,
            input: name(&self.in_flight.shown(index)),
            tasks: Vec::with_capacity(self.plan.functions()),
            refused: None,
        };
        match chain(&self.client, &self.plan, arguments, &mut way).await {
            Ok(last) => {
                let calls = self.grow(last).await?;
                Ok(Fed::Input(way, calls))
            }
            Err(Refused::Task(failure)) => {
                way.refused = Some(failure);
                Ok(Fed::Input(way, Vec::new()))
            }
            Err(Refused::All(error)) => Err(error),
        }
    }

    /// Add a result to the tree, if there is one, and submit the calls that are complete with it.
    async fn grow(&mut self, leaf: TaskFuture<()>) -> Result<Vec<Call>, Error> {
        let mut calls = Vec::new();
        let plan = self.plan.clone();
        let (Some(tree), Some((stage, _))) = (&mut self.tree, &plan.reduce) else {
            return Ok(calls);
        };
        let (mut level, mut result) = (0, leaf);
        while let Some(group) = tree.push(level, result) {
            result = reduce(&self.client, stage, group.items, &mut calls).await?;
            level = group.level;
        }
        Ok(calls)
    }

    /// Submit the calls of the tree that are left.
    async fn finish(&mut self) -> Result<Fed, Error> {
        let mut calls = Vec::new();
        let plan = self.plan.clone();
        let (Some(tree), Some((stage, _))) = (&mut self.tree, &plan.reduce) else {
            return Ok(Fed::End(calls, None));
        };
        loop {
            match tree.rest() {
                None => return Ok(Fed::End(calls, None)),
                Some(Rest::Root(root)) => return Ok(Fed::End(calls, Some(root))),
                Some(Rest::Group(group)) => {
                    let result = reduce(&self.client, stage, group.items, &mut calls).await?;
                    tree.put(group.level, result);
                }
            }
        }
    }
}

/// Submit the tasks of an input. The last of them.
async fn chain(
    client: &Client,
    plan: &Plan,
    arguments: Arguments,
    way: &mut Way,
) -> Result<TaskFuture<()>, Refused> {
    let mut last = client.submit(&plan.first, arguments).await?;
    way.tasks.push(last.clone());
    for stage in &plan.then {
        last = call(client, stage, &last, way.input.clone()).await?;
        way.tasks.push(last.clone());
    }
    Ok(last)
}

/// Call a function with a result, or a list of them, for an input that results call so.
async fn call(
    client: &Client,
    stage: &Stage,
    results: impl Serialize,
    input: Option<InputName>,
) -> Result<TaskFuture<()>, SubmitError> {
    let arguments = stage.shape.with_result(value(results), input);
    client.submit(&stage.function, arguments).await
}

/// Submit a call of the tree.
async fn reduce(
    client: &Client,
    stage: &Stage,
    results: Vec<TaskFuture<()>>,
    calls: &mut Vec<Call>,
) -> Result<TaskFuture<()>, Error> {
    let task = call(client, stage, &results, None).await?;
    calls.push(Call {
        task: task.clone(),
        results: results.len(),
    });
    Ok(task)
}
