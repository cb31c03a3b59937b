//! Runs the whole life of a job that this client submits and follows, or only follows.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::{self, BoxStream};
use sortie_broker::{Broker, Error};
use sortie_protocol::gathering::{READING_INTERVAL, READING_TIME};
use sortie_protocol::submission::{End, Event, Manner, NoTask};
use sortie_protocol::{Job, JobKey, JobRecord, JobState, Reader, Reading, Task};
use tokio::runtime::Handle;

use super::clock::time_of_day;
use super::feed::Feed;
use super::shell::{Caller, Parts, Shell};
use super::sink::{Control, JobSink};
use super::window::Window;
use crate::error::SubmitError;
use crate::observer::Observed;

/// One task after the other, or why some input is none.
pub(crate) type Tasks = BoxStream<'static, Result<Task, NoTask>>;

/// Submit a job and follow it until its caller is done with it.
///
/// The job is forgotten only after the caller has read its end and dropped it: if the caller dies,
/// outcomes in flight are still at the broker. So are those of a job whose broker was unreachable
/// for its whole outage time.
pub(crate) async fn map(
    broker: Arc<dyn Broker>,
    runtime: Handle,
    (window, observed): (Window, Observed),
    job: Result<Job, SubmitError>,
    tasks: Tasks,
    mut sink: JobSink,
) {
    let job = match job {
        Ok(job) => job,
        Err(error) => return sink.state.set_trouble(error),
    };
    let key = job.key;
    match start(&broker, job, observed.clone()).await {
        Ok(feed) => {
            let end = run(
                &broker,
                key,
                &runtime,
                (&window, observed),
                tasks,
                feed,
                &mut sink,
            )
            .await;
            let is_whole = matches!(end, End::Complete(_) | End::Cancelled);
            set_end(&sink, end, &*broker);
            if sink.is_cut_off() {
                // Workers may go on, and a client that comes when the broker is back finds what
                // they did: nothing is cancelled or forgotten.
                return;
            }
            if !is_whole && *sink.control.borrow() != Control::Leave {
                // Should it fail, the broker forgets the job by itself in time.
                let _ = broker.cancel(key).await;
            }
        }
        Err(error) => sink.state.set_trouble(error.into()),
    }
    if sink.dropped().await {
        let _ = broker.forget(key).await;
    }
}

async fn start(broker: &Arc<dyn Broker>, job: Job, observed: Observed) -> Result<Feed, Error> {
    let key = job.key;
    broker.put_job(job, time_of_day()).await?;
    Feed::open(broker, key, observed).await
}

async fn run(
    broker: &Arc<dyn Broker>,
    key: JobKey,
    runtime: &Handle,
    (window, observed): (&Window, Observed),
    tasks: Tasks,
    feed: Feed,
    sink: &mut JobSink,
) -> End<Error> {
    let parts = Parts {
        inputs: tasks.size_hint().1.map(|inputs| inputs as u64),
        expires: broker.retention().map(|kept| time_of_day() + kept),
        feed: Some(feed),
        caller: Caller::Reader(sink),
        window: Some(window),
        observed,
        ..Parts::default()
    };
    let mut shell = Shell::new(Manner::Map, (&**broker, key), runtime, parts);
    tokio::select! {
        biased;
        end = shell.run(tasks) => end,
        () = window.keep(&**broker) => End::Gone,
    }
}

/// What a reader says that is there for a while.
pub(crate) fn reads(id: [u8; 16]) -> Reading {
    Reading::Reads(Reader {
        id,
        until: time_of_day() + READING_TIME,
    })
}

/// How soon a reader says that it reads if the broker had no room for that: until then others may
/// take the outcomes away.
const READING_AGAIN: Duration = Duration::from_secs(5);

/// Whether a reader has said that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has, as far as it may.
    Yes,
    /// The broker had no room for it.
    NoRoom,
}

/// Say again and again that a job's outcomes are read. Never returns. Cancel safe.
async fn keep_reading(broker: &dyn Broker, job: JobKey, (id, mut said): ([u8; 16], Said)) {
    loop {
        tokio::time::sleep(match said {
            Said::Yes => READING_INTERVAL,
            Said::NoRoom => READING_AGAIN,
        })
        .await;
        // Should that fail, it is said again soon.
        said = match broker.note(job, reads(id)).await {
            Err(Error::Full { .. }) => Said::NoRoom,
            Ok(_) | Err(_) => Said::Yes,
        };
    }
}

/// Follow a job that was submitted before, as a reader of this name.
pub(crate) async fn attach(
    broker: Arc<dyn Broker>,
    runtime: Handle,
    record: JobRecord,
    (id, said): ([u8; 16], Said),
    feed: Feed,
    mut sink: JobSink,
) {
    let key = record.job.key;
    let parts = Parts {
        expires: broker.retention().map(|kept| record.created + kept),
        feed: Some(feed),
        caller: Caller::Reader(&mut sink),
        ..Parts::default()
    };
    let mut shell = Shell::new(
        Manner::Attached,
        (&*broker, record.job.key),
        &runtime,
        parts,
    );
    if let JobState::Sealed { tasks } = record.state {
        shell.tell(Event::Sealed(tasks));
    }
    let end = tokio::select! {
        biased;
        end = shell.run(stream::empty()) => end,
        () = keep_reading(&*broker, key, (id, said)) => End::Gone,
    };
    drop(shell);
    set_end(&sink, end, &*broker);
    // That is the end for the caller.
    drop(sink);
    let now = time_of_day();
    // Should it fail, the reader counts for some minutes more.
    let _ = broker.note(key, Reading::Ends { id, now }).await;
}

/// What the caller can ask about the end.
fn set_end(sink: &JobSink, end: End<Error>, broker: &dyn Broker) {
    match end {
        End::Closed(Some(Error::NoSuchJob(job))) => {
            sink.state.set_trouble(SubmitError::Forgotten(job));
        }
        End::Closed(Some(error)) | End::Failed(error) => sink.state.set_trouble(error.into()),
        End::Lost(missing) => sink.state.set_trouble(SubmitError::Lost {
            missing,
            kept: broker.retention(),
        }),
        End::Incomplete(why) => sink.state.set_incomplete(why),
        End::Complete(_) | End::Cancelled | End::Closed(None) | End::Gone => {}
    }
}
