//! Write Sortie functions in Rust.
//!
//! A function is an ordinary Rust function with an attribute. Its arguments and its result are
//! values (any type that serde can read or write) or [`Object`]s (files, S3 objects and the like,
//! which the host hands over opened); [`Prefix`]es are data sets of many objects, and an [`Output`]
//! is how a function makes an object itself. Each task runs in a sandbox of its own.
//!
//! ```
//! use sortie_guest::{Failure, Object};
//! use std::io::BufRead as _;
//!
//! /// How many words there are in a text.
//! #[sortie_guest::function]
//! fn count_words(text: Object, longer_than: usize) -> Result<u64, Failure> {
//!     let mut words = 0;
//!     for line in text.reader().lines() {
//!         let line = line?;
//!         let long = line.split_whitespace().filter(|word| word.len() > longer_than);
//!         words += long.count() as u64;
//!     }
//!     log::info!("{} has {words} words", text.name());
//!     Ok(words)
//! }
//!
//! // A function is still a function: tests call it without any sandbox.
//! let text = Object::from_bytes("poem.txt", b"tiger tiger\nburning bright".to_vec());
//! assert_eq!(count_words(text, 5).unwrap(), 2);
//! ```
//!
//! Build the crate as a `cdylib` for `wasm32-wasip2`, and every such function, in whatever module,
//! is part of the component. There is nothing else to write: the component's exports are made here.
//!
//! - **Failing.** Return [`Failure`] (any `Result` whose error converts into one) with a code that
//!   programs can match. A panic ends the instance and is reported as a trap, with what it printed.
//! - **Subtasks.** A [`TaskGroup`] calls functions of the same component as tasks of their own.
//! - **Logging.** `log` macros go to the task's log with their level and target, up to level info
//!   (see [`LOG_LEVEL_MAX`]); `println!` and `eprintln!` are captured too.
//! - **Deterministic.** Clock and randomness are virtual unless the task is granted the real ones,
//!   so the same arguments give the same result.
//! - **Bytes.** A `Vec<u8>` is a list of numbers to serde; use `serde_bytes::ByteBuf`, or an
//!   object, for large binary values.
//!
//! The crate compiles natively too, where [`testing`] stands in for the host. It opens nothing by
//! name inside a sandbox, starts no threads, and does nothing at start-up beyond linking the
//! registered functions into a list: a fresh instance is made for every task.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod failure;
pub mod object;
pub mod output;
pub mod prefix;
mod registry;
mod returned;
mod signature;
pub mod subtasks;
mod value;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
#[cfg(target_arch = "wasm32")]
mod exports;
mod logger;

pub mod testing;

pub use failure::{Failure, Retry};
pub use logger::LOG_LEVEL_MAX;
pub use object::Object;
pub use output::{Output, OutputObject};
pub use prefix::Prefix;
pub use signature::{Kind, Parameter, Signature};
/// Make a function part of the component.
///
/// The function stays as it is. Its name, its doc comment (Markdown, every line), the names
/// and types of its parameters and the type of its result become its description.
///
/// ```
/// use sortie_guest::{Failure, Object};
///
/// /// How many bytes of an object have this value.
/// #[sortie_guest::function]
/// pub fn count_bytes(object: Object, value: u8) -> Result<u64, Failure> {
///     Ok(object.read_all()?.iter().filter(|&&byte| byte == value).count() as u64)
/// }
/// ```
///
/// - A parameter whose type is called `Object` takes an object, `Vec<Object>` a list of them,
///   `Prefix` a prefix; any other type is a value and implements `serde::Deserialize`, owned.
/// - A type called `Result` is a `Result<T, E>` whose error converts into [`Failure`]; one
///   called `OutputObject` is an object; any other result is a value. Values implement
///   `serde::Serialize`.
/// - At most 8 parameters, each with a name; no generics, no `impl Trait`, no references, no
///   `self`, not `async`, `unsafe` or `extern`.
///
/// The crate must be known by its own name, `sortie_guest`, where the attribute is used.
pub use sortie_guest_macros::function;
pub use subtasks::{TaskError, TaskGroup};

/// What the macros expand to. Not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::registry::{Arguments, Function, Hidden};
    pub use crate::returned::Answer;
    pub use crate::signature::{Kind, Parameter, Signature};
    pub use crate::value::{answer, answer_object};
    pub use inventory::submit;
}

/// Leave out the functions of a crate that this one uses as a library.
///
/// A component offers every function that is linked into it, those of dependencies included. When a
/// crate with functions serves as a library and its functions are not meant to be offered again,
/// say so once, anywhere in the crate that becomes the component:
///
/// ```
/// # mod hidden { mod pdf_text {}
/// sortie_guest::without_functions_of!(pdf_text);
/// # }
/// ```
///
/// The name is the crate's own (as in its `Cargo.toml`, with underscores), even where a dependency
/// renames it.
#[macro_export]
macro_rules! without_functions_of {
    ($($name:ident),+ $(,)?) => {
        $(
            $crate::__private::submit! {
                $crate::__private::Hidden { name: ::core::stringify!($name) }
            }
        )+
    };
}
