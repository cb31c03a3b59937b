//! The process of a run whose tasks take each other's results and make subtasks: a program that
//! submits a drawn graph and looks at every result.
//!
//! It is paused, cut off and killed. Its successor goes on with the tasks that were not submitted,
//! as another graph, and at the end looks at what became of those that were: workers have gone on
//! with them. Whatever ended has to have the value that a run in sequence gives; only a task that
//! its process had not sent when it was killed, and what takes the result of such a one, may have
//! none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sortie::{
    AttachError, Client, ConnectError, Function, Job, SubmitError, TaskError, TaskFuture,
};
use sortie_harness::patience;
use sortie_protocol::{Failure, JobId};
use tokio::time::{interval, timeout};

use crate::common::{config, until};
use crate::graph::{Call, Drawn};
use crate::history::{self, Log};
use crate::work;

/// The longest wait for an outcome of a task whose process was killed. Who goes on with its job
/// waits five minutes for tasks that the broker does not have.
const LEFT_TIME_MAX: Duration = Duration::from_secs(8 * 60);

/// What a grapher is told.
#[derive(Debug, Clone)]
pub struct Graphing {
    /// The servers, each behind a proxy.
    pub broker: String,
    /// The folder for its history, which is there.
    pub folder: PathBuf,
    /// How many tasks there are, those of its predecessors included.
    pub tasks: usize,
    /// What graphs are drawn from.
    pub seed: u64,
    /// Between two submissions.
    pub pace: Duration,
}

/// What a process did, written down as it did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Step {
    /// It submits a graph of so many tasks, drawn from this.
    Draws { tasks: usize, seed: u64 },
    /// The task at this place of the graph is the one at that index of a job; those after it follow
    /// one by one.
    Opens {
        job: JobId,
        place: usize,
        index: u64,
    },
    /// It is about to submit the tasks up to this place.
    Submits { before: usize },
    /// It, or its predecessor, has looked at so many tasks.
    Looked {
        right: usize,
        unsent: usize,
        wrong: Vec<String>,
    },
}

/// What all processes saw together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Tasks whose results were right.
    pub right: usize,
    /// Tasks that had not been sent when their process was killed, or took the result of such a
    /// one.
    pub unsent: usize,
    /// Processes that were killed.
    pub killed: usize,
    /// What was not as it has to be.
    pub wrong: Vec<String>,
}

/// What was seen by the processes that wrote to this folder.
///
/// # Errors
/// When what they wrote cannot be read.
pub fn seen(folder: &Path) -> Result<Seen> {
    let mut seen = Seen::default();
    for life in 0.. {
        let Some(steps) = steps(folder, life)? else {
            break;
        };
        seen.killed = life;
        for step in steps {
            if let Step::Looked {
                right,
                unsent,
                wrong,
            } = step
            {
                seen.right += right;
                seen.unsent += unsent;
                seen.wrong.extend(wrong);
            }
        }
    }
    Ok(seen)
}

fn file(folder: &Path, life: usize) -> PathBuf {
    folder.join(format!("grapher-{life}.steps"))
}

/// What the process of this number wrote; none if there was none.
fn steps(folder: &Path, life: usize) -> Result<Option<Vec<Step>>> {
    let path = file(folder, life);
    if !path.exists() {
        return Ok(None);
    }
    history::read(&path).map(Some)
}

/// Whether the last process has nothing left to submit, and only looks at what became of the tasks
/// of others. Killed again and again, it would come to no end.
pub(crate) fn only_looks(folder: &Path) -> Result<bool> {
    let mut last = Vec::new();
    for life in 0.. {
        match steps(folder, life)? {
            Some(steps) => last = steps,
            None => break,
        }
    }
    Ok(matches!(last.first(), Some(Step::Draws { tasks: 0, .. })))
}

/// Submit what is left of the tasks, wait for them, and look at those of the predecessors.
///
/// # Errors
/// When the broker refuses, or what was written cannot be read.
pub async fn graph(graphing: &Graphing) -> Result<()> {
    let mut before = Vec::new();
    while let Some(steps) = steps(&graphing.folder, before.len())? {
        before.push(steps);
    }
    let life = before.len();
    let submitted: usize = before.iter().map(|steps| submitted(steps)).sum();
    let mut log = Log::create(&file(&graphing.folder, life))?;
    let config = config(&graphing.broker);
    let client = until(
        || Client::fleet(config.clone()),
        |error| matches!(error, ConnectError::Broker(error) if error.is_transient()),
    )
    .await?;
    let functions = Functions::load(&client).await?;
    let (tasks, seed) = (
        graphing.tasks.saturating_sub(submitted),
        graphing.seed + life as u64,
    );
    log.write([Step::Draws { tasks, seed }])?;
    let drawn = Drawn::new(tasks, seed);
    let futures = submit(graphing, (&client, &functions), &drawn, &mut log).await?;
    let mut looked = Looked::default();
    for (place, future) in futures.into_iter().enumerate() {
        let ended = timeout(2 * patience(), future).await;
        let ended = ended.with_context(|| format!("task {place} of graph {life} did not end"))?;
        looked.at(
            &format!("task {place} of graph {life}"),
            &ended,
            drawn.results[place],
            Sent::All,
        );
    }
    log.write([looked.step()])?;
    for (life, steps) in before.iter().enumerate() {
        if steps.iter().any(|step| matches!(step, Step::Looked { .. })) {
            // It was killed when it had seen all of it.
            continue;
        }
        let looked = look_at_those_left(&client, life, steps).await?;
        log.write([looked.step()])?;
    }
    client.flush_jobs().await;
    Ok(())
}

fn submitted(steps: &[Step]) -> usize {
    let places = steps.iter().filter_map(|step| match step {
        Step::Submits { before } => Some(*before),
        _ => None,
    });
    places.max().unwrap_or(0)
}

struct Functions {
    add: Function<i64>,
    sum: Function<i64>,
    spreads: Function<i64>,
}

impl Functions {
    async fn load(client: &Client) -> Result<Self> {
        let component = until(
            || client.load(sortie_harness::component(work::COMPONENT)),
            |_| true,
        )
        .await?;
        let function = |name| -> Result<Function<i64>> {
            Ok(component.function(name)?.with_options(work::options()))
        };
        Ok(Self {
            add: function("add")?,
            sum: function("sum")?,
            spreads: function("spreads")?,
        })
    }
}

async fn submit(
    graphing: &Graphing,
    (client, functions): (&Client, &Functions),
    drawn: &Drawn,
    log: &mut Log<Step>,
) -> Result<Vec<TaskFuture<i64>>> {
    let mut futures: Vec<TaskFuture<i64>> = Vec::with_capacity(drawn.calls.len());
    let mut ticks = interval(graphing.pace.max(Duration::from_micros(1)));
    for (place, call) in drawn.calls.iter().enumerate() {
        ticks.tick().await;
        log.write([Step::Submits { before: place + 1 }])?;
        let submitting = async || match call {
            Call::Add(None, number) => client.submit(&functions.add, (0, number)).await,
            Call::Add(Some(input), number) => {
                client
                    .submit(&functions.add, (&futures[*input], number))
                    .await
            }
            Call::Sum(inputs) => {
                let inputs: Vec<_> = inputs.iter().map(|input| &futures[*input]).collect();
                client.submit(&functions.sum, (inputs,)).await
            }
            Call::Spreads(count) => client.submit(&functions.spreads, (count,)).await,
        };
        let future = until(submitting, SubmitError::is_transient).await?;
        if futures.last().is_none_or(|last| last.job() != future.job()) {
            log.write([Step::Opens {
                job: future.job(),
                place,
                index: future.index(),
            }])?;
        }
        futures.push(future);
    }
    Ok(futures)
}

/// Whether all tasks of a job were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// Its process was killed meanwhile.
    Some,
}

/// What was seen.
#[derive(Debug, Default)]
struct Looked {
    right: usize,
    unsent: usize,
    wrong: Vec<String>,
}

impl Looked {
    fn at(&mut self, what: &str, ended: &Result<i64, TaskError>, expected: i64, sent: Sent) {
        match ended {
            Ok(result) if *result == expected => self.right += 1,
            Err(TaskError::Failed(failure)) if sent == Sent::Some && is_unsent(failure) => {
                self.unsent += 1;
            }
            ended => self
                .wrong
                .push(format!("{what}: {ended:?} instead of {expected}")),
        }
    }

    fn step(self) -> Step {
        let Self {
            right,
            unsent,
            wrong,
        } = self;
        Step::Looked {
            right,
            unsent,
            wrong,
        }
    }
}

/// Whether a task failed because its process ended before the broker had it, or one whose result it
/// takes.
fn is_unsent(failure: &Failure) -> bool {
    match failure {
        Failure::Upstream { failure, .. } => is_unsent(failure),
        failure => failure
            .to_string()
            .contains("ended before the broker had the task"),
    }
}

/// Whether a client that cannot attach may ask again.
fn passes(error: &AttachError) -> bool {
    matches!(error, AttachError::Broker(error) if error.is_transient())
}

/// Look at the tasks of a process that was killed: workers have brought its jobs to their ends.
async fn look_at_those_left(client: &Client, life: usize, steps: &[Step]) -> Result<Looked> {
    let mut looked = Looked::default();
    let mut drawn = Drawn::default();
    for step in steps {
        match step {
            Step::Draws { tasks, seed } => drawn = Drawn::new(*tasks, *seed),
            Step::Opens { job, place, index } => {
                let mut attached: Job<i64> = until(|| client.attach(*job), passes).await?;
                let next = async |attached: &mut Job<i64>| {
                    let next = timeout(LEFT_TIME_MAX, attached.next()).await;
                    next.with_context(|| format!("job {job} of graph {life} does not end"))
                };
                while let Some(outcome) = next(&mut attached).await? {
                    let of = outcome.index.checked_sub(*index);
                    let of = of
                        .and_then(|of| usize::try_from(of).ok())
                        .map(|of| place + of);
                    let expected = of.and_then(|of| drawn.results.get(of));
                    let what = format!("task {of:?} of graph {life}, which was left");
                    match expected {
                        Some(expected) => looked.at(&what, &outcome.result, *expected, Sent::Some),
                        None => looked.wrong.push(what),
                    }
                }
                ensure!(
                    attached.trouble().is_none(),
                    "{job}: {:?}",
                    attached.trouble()
                );
                if attached.progress().total().is_none() {
                    looked
                        .wrong
                        .push(format!("job {job} of graph {life} is not complete"));
                }
            }
            Step::Submits { .. } | Step::Looked { .. } => {}
        }
    }
    Ok(looked)
}
