//! Drives an open job: publishes what its program releases, and hands out outcomes.
//!
//! The same driver serves the job's submitter and whoever takes the job over from it. Results are
//! put into the values that take them when a task is packed, [`FILLED_AT_ONCE`] tasks at a time.

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use sortie_broker::{Broker, Error};
use sortie_protocol::packing::WEIGHT_MAX;
use sortie_protocol::submission::{End, Event, Manner, NoTask};
use sortie_protocol::{Argument, BrokerRef, JobKey, Task, TaskIndex};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::clock::time_of_day;
use super::feed::Feed;
use super::futures::Futures;
use super::made::Released;
use super::program::{Driven, Program};
use super::shell::{Caller, Parts, Shell};
use super::slot::Gone;
use super::tasks::Over;
use super::term::{HeldTerm, Rank};
use super::tracker::Tracked;
use super::values::Values;
use super::window::Window;
use crate::observer::Observed;

/// How many tasks are filled with results at once: values that are fetched for that take as much
/// memory at most as so many tasks may have.
const FILLED_AT_ONCE: usize = 16;
/// How many tasks' values are dropped in one call.
const DROPPED_AT_ONCE: usize = 64;

/// What an open job is driven with.
pub(crate) struct Driver {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) runtime: Handle,
    pub(crate) window: Window,
    pub(crate) observed: Observed,
    pub(crate) feed: Feed,
    pub(crate) values: Values,
}

/// Ends the tasks of a program with its driver, however that ends.
pub(crate) struct Ends(pub(crate) Arc<Program>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end(Over::Gone(Gone {
            reason: "what followed it in this process was stopped".into(),
            stays: true,
        }));
    }
}

impl Driver {
    /// For the job's submitter: drive it until no more tasks come and all have ended, then have the
    /// broker forget it.
    pub(crate) async fn drive_to_end(self, driven: Driven, term: &mut HeldTerm, tracked: Tracked) {
        let (broker, program) = (self.broker.clone(), driven.program.clone());
        let over = match self.drive(driven, None, term).await {
            Stopped::Ended(End::Cancelled) => Over::Cancelled,
            Stopped::Ended(End::Closed(Some(Error::NoSuchJob(_)))) => Over::Gone(Gone {
                reason: "its job was forgotten by another client".into(),
                stays: false,
            }),
            Stopped::Ended(End::Closed(Some(error)) | End::Failed(error)) => Over::Gone(Gone {
                reason: error.to_string().into(),
                stays: error.is_transient(),
            }),
            // The first of these is the usual one: then no task is left.
            Stopped::Ended(
                End::Complete(_)
                | End::Closed(None)
                | End::Lost(_)
                | End::Incomplete(_)
                | End::Gone,
            )
            | Stopped::TakenOver => Over::Gone(Gone {
                reason: "its connection was closed".into(),
                stays: false,
            }),
        };
        let stays = matches!(&over, Over::Gone(gone) if gone.stays);
        program.end(over);
        let mut tracked = Some(tracked);
        if !stays && program.has_values_to_give() {
            // With the job the broker forgets its large values. Nobody who leaves waits for those
            // who hold futures: should this process end, the broker forgets the job in time.
            tracked.take();
            program.values_given().await;
        }
        // Should one of these fail, the broker forgets the job by itself in time.
        if program.is_published() && !stays {
            let _ = broker.drop_graph(term.job).await;
        } else if !stays {
            let _ = broker.forget(term.job).await;
        }
        drop(tracked);
    }

    /// Drive the job until no more tasks come and all have ended. `published` says which tasks
    /// somebody else published before, and how many there are.
    pub(crate) async fn drive(
        self,
        driven: Driven,
        published: Option<(Vec<TaskIndex>, TaskIndex)>,
        term: &mut HeldTerm,
    ) -> Stopped {
        let Self {
            broker,
            runtime,
            window,
            observed,
            feed,
            values,
        } = self;
        let Driven {
            program,
            released,
            stopped,
            let_go,
        } = driven;
        let keeps_term = broker.outlives_process();
        let mut futures = Futures::new(program.clone(), stopped);
        let parts = Parts {
            expires: broker.retention().map(|kept| time_of_day() + kept),
            feed: Some(feed),
            caller: Caller::Futures(&mut futures),
            window: Some(&window),
            observed,
            ..Parts::default()
        };
        let mut shell = Shell::new(Manner::Open, (&*broker, term.job), &runtime, parts);
        if let Some((tasks, total)) = published {
            shell.tell(Event::Adopted(tasks, total));
        }
        let (key, written) = (term.job, broker.clone());
        let keeping = async {
            if keeps_term {
                term.keep().await;
                if term.rank == Rank::Coordinator {
                    return;
                }
                // What was not known there goes on here.
                program.sealed_by_another();
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            end = shell.run(taken(released, values, program.clone())) => Stopped::Ended(end),
            () = keeping => Stopped::TakenOver,
            () = write_graph(&*written, key, &program) => Stopped::Ended(End::Gone),
            () = drop_values(&*written, key, let_go) => Stopped::Ended(End::Gone),
            () = window.keep(&*broker) => Stopped::Ended(End::Gone),
        }
    }
}

/// Why a job is not driven any further.
#[derive(Debug)]
pub(crate) enum Stopped {
    Ended(End<Error>),
    /// Another coordinator drives it.
    TakenOver,
}

/// Write the graph of a program to the broker, as it grows. Never returns. A broker that does not
/// take a part does not have it: should this process end, its tasks are lost. One that refuses is
/// not asked again.
async fn write_graph(broker: &dyn Broker, job: JobKey, program: &Program) {
    loop {
        let entries = program.unwritten().await;
        let tasks = entries.len();
        let Err(error) = broker.append_graph(job, entries).await else {
            continue;
        };
        tracing::warn!(
            %job,
            %error,
            tasks,
            "should this process end, tasks that wait in it are lost: they cannot be kept"
        );
        if let Error::Denied { .. } | Error::Unsuitable { .. } = error {
            return std::future::pending().await;
        }
    }
}

/// Have the broker drop large values that nothing needs any more. Never returns. What it does not
/// drop goes with the job.
async fn drop_values(
    broker: &dyn Broker,
    job: JobKey,
    mut let_go: mpsc::UnboundedReceiver<TaskIndex>,
) {
    let mut tasks = Vec::new();
    while let_go.recv_many(&mut tasks, DROPPED_AT_ONCE).await > 0 {
        if let Err(error) = broker.drop_values(job, std::mem::take(&mut tasks)).await {
            tracing::debug!(%job, %error, "large values stay at the broker until the job is over");
        }
    }
    std::future::pending().await
}

/// Tasks as they are taken from the queue, with results in their places; then they need no more
/// room in it. A task whose values are fetched holds up no other.
fn taken(
    released: mpsc::UnboundedReceiver<Released>,
    values: Values,
    program: Arc<Program>,
) -> impl Stream<Item = Result<Task, NoTask>> + Unpin {
    let released = stream::unfold(released, |mut released| async {
        Some((released.recv().await?, released))
    });
    let filling = released.map(move |(made, room)| {
        let (values, program) = (values.clone(), program.clone());
        async move {
            let mut filled = made.fill(&values, program.job).await;
            drop(room);
            if let Ok(task) = &mut filled {
                let room = WEIGHT_MAX.saturating_sub(task.weight());
                task.then = program.following(task.index, room.min(Task::THEN_BYTES_MAX));
            }
            if let Ok(task) = &filled
                && task
                    .arguments
                    .iter()
                    .any(|argument| is_kept_for(argument, task.index))
            {
                program.keeps_for(task.index);
            }
            filled
        }
    });
    filling.buffer_unordered(FILLED_AT_ONCE).boxed()
}

/// Whether the broker keeps an argument for this task alone.
fn is_kept_for(argument: &Argument, index: TaskIndex) -> bool {
    matches!(argument, Argument::AtBroker(BrokerRef { task, .. }) if *task == Some(index))
}
