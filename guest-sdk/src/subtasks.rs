//! Subtasks: calls of this component's own functions, each a task of its own.
//!
//! A [`TaskGroup`] collects calls and hands them to the host when the function waits for one of
//! them, or when there are [`CALLS_MAX`] of them. They run on whatever worker is free, while the
//! function holds no core. Natively, in tests, they are called one after another, in this program.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(target_arch = "wasm32")]
use crate::bindings::sortie::task::tasks;
use crate::failure::Failure;
use crate::object::Object;
use crate::prefix::Prefix;
use crate::registry::Argument;
use crate::value;

/// Calls that are collected before the host is told; as many as it takes at once.
pub const CALLS_MAX: usize = 1000;

/// Bytes of arguments that are collected before the host is told; the contract allows four times as
/// much.
const CALLS_BYTES: usize = 1 << 20;

/// Why there is no result of a subtask, or why it is not made.
///
/// It converts into a [`Failure`] with the same code, so that `?` hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError {
    code: String,
    message: String,
}

impl TaskError {
    fn new(code: &str, message: impl fmt::Display) -> Self {
        Self {
            code: code.to_owned(),
            message: message.to_string(),
        }
    }

    /// The code, for programs: the function's own, what stopped it (`memory-limit`, `trapped`,
    /// `cancelled`), `bad-call` for a call that cannot be made, `too-many-tasks`, or `bad-result`
    /// for a result of another type.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for TaskError {}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self::new(error.code, error.message)
    }
}

/// An argument of a subtask: a value that serde can write, an [`Object`], a [`Prefix`], or
/// [`Objects`].
pub trait IntoArgument {
    /// The argument.
    fn into_argument(self) -> Result<Argument, TaskError>;
}

/// Objects as one argument, for a parameter of type `Vec<Object>`.
#[derive(Debug)]
pub struct Objects(pub Vec<Object>);

impl<T: Serialize> IntoArgument for T {
    fn into_argument(self) -> Result<Argument, TaskError> {
        let encoded = value::encode(&self);
        encoded
            .map(Argument::Value)
            .map_err(|error| TaskError::new("bad-call", error))
    }
}

impl IntoArgument for Object {
    fn into_argument(self) -> Result<Argument, TaskError> {
        Ok(Argument::Object(self))
    }
}

impl IntoArgument for &Object {
    fn into_argument(self) -> Result<Argument, TaskError> {
        Ok(Argument::Object(self.clone()))
    }
}

impl IntoArgument for Prefix {
    fn into_argument(self) -> Result<Argument, TaskError> {
        Ok(Argument::Prefix(self))
    }
}

impl IntoArgument for &Prefix {
    fn into_argument(self) -> Result<Argument, TaskError> {
        Ok(Argument::Prefix(self.clone()))
    }
}

impl IntoArgument for Objects {
    fn into_argument(self) -> Result<Argument, TaskError> {
        Ok(Argument::Objects(self.0))
    }
}

/// The arguments of a subtask: a tuple of up to eight [`IntoArgument`]s, in the order of the
/// function's parameters.
pub trait IntoArguments {
    /// The arguments.
    fn into_arguments(self) -> Result<Vec<Argument>, TaskError>;
}

macro_rules! tuples {
    ($($($name:ident)*;)+) => {
        $(
            impl<$($name: IntoArgument),*> IntoArguments for ($($name,)*) {
                fn into_arguments(self) -> Result<Vec<Argument>, TaskError> {
                    #[expect(non_snake_case, reason = "named as the types")]
                    let ($($name,)*) = self;
                    Ok(vec![$($name.into_argument()?),*])
                }
            }
        )+
    };
}

impl IntoArguments for () {
    fn into_arguments(self) -> Result<Vec<Argument>, TaskError> {
        Ok(Vec::new())
    }
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}

/// Subtasks that are waited for together. In the group each has a number: the first is 0.
///
/// ```
/// use sortie_guest::{Failure, TaskGroup};
///
/// /// How many of so many random points in a square lie in its circle.
/// #[sortie_guest::function]
/// fn hits(seed: u64, points: u64) -> u64 {
///     # let mut state = seed.wrapping_mul(2).wrapping_add(1);
///     # let mut random = move || {
///     #     state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
///     #     (state >> 40) as f64 / (1u64 << 24) as f64
///     # };
///     (0..points).filter(|_| random().powi(2) + random().powi(2) < 1.0).count() as u64
/// }
///
/// /// An estimate of pi.
/// #[sortie_guest::function]
/// fn pi(tasks: u64, points: u64) -> Result<f64, Failure> {
///     let mut group = TaskGroup::new();
///     for seed in 0..tasks {
///         group.spawn("hits", (seed, points))?;
///     }
///     let hits: u64 = group.join::<u64>()?.into_iter().sum();
///     Ok(4.0 * hits as f64 / (tasks * points) as f64)
/// }
///
/// assert!((pi(10, 10_000).unwrap() - 3.14).abs() < 0.1);
/// ```
///
/// A task makes at most 10,000 subtasks, which may make others, 16 levels deep. They have the
/// limits, grants and retry policy of the task. Those that did not end when it ends, or when their
/// group is dropped, are stopped.
///
/// While it waits the task may be ended, and run again from its beginning later. As it is
/// deterministic nobody can tell, but what it does before it waits is better short.
#[derive(Default)]
pub struct TaskGroup {
    host: Option<Host>,
    /// Calls that the host was not told of yet.
    calls: Vec<Call>,
    bytes: usize,
    made: usize,
}

struct Call {
    function: String,
    arguments: Vec<Argument>,
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl TaskGroup {
    /// A group with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many subtasks it has.
    pub fn len(&self) -> usize {
        self.made + self.calls.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Add a call of a function of this component, and give its number.
    ///
    /// # Errors
    /// `bad-call`, of this call or of one that was collected before it, if there is no such
    /// function, or if it takes other arguments; `too-many-tasks`.
    pub fn spawn(
        &mut self,
        function: &str,
        arguments: impl IntoArguments,
    ) -> Result<usize, TaskError> {
        let arguments = arguments.into_arguments()?;
        let bytes = arguments.iter().map(weight).sum::<usize>();
        if self.calls.len() >= CALLS_MAX || self.bytes + bytes > CALLS_BYTES {
            self.flush()?;
        }
        let number = self.len();
        self.bytes += bytes;
        self.calls.push(Call {
            function: function.to_owned(),
            arguments,
        });
        Ok(number)
    }

    /// Have the subtasks begin that were added so far, without waiting for any.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn flush(&mut self) -> Result<(), TaskError> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let calls = std::mem::take(&mut self.calls);
        self.bytes = 0;
        let count = calls.len();
        self.host.get_or_insert_with(Host::new).spawn(calls)?;
        self.made += count;
        Ok(())
    }

    /// Wait until all have ended.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn wait_all(&mut self) -> Result<(), TaskError> {
        self.flush()?;
        if let Some(host) = &mut self.host {
            host.wait_all();
        }
        Ok(())
    }

    /// Wait for the next one to end, and give its number: each once, in the order in which they
    /// end. Nothing, if there is none left.
    ///
    /// # Errors
    /// As [`Self::spawn`].
    pub fn next_ended(&mut self) -> Result<Option<usize>, TaskError> {
        self.flush()?;
        Ok(self.host.as_mut().and_then(Host::next))
    }

    /// Wait for one, and give its result.
    ///
    /// # Errors
    /// As [`Self::spawn`], and why the subtask has no result, or none of this type.
    pub fn result<T: DeserializeOwned>(&mut self, number: usize) -> Result<T, TaskError> {
        match self.answer(number)? {
            Answer::Value(encoded) => {
                value::decode(&encoded).map_err(|error| TaskError::new("bad-result", error))
            }
            Answer::Object(_) => Err(TaskError::new(
                "bad-result",
                "the subtask made an object; use `object`",
            )),
        }
    }

    /// Wait for one, and give the object that it made.
    ///
    /// # Errors
    /// As [`Self::result`].
    pub fn object(&mut self, number: usize) -> Result<Object, TaskError> {
        match self.answer(number)? {
            Answer::Object(object) => Ok(object),
            Answer::Value(_) => Err(TaskError::new(
                "bad-result",
                "the subtask returned a value; use `result`",
            )),
        }
    }

    fn answer(&mut self, number: usize) -> Result<Answer, TaskError> {
        self.flush()?;
        if number >= self.made {
            let message = format_args!("a group of {} subtasks has no number {number}", self.made);
            return Err(TaskError::new("bad-call", message));
        }
        match &mut self.host {
            Some(host) => host.result(number),
            None => Err(TaskError::new("bad-call", "nothing was made")),
        }
    }

    /// Wait for all, and give their results in the order of their numbers.
    ///
    /// # Errors
    /// As [`Self::result`], of the first one that failed.
    pub fn join<T: DeserializeOwned>(mut self) -> Result<Vec<T>, TaskError> {
        self.wait_all()?;
        (0..self.made).map(|number| self.result(number)).collect()
    }

    /// Wait for all, and give the objects that they made in the order of their numbers.
    ///
    /// # Errors
    /// As [`Self::object`], of the first one that failed.
    pub fn join_objects(mut self) -> Result<Vec<Object>, TaskError> {
        self.wait_all()?;
        (0..self.made).map(|number| self.object(number)).collect()
    }

    /// Stop those that did not end: they end with the code `cancelled`. Those that did not begin
    /// are not made.
    pub fn cancel(&mut self) {
        self.calls.clear();
        self.bytes = 0;
        if let Some(host) = &mut self.host {
            host.cancel();
        }
    }
}

/// The result of a subtask.
enum Answer {
    Value(Vec<u8>),
    Object(Object),
}

/// About how many bytes an argument takes.
fn weight(argument: &Argument) -> usize {
    const NAME_BYTES: usize = 256;
    match argument {
        Argument::Value(encoded) => encoded.len(),
        Argument::Object(_) | Argument::Prefix(_) => NAME_BYTES,
        Argument::Objects(objects) => objects.len() * NAME_BYTES,
    }
}

/// The host's group.
#[cfg(target_arch = "wasm32")]
struct Host(tasks::Group);

#[cfg(target_arch = "wasm32")]
impl Host {
    fn new() -> Self {
        Self(tasks::Group::new())
    }

    fn spawn(&mut self, calls: Vec<Call>) -> Result<(), TaskError> {
        let handed = calls.iter().map(|call| {
            let arguments = call.arguments.iter().map(handed);
            Ok(tasks::Call {
                function: call.function.clone(),
                arguments: arguments.collect::<Result<_, TaskError>>()?,
            })
        });
        let handed = handed.collect::<Result<Vec<_>, TaskError>>()?;
        match self.0.spawn(&handed) {
            Ok(_) => Ok(()),
            Err(tasks::SpawnError::Invalid(text)) => Err(TaskError::new("bad-call", text)),
            Err(tasks::SpawnError::TooMany(text)) => Err(TaskError::new("too-many-tasks", text)),
        }
    }

    fn wait_all(&mut self) {
        self.0.wait_all();
    }

    fn next(&mut self) -> Option<usize> {
        self.0.next().map(|number| number as usize)
    }

    fn result(&mut self, number: usize) -> Result<Answer, TaskError> {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match self.0.result(number) {
            Ok(tasks::Answer::Value(encoded)) => Ok(Answer::Value(encoded)),
            Ok(tasks::Answer::Object(handle)) => Ok(Answer::Object(Object::from_handle(handle))),
            Err(tasks::Failure { code, message }) => Err(TaskError { code, message }),
        }
    }

    fn cancel(&mut self) {
        self.0.cancel();
    }
}

/// An argument as the host takes it.
#[cfg(target_arch = "wasm32")]
fn handed(argument: &Argument) -> Result<tasks::Argument<'_>, TaskError> {
    let local = || {
        TaskError::new(
            "bad-call",
            "an object that is only in memory cannot be handed on",
        )
    };
    Ok(match argument {
        Argument::Value(encoded) => tasks::Argument::Value(encoded.clone()),
        Argument::Object(object) => tasks::Argument::Object(object.handle().ok_or_else(local)?),
        Argument::Prefix(prefix) => tasks::Argument::Prefix(prefix.handle().ok_or_else(local)?),
        Argument::Objects(objects) => {
            let handles = objects
                .iter()
                .map(|object| object.handle().ok_or_else(local));
            tasks::Argument::Objects(handles.collect::<Result<_, _>>()?)
        }
    })
}

/// Stands in for the host: subtasks are called when they are made.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Default)]
struct Host {
    ended: Vec<Result<crate::returned::Returned, Failure>>,
    told: usize,
}

#[cfg(not(target_arch = "wasm32"))]
impl Host {
    fn new() -> Self {
        Self::default()
    }

    fn spawn(&mut self, calls: Vec<Call>) -> Result<(), TaskError> {
        use crate::registry;
        for call in &calls {
            let known = registry::describe().unwrap_or_default();
            let signature = known.iter().find(|known| known.name == call.function);
            match signature {
                Some(signature) if signature.parameters.len() == call.arguments.len() => {}
                Some(signature) => {
                    let message = format_args!(
                        "`{}` takes {} arguments, but got {}",
                        call.function,
                        signature.parameters.len(),
                        call.arguments.len()
                    );
                    return Err(TaskError::new("bad-call", message));
                }
                None => {
                    let message =
                        format_args!("this component has no function `{}`", call.function);
                    return Err(TaskError::new("bad-call", message));
                }
            }
        }
        let answers = calls
            .into_iter()
            .map(|call| registry::call(&call.function, call.arguments));
        self.ended.extend(answers);
        Ok(())
    }

    fn wait_all(&mut self) {}

    fn next(&mut self) -> Option<usize> {
        let next = (self.told < self.ended.len()).then_some(self.told)?;
        self.told += 1;
        Some(next)
    }

    fn result(&mut self, number: usize) -> Result<Answer, TaskError> {
        use crate::returned::Returned;
        match self.ended.get(number) {
            Some(Ok(Returned::Value(encoded))) => Ok(Answer::Value(encoded.clone())),
            Some(Ok(Returned::Object(made))) => {
                Ok(Answer::Object(Object::from_bytes("output", made.bytes())))
            }
            Some(Err(failure)) => Err(TaskError::new(failure.code(), failure.message())),
            None => Err(TaskError::new("bad-call", "nothing was made")),
        }
    }

    fn cancel(&mut self) {}
}
