//! Host functions that make subtasks and wait for them: `group` of `sortie:task/tasks`.
//!
//! What becomes of subtasks is decided in [`crate::subtasks`]. Here they have numbers: in the order
//! in which the task makes them, which is the same each time that it is run, and in their group.
//!
//! Bounds: [`subtask::FAN_OUT_MAX`] subtasks of a task; [`CALLS_MAX`] and [`CALLS_BYTES_MAX`] in a
//! call. The objects that they read are handles of the task, which has a bounded number of them.

use std::fmt;
use std::sync::Arc;

use sortie_protocol::{Argument, ObjectList, Task, TaskIndex, TooLong, subtask};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::handles::{Group, Handle, ObjectsCtx};
use crate::clock;
use crate::sandbox::bindings::tasks as wit;
use crate::sandbox::limits::{MemoryLimiter, Stop, Watch};
use crate::subtasks::{
    Answer, Family, MakesSubtasks, NoFamily, SpawnError, SubtaskCall, WAITING_MAX, Wanted,
};

/// The most calls that are made at once.
const CALLS_MAX: usize = 1000;
/// The most bytes of their arguments.
const CALLS_BYTES_MAX: usize = 4 << 20;
/// What a task is told that brings more.
const TOO_LARGE: &str = "the arguments up to here have more than 4 MiB; make more calls";
/// Groups that a task has at once.
const GROUPS_MAX: usize = 1000;

/// Whether a task makes subtasks, and where.
#[derive(Debug, Clone, Default)]
pub(crate) enum Makes {
    /// Its component does not, or only describes itself.
    #[default]
    Nothing,
    /// Here.
    Subtasks(Arc<dyn MakesSubtasks>),
}

/// What a task makes.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct TasksCtx {
    makes: Makes,
    /// Its subtasks, once it made some.
    family: Option<Arc<Family>>,
    /// How many it made so far.
    made: TaskIndex,
    groups: usize,
    /// Whether subtasks could not be made, or were not heard of.
    pub(in crate::sandbox) is_not_made: bool,
}

impl TasksCtx {
    pub(in crate::sandbox) fn new(makes: Makes) -> Self {
        Self {
            makes,
            ..Self::default()
        }
    }

    /// Whether it made any, or tried to.
    pub(in crate::sandbox) fn has_made(&self) -> bool {
        self.family.is_some()
    }
}

/// A task's subtasks, in the store that runs it.
pub(in crate::sandbox) struct TasksCtxView<'a> {
    pub(in crate::sandbox) tasks: &'a mut TasksCtx,
    pub(in crate::sandbox) objects: &'a mut ObjectsCtx,
    pub(in crate::sandbox) memory: &'a mut MemoryLimiter,
    pub(in crate::sandbox) watch: &'a Watch,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
}

/// Finds a task's subtasks in the data of its store.
pub(in crate::sandbox) trait TasksView: Send {
    fn tasks(&mut self) -> TasksCtxView<'_>;
}

/// Tells wasmtime that the host functions work on a [`TasksCtxView`].
struct HasTasks;

impl HasData for HasTasks {
    type Data<'a> = TasksCtxView<'a>;
}

pub(super) fn add_to_linker<T: TasksView + 'static>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    wit::add_to_linker::<T, HasTasks>(linker, T::tasks)
}

impl TasksCtxView<'_> {
    /// The error that ends a call which waits for what does not come.
    fn not_made(&mut self, why: NotMade) -> wasmtime::Error {
        self.tasks.is_not_made = true;
        wasmtime::Error::new(why)
    }

    /// The task's subtasks, or why there can be none.
    fn family(&mut self) -> wasmtime::Result<Result<Arc<Family>, NoFamily>> {
        if let Some(family) = &self.tasks.family {
            return Ok(Ok(family.clone()));
        }
        let Makes::Subtasks(makes) = &self.tasks.makes else {
            let text = "no subtasks are made where this runs";
            return Err(self.not_made(NotMade(text.into())));
        };
        let made = makes.family();
        self.tasks.family = made.as_ref().ok().cloned();
        Ok(made)
    }

    /// The subtasks that were made.
    fn made(&self) -> wasmtime::Result<Arc<Family>> {
        match &self.tasks.family {
            Some(family) => Ok(family.clone()),
            None => wasmtime::bail!("no subtasks were made"),
        }
    }

    /// An argument of a call.
    fn argument(&self, argument: wit::Argument) -> wasmtime::Result<Result<Argument, String>> {
        let named = |handle: &Resource<Handle>| -> wasmtime::Result<_> {
            Ok(self.table.get(handle)?.object.named().clone())
        };
        Ok(Ok(match argument {
            wit::Argument::Value(value) => Argument::Value(value.into()),
            wit::Argument::Object(handle) => Argument::Object(named(&handle)?),
            wit::Argument::Prefix(handle) => {
                Argument::Prefix(self.table.get(&handle)?.prefix.place().clone())
            }
            wit::Argument::Objects(handles) if handles.len() > ObjectList::LEN_MAX => {
                return Ok(Err(TooLong::Objects(handles.len()).to_string()));
            }
            wit::Argument::Objects(handles) => {
                let objects = handles.iter().map(named);
                let objects = objects.collect::<wasmtime::Result<Vec<_>>>()?;
                match ObjectList::try_from(objects) {
                    Ok(list) => Argument::Objects(list),
                    Err(too_long) => return Ok(Err(too_long.to_string())),
                }
            }
        }))
    }

    /// Wait for subtasks. The task's wall time stands still.
    async fn wait(&mut self, wanted: Wanted) -> wasmtime::Result<()> {
        // Nothing is waited for where nothing was made.
        let Some(family) = self.tasks.family.clone() else {
            return Ok(());
        };
        let began = clock::instant();
        let waited = self.watch.unless_cancelled(family.wait(wanted)).await;
        self.watch.stood_still(clock::instant() - began);
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_suspended)) => Err(wasmtime::Error::new(Stop::Suspended)),
            Err(stop) => Err(wasmtime::Error::new(stop)),
        }
    }

    /// Make the tasks of these calls, numbered from here on.
    fn tasks_of(
        &self,
        family: &Family,
        calls: Vec<wit::Call>,
    ) -> wasmtime::Result<Result<Vec<Task>, String>> {
        let mut tasks = Vec::with_capacity(calls.len());
        let mut bytes = 0_usize;
        for (number, call) in calls.into_iter().enumerate() {
            let wrong = |text: &str| Ok(Err(format!("call {number}: {text}")));
            let mut arguments = Vec::with_capacity(call.arguments.len());
            for argument in call.arguments {
                let argument = match self.argument(argument)? {
                    Ok(argument) => argument,
                    Err(text) => return wrong(&text),
                };
                // A name is many times its handle: looked at before there are more of them.
                bytes = bytes.saturating_add(argument.weight());
                if bytes > CALLS_BYTES_MAX {
                    return wrong(TOO_LARGE);
                }
                arguments.push(argument);
            }
            let call = SubtaskCall {
                function: call.function,
                arguments,
            };
            let task = match family.task(self.tasks.made + number as TaskIndex, call) {
                Ok(task) => task,
                Err(mismatch) => return wrong(&mismatch),
            };
            tasks.push(task);
        }
        Ok(Ok(tasks))
    }
}

impl wit::Host for TasksCtxView<'_> {}

impl wit::HostGroup for TasksCtxView<'_> {
    fn new(&mut self) -> wasmtime::Result<Resource<Group>> {
        wasmtime::ensure!(
            self.tasks.groups < GROUPS_MAX,
            "more than {GROUPS_MAX} groups of subtasks at once"
        );
        self.tasks.groups += 1;
        Ok(self.table.push(Group::default())?)
    }

    async fn spawn(
        &mut self,
        group: Resource<Group>,
        calls: Vec<wit::Call>,
    ) -> wasmtime::Result<Result<u32, wit::SpawnError>> {
        let invalid = |text: String| Ok(Err(wit::SpawnError::Invalid(text)));
        let too_many = |text: String| Ok(Err(wit::SpawnError::TooMany(text)));
        let count = calls.len();
        if count > CALLS_MAX {
            return invalid(format!(
                "{count} calls at once; at most {CALLS_MAX} are allowed"
            ));
        }
        if self.tasks.made + count as TaskIndex > subtask::FAN_OUT_MAX {
            return too_many(format!(
                "more than {} subtasks of one task",
                subtask::FAN_OUT_MAX
            ));
        }
        let family = match self.family()? {
            Ok(family) => family,
            Err(NoFamily::TooDeep) => {
                return too_many(format!(
                    "subtasks more than {} levels deep",
                    subtask::DEPTH_MAX
                ));
            }
            Err(NoFamily::Crowded) => return Err(self.not_made(crowded())),
        };
        let tasks = match self.tasks_of(&family, calls)? {
            Ok(tasks) => tasks,
            Err(text) => return invalid(text),
        };
        let first = self.tasks.made;
        match self.watch.bound_if_slow(family.spawn(tasks)).await {
            Ok(Ok(())) => {}
            Ok(Err(SpawnError::TooMany(text))) => {
                return too_many(text);
            }
            Ok(Err(SpawnError::Differs(text))) if family.is_settled() => wasmtime::bail!(text),
            // Another attempt makes subtasks of its own.
            Ok(Err(SpawnError::Differs(text))) => return Err(self.not_made(NotMade(text))),
            Ok(Err(SpawnError::Broker(text))) => {
                return Err(self.not_made(NotMade(text)));
            }
            Err(stop) => return Err(wasmtime::Error::new(stop)),
        }
        self.tasks.made += count as TaskIndex;
        let group = self.table.get_mut(&group)?;
        let number = u32::try_from(group.tasks.len()).unwrap_or(u32::MAX);
        group.tasks.extend(first..self.tasks.made);
        Arc::make_mut(&mut group.numbers).extend((first..self.tasks.made).zip(number..));
        Ok(Ok(number))
    }

    async fn wait_all(&mut self, group: Resource<Group>) -> wasmtime::Result<()> {
        let tasks = self.table.get(&group)?.tasks.clone();
        self.wait(Wanted::All(tasks)).await
    }

    async fn next(&mut self, group: Resource<Group>) -> wasmtime::Result<Option<u32>> {
        let of = self.table.get(&group)?;
        if of.given >= of.tasks.len() {
            return Ok(None);
        }
        let (numbers, after) = (of.numbers.clone(), of.told);
        let family = self.made()?;
        self.wait(Wanted::Next(numbers.clone(), after)).await?;
        let Some((number, told)) = family.next_of(&numbers, after) else {
            return Err(self.not_made(NotMade(family.broken())));
        };
        let of = self.table.get_mut(&group)?;
        of.told = told;
        of.given += 1;
        Ok(Some(number))
    }

    async fn result(
        &mut self,
        group: Resource<Group>,
        number: u32,
    ) -> wasmtime::Result<Result<wit::Answer, wit::Failure>> {
        let of = self.table.get(&group)?;
        let Some(task) = of.tasks.get(number as usize).copied() else {
            wasmtime::bail!(
                "a group of {} subtasks has no number {number}",
                of.tasks.len()
            );
        };
        self.wait(Wanted::All(vec![task])).await?;
        let family = self.made()?;
        if !family.has_ended(task) {
            return Err(self.not_made(NotMade(family.broken())));
        }
        let mut reserved = 0;
        let memory = &mut *self.memory;
        let room = |bytes: u64| {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let fits = memory.reserve(bytes);
            reserved = if fits { bytes } else { 0 };
            fits
        };
        let answered = self.watch.bound_if_slow(family.answer(task, room)).await;
        self.memory.give_back(reserved);
        match answered.map_err(wasmtime::Error::new)? {
            Ok(Answer::Value(value)) => Ok(Ok(wit::Answer::Value(value.into()))),
            Ok(Answer::Object(object)) => {
                self.objects.admit()?;
                Ok(Ok(wit::Answer::Object(
                    self.table.push(Handle::new(object))?,
                )))
            }
            Err(unanswered) => Ok(Err(wit::Failure {
                code: unanswered.code,
                message: unanswered.message,
            })),
        }
    }

    async fn cancel(&mut self, group: Resource<Group>) -> wasmtime::Result<()> {
        let tasks = self.table.get(&group)?.tasks.clone();
        let Some(family) = self.tasks.family.clone() else {
            return Ok(());
        };
        let cancelled = self.watch.bound_if_slow(family.cancel(tasks)).await;
        cancelled.map_err(wasmtime::Error::new)
    }

    fn drop(&mut self, group: Resource<Group>) -> wasmtime::Result<()> {
        let Group { tasks, .. } = self.table.delete(group)?;
        self.tasks.groups = self.tasks.groups.saturating_sub(1);
        if let Some(family) = &self.tasks.family {
            family.cancel_soon(tasks);
        }
        Ok(())
    }
}

/// Subtasks cannot be made here now, or are not heard of. The task is tried again.
#[derive(Debug)]
pub(in crate::sandbox) struct NotMade(String);

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "subtasks cannot be made, or are not heard of: {}",
            self.0
        )
    }
}

impl std::error::Error for NotMade {}

fn crowded() -> NotMade {
    NotMade(format!(
        "{WAITING_MAX} tasks of this worker wait for theirs already"
    ))
}
