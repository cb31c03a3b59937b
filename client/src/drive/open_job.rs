//! The job that a client keeps open for the tasks it submits one by one.
//!
//! Submitting a task takes a place among those that wait in this process, and no answer of the
//! broker is waited for. A task on the client's runtime drives the job: it packs what the
//! [`Program`] releases into bundles, follows all outcomes in one stream, and hands them to the
//! program. When the client is gone and every task has ended, it seals the job and has it
//! forgotten.
//!
//! Bounds: tasks that are not packed yet weigh at most [`WAITING_MAX`] together, each at least
//! [`UNIT`]; beyond that submitting waits. Results are put into the values that take them when a
//! task is packed, a few tasks at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sortie_broker::{Broker, Error};
use sortie_protocol::job::FUNCTIONS_MAX;
use sortie_protocol::{
    FunctionIndex, Job, JobFunction, JobKey, Part, Signature, TaskIndex, WorkerId,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Call;
use super::call_key::CallKey;
use super::clock::{Clock, time_of_day};
use super::driver::{Driver, Ends};
use super::feed::Feed;
use super::program::{Program, Writes};
use super::resolve::resolved;
use super::submitted::{Dependency, Submitted};
use super::term::HeldTerm;
use super::tracker::Tracked;
use super::values::Values;
use super::window::Window;
use crate::error::SubmitError;
use crate::observer::Observed;

/// The most bytes of arguments that wait in this process to be packed.
const WAITING_MAX: usize = 64 << 20;
/// The least that a waiting task counts for, in bytes.
const UNIT: usize = 1024;
/// How long a submission waits for room until that is logged, and again after as long.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// How long a job is kept open for further tasks: well within the time for which brokers keep
/// records of jobs and outcomes.
const AGE_MAX: Duration = Duration::from_secs(12 * 3600);

/// What is needed to open a job.
pub(crate) struct Opening {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) runtime: Handle,
    pub(crate) window: Window,
    pub(crate) observed: Observed,
    pub(crate) values: Values,
    /// Says to others that this process coordinates the job.
    pub(crate) holder: WorkerId,
    /// Counts the job as work of the client.
    pub(crate) tracked: Tracked,
}

/// An open job, for those who submit. When it is dropped, no more tasks come.
#[derive(Debug)]
pub(crate) struct OpenJob {
    pub(crate) key: JobKey,
    broker: Arc<dyn Broker>,
    clock: Clock,
    functions: Mutex<Functions>,
    room: Arc<Semaphore>,
    program: Arc<Program>,
    values: Values,
}

/// The job's table of functions.
#[derive(Debug, Default)]
struct Functions {
    places: HashMap<JobFunction, FunctionIndex>,
    /// How many the broker has for certain. It may have the next one as well: what it was asked to
    /// add keeps its place, whatever became of the answer.
    told: FunctionIndex,
}

impl Functions {
    fn place(&mut self, function: &JobFunction) -> Option<FunctionIndex> {
        if let Some(index) = self.places.get(function) {
            return Some(*index);
        }
        if self.places.len() >= FUNCTIONS_MAX {
            return None;
        }
        let index = FunctionIndex::try_from(self.places.len()).ok()?;
        self.places.insert(function.clone(), index);
        Some(index)
    }
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        self.program.close();
    }
}

/// The job that is open now, if there is one.
#[derive(Debug, Default)]
pub(crate) struct OpenJobs(tokio::sync::Mutex<Option<Arc<OpenJob>>>);

impl OpenJobs {
    /// A job that takes tasks of this function, and the function's place in it: the one that is
    /// open, or else a new one, of which `new` says what is needed.
    pub(crate) async fn of(
        &self,
        function: JobFunction,
        new: impl FnOnce() -> Result<(JobKey, Opening), SubmitError>,
    ) -> Result<(Arc<OpenJob>, FunctionIndex), SubmitError> {
        // Held while the broker is asked: functions are added, and jobs opened, one by one.
        let mut open = self.0.lock().await;
        if let Some(job) = open.as_ref().filter(|job| !job.is_over())
            && let Some(index) = job.function(&function).await?
        {
            return Ok((job.clone(), index));
        }
        let (key, opening) = new()?;
        let job = Arc::new(OpenJob::open(key, opening, function).await?);
        *open = Some(job.clone());
        Ok((job, 0))
    }

    /// Take no further tasks into the job that is open: it ends when all of its tasks have.
    pub(crate) async fn close(&self) {
        self.0.lock().await.take();
    }
}

impl OpenJob {
    /// Open a job whose first function is this, and drive it in the background.
    async fn open(key: JobKey, opening: Opening, function: JobFunction) -> Result<Self, Error> {
        let Opening {
            broker,
            runtime,
            window,
            observed,
            values,
            holder,
            tracked,
        } = opening;
        let job = Job {
            key,
            functions: vec![function.clone()],
            parent: None,
        };
        broker.put_job(job, time_of_day()).await?;
        let feed = Feed::open(&broker, key, observed.clone()).await?;
        let writes = match broker.outlives_process() {
            true => Writes::ToBroker,
            false => Writes::Nothing,
        };
        let driven = Program::start(key, tracked.tracker().clone(), writes);
        let program = driven.program.clone();
        let driver = Driver {
            broker: broker.clone(),
            runtime: runtime.clone(),
            window,
            observed,
            feed,
            values: values.clone(),
        };
        let mut term = HeldTerm::first(broker.clone(), key, holder);
        let ends = Ends(program.clone());
        runtime.spawn(async move {
            let _ends = ends;
            driver.drive_to_end(driven, &mut term, tracked).await;
        });
        Ok(Self {
            key,
            broker,
            clock: Clock::start(),
            functions: Mutex::new(Functions {
                places: [(function, 0)].into(),
                told: 1,
            }),
            room: Arc::new(Semaphore::new(WAITING_MAX / UNIT)),
            program,
            values,
        })
    }

    /// Whether further tasks need another job.
    pub(crate) fn is_over(&self) -> bool {
        self.program.is_over() || self.program.is_full() || self.clock.age() > AGE_MAX
    }

    /// The place of a function in the job's table; none if the table takes no more: it is full, or
    /// it is not known whether the broker has the last one. A function that is new there is told to
    /// the broker first.
    async fn function(&self, function: &JobFunction) -> Result<Option<FunctionIndex>, Error> {
        let index = {
            let mut functions = self.functions.lock();
            match functions.place(function) {
                Some(index) if index < functions.told => return Ok(Some(index)),
                Some(index) if index == functions.told => index,
                Some(_) | None => return Ok(None),
            }
        };
        let added = vec![function.clone()];
        match self.broker.add_functions(self.key, index, added).await {
            Ok(()) => {
                self.functions.lock().told = index + 1;
                Ok(Some(index))
            }
            // Somebody else ended the job, or its record is as large as it may be.
            Err(Error::TooLarge { .. } | Error::NoSuchJob(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Arguments as a task of this job takes them: results of the job's own tasks by their indices.
    /// The tasks are wanted until the others are dropped. Results of tasks in earlier jobs of the
    /// client are waited for. Cancel safe.
    pub(crate) async fn bind(
        &self,
        signature: &Signature,
        parts: Vec<Part<Dependency>>,
    ) -> Result<(Vec<Part<TaskIndex>>, Vec<Dependency>), SubmitError> {
        let mut is_ours = true;
        for task in parts.iter().flat_map(Part::tasks) {
            let program = &task.0.program;
            if !self.program.is_beside(program) {
                return Err(SubmitError::Foreign);
            }
            is_ours &= Arc::ptr_eq(&self.program, program);
        }
        if !is_ours {
            let resolved = resolved(signature, parts, &self.values, self.key.into()).await;
            let arguments = resolved.map_err(SubmitError::Upstream)?;
            return Ok((arguments.into_iter().map(Part::Ready).collect(), Vec::new()));
        }
        let mut tasks = Vec::new();
        let parts = parts.into_iter().map(|part| {
            part.map(|task| {
                let index = task.0.index;
                tasks.push(task);
                index
            })
        });
        Ok((parts.collect(), tasks))
    }

    /// The task that a call is already, if it is one.
    pub(crate) fn equal(&self, key: CallKey) -> Option<Submitted> {
        let (index, slot) = self.program.equal(key)?;
        Some(Submitted::new(index, slot, self.program.clone()))
    }

    /// Submit a task, unless the call is one already. Waits for room in this process. Cancel safe.
    pub(crate) async fn submit(
        &self,
        call: Call,
        key: Option<CallKey>,
    ) -> Result<Submitted, SubmitError> {
        let weight = call.parts.iter().map(Part::weight).sum();
        let room = self.room(weight).await?;
        let (index, slot) = self.program.submit(call, key, room);
        Ok(Submitted::new(index, slot, self.program.clone()))
    }

    async fn room(&self, weight: usize) -> Result<OwnedSemaphorePermit, SubmitError> {
        let units = u32::try_from(weight.clamp(UNIT, WAITING_MAX).div_ceil(UNIT)).unwrap_or(1);
        let mut waiting = std::pin::pin!(self.room.clone().acquire_many_owned(units));
        loop {
            match tokio::time::timeout(SAY_AFTER, waiting.as_mut()).await {
                Ok(room) => return room.map_err(|_| SubmitError::ShuttingDown),
                Err(_) => {
                    let reason = self.broker.full();
                    tracing::warn!(
                        job = %self.key,
                        reason = reason.as_deref().unwrap_or("the workers have enough to do"),
                        "submitting waits: the tasks that wait in this process are as many as may"
                    );
                }
            }
        }
    }
}
