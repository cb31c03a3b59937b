//! Stand in for the host in a function's tests, natively.
//!
//! Most tests need none of this: they call the function. Use [`describe`] to see what a component
//! will say about itself, and [`call`] to take a call through the encoding of its arguments and its
//! result.
//!
//! ```
//! use sortie_guest::testing::{Argument, call};
//!
//! #[sortie_guest::function]
//! fn add(a: i64, b: i64) -> i64 {
//!     a + b
//! }
//!
//! let sum: i64 = call("add", [Argument::value(&2), Argument::value(&3)]).unwrap();
//! assert_eq!(sum, 5);
//! let failure = call::<i64>("add", [Argument::value(&2), Argument::value(&"three")]).unwrap_err();
//! assert_eq!(failure.code(), "bad-argument");
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::registry::{Argument, DuplicateName};

use crate::failure::Failure;
use crate::output::OutputObject;
use crate::returned::Returned;
use crate::signature::Signature;
use crate::{registry, value};

/// The code of a result that is another than was asked for.
const BAD_RESULT: &str = "bad-result";

impl Argument {
    /// A value, encoded.
    ///
    /// # Panics
    /// When the value cannot be encoded.
    #[expect(
        clippy::panic,
        reason = "only tests call this, and a panic is how a test fails"
    )]
    pub fn value<T: Serialize + ?Sized>(value: &T) -> Self {
        match value::answer(value) {
            Ok(Returned::Value(encoded)) => Self::Value(encoded),
            Ok(Returned::Object(_)) => panic!("an object is no value"),
            Err(failure) => panic!("{failure}"),
        }
    }
}

/// The functions linked into this program, as the component would describe them.
///
/// Fails when two functions have the same name, which a component would refuse to start with.
pub fn describe() -> Result<Vec<&'static Signature>, DuplicateName> {
    registry::describe()
}

/// Call a function by its name.
///
/// Failures are the function's own, or `bad-argument`, `unknown-function`, `bad-result`; the last
/// also when the result is no `T`.
pub fn call<T: DeserializeOwned>(
    function: &str,
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<T, Failure> {
    match registry::call(function, arguments.into_iter().collect())? {
        Returned::Value(encoded) => {
            value::decode(&encoded).map_err(|error| Failure::new(BAD_RESULT, error))
        }
        Returned::Object(_) => Err(Failure::new(
            BAD_RESULT,
            "the function returned an object; use `call_object`",
        )),
    }
}

/// Call a function that returns an object by its name.
///
/// Failures are those of [`call`].
pub fn call_object(
    function: &str,
    arguments: impl IntoIterator<Item = Argument>,
) -> Result<OutputObject, Failure> {
    match registry::call(function, arguments.into_iter().collect())? {
        Returned::Object(object) => Ok(object),
        Returned::Value(_) => Err(Failure::new(
            BAD_RESULT,
            "the function returned a value; use `call`",
        )),
    }
}
