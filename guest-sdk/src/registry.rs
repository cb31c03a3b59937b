//! The functions of this component: collected by the linker, found by name, called with arguments
//! that are still encoded.
//!
//! `#[function]` leaves one static per function, and a constructor that the linker gathers chains
//! it into a list before the first call: a few instructions per function and instance, no
//! allocation, no table. A call walks that list; only a description sorts it. The list holds
//! whatever was linked, so functions of library crates are in it too, and are left out where
//! [`crate::without_functions_of!`] says so.
//!
//! Nothing here knows about the component model. The host has checked names, counts and kinds
//! before a call; they are checked again, because tests call functions too and because a wrong call
//! must be an answer and never a panic.

use std::fmt;
use std::vec;

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::object::Object;
use crate::prefix::Prefix;
use crate::returned::Answer;
use crate::signature::Signature;
use crate::value;

/// The code of a failure to take a call's arguments.
pub(crate) const BAD_ARGUMENT: &str = "bad-argument";

/// The code of a call to a function that is not there.
pub(crate) const UNKNOWN_FUNCTION: &str = "unknown-function";

/// A registered function.
pub struct Function {
    /// What is told about it.
    pub signature: Signature,
    /// `module_path!()` where it is defined.
    pub module: &'static str,
    /// The line where it is defined; orders a description.
    pub line: u32,
    /// Takes the arguments apart, calls the function, encodes the result.
    pub run: fn(Arguments) -> Answer,
}

inventory::collect!(Function);

/// A crate whose functions are not offered.
pub struct Hidden {
    /// Its name, with underscores.
    pub name: &'static str,
}

inventory::collect!(Hidden);

/// An argument as it arrives.
#[derive(Debug)]
pub enum Argument {
    /// One CBOR item.
    Value(Vec<u8>),
    /// An object.
    Object(Object),
    /// A prefix.
    Prefix(Prefix),
    /// Objects.
    Objects(Vec<Object>),
}

impl Argument {
    /// What it is, with an article.
    fn described(&self) -> &'static str {
        match self {
            Self::Value(_) => "a value",
            Self::Object(_) => "an object",
            Self::Prefix(_) => "a prefix",
            Self::Objects(_) => "a list of objects",
        }
    }
}

/// The arguments of one call, taken in the order of the parameters.
pub struct Arguments {
    left: vec::IntoIter<Argument>,
}

impl Arguments {
    pub(crate) fn new(arguments: Vec<Argument>) -> Self {
        Self {
            left: arguments.into_iter(),
        }
    }

    /// The next argument, which must be a value of type `T`; `parameter` names it in the failure.
    pub fn value<T: DeserializeOwned>(&mut self, parameter: &str) -> Result<T, Failure> {
        match self.left.next() {
            Some(Argument::Value(encoded)) => {
                value::decode(&encoded).map_err(|error| bad_argument(parameter, &error))
            }
            Some(other) => Err(bad_argument(
                parameter,
                &format_args!("expected a value, got {}", other.described()),
            )),
            None => Err(bad_argument(parameter, &"missing")),
        }
    }

    /// The next argument, which must be an object; `parameter` names it in the failure.
    pub fn object(&mut self, parameter: &str) -> Result<Object, Failure> {
        match self.left.next() {
            Some(Argument::Object(object)) => Ok(object),
            Some(other) => Err(bad_argument(
                parameter,
                &format_args!("expected an object, got {}", other.described()),
            )),
            None => Err(bad_argument(parameter, &"missing")),
        }
    }

    /// The next argument, which must be a prefix; `parameter` names it in the failure.
    pub fn prefix(&mut self, parameter: &str) -> Result<Prefix, Failure> {
        match self.left.next() {
            Some(Argument::Prefix(prefix)) => Ok(prefix),
            Some(other) => Err(bad_argument(
                parameter,
                &format_args!("expected a prefix, got {}", other.described()),
            )),
            None => Err(bad_argument(parameter, &"missing")),
        }
    }

    /// The next argument, which must be a list of objects; `parameter` names it in the failure.
    pub fn objects(&mut self, parameter: &str) -> Result<Vec<Object>, Failure> {
        match self.left.next() {
            Some(Argument::Objects(objects)) => Ok(objects),
            Some(other) => Err(bad_argument(
                parameter,
                &format_args!("expected a list of objects, got {}", other.described()),
            )),
            None => Err(bad_argument(parameter, &"missing")),
        }
    }

    /// Every argument has been taken.
    pub fn end(&self) -> Result<(), Failure> {
        match self.left.len() {
            0 => Ok(()),
            more => Err(Failure::new(
                BAD_ARGUMENT,
                format_args!("{more} more arguments than parameters"),
            )),
        }
    }
}

fn bad_argument(parameter: &str, what: &dyn fmt::Display) -> Failure {
    Failure::new(
        BAD_ARGUMENT,
        format_args!("parameter `{parameter}`: {what}"),
    )
}

/// Two functions share a name, so that neither can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicateName {
    name: &'static str,
    modules: [&'static str; 2],
}

impl fmt::Display for DuplicateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            modules: [first, second],
        } = self;
        write!(
            f,
            "two functions are named `{name}`, one in `{first}` and one in `{second}`: rename one \
             of them"
        )
    }
}

impl std::error::Error for DuplicateName {}

/// The functions offered, in the order of the source within a module.
pub(crate) fn describe() -> Result<Vec<&'static Signature>, DuplicateName> {
    let hidden: Vec<&str> = inventory::iter::<Hidden>
        .into_iter()
        .map(|hidden| hidden.name)
        .collect();
    sorted(inventory::iter::<Function>.into_iter(), &hidden)
}

/// Run the function of that name.
pub(crate) fn call(name: &str, arguments: Vec<Argument>) -> Answer {
    let offered = |function: &&Function| {
        inventory::iter::<Hidden>
            .into_iter()
            .all(|hidden| hidden.name != krate(function))
    };
    match inventory::iter::<Function>
        .into_iter()
        .filter(|function| function.signature.name == name)
        .find(offered)
    {
        Some(function) => (function.run)(Arguments::new(arguments)),
        None => Err(Failure::new(
            UNKNOWN_FUNCTION,
            format_args!("this component has no function `{name}`"),
        )),
    }
}

fn sorted<'a>(
    functions: impl Iterator<Item = &'a Function>,
    hidden: &[&str],
) -> Result<Vec<&'a Signature>, DuplicateName> {
    let mut functions: Vec<&Function> = functions
        .filter(|function| !hidden.contains(&krate(function)))
        .collect();
    functions.sort_by_key(|function| (function.module, function.line));
    for (index, function) in functions.iter().enumerate() {
        let earlier = functions
            .iter()
            .take(index)
            .find(|earlier| earlier.signature.name == function.signature.name);
        if let Some(earlier) = earlier {
            return Err(DuplicateName {
                name: function.signature.name,
                modules: [earlier.module, function.module],
            });
        }
    }
    Ok(functions
        .into_iter()
        .map(|function| &function.signature)
        .collect())
}

/// The crate that a function is defined in.
fn krate(function: &Function) -> &'static str {
    function
        .module
        .split("::")
        .next()
        .unwrap_or(function.module)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::returned::Returned;

    fn function(name: &'static str, module: &'static str, line: u32) -> Function {
        let signature = Signature {
            name,
            doc: "",
            parameters: &[],
            returns: "()",
        };
        Function {
            signature,
            module,
            line,
            run: |_| Ok(Returned::Value(Vec::new())),
        }
    }

    fn names(functions: &[Function], hidden: &[&str]) -> Vec<&'static str> {
        sorted(functions.iter(), hidden)
            .expect("names are unique")
            .into_iter()
            .map(|signature| signature.name)
            .collect()
    }

    #[test]
    fn functions_are_listed_in_the_order_of_the_source() {
        let functions = [
            function("c", "a::m", 1),
            function("b", "a", 9),
            function("a", "a", 10),
        ];
        assert_eq!(names(&functions, &[]), ["b", "a", "c"]);
    }

    #[test]
    fn functions_of_a_hidden_crate_are_left_out() {
        let functions = [
            function("scan", "scan", 1),
            function("extract", "pdf", 1),
            function("count", "pdf::m", 1),
        ];
        assert_eq!(names(&functions, &["pdf"]), ["scan"]);
    }

    #[test]
    fn a_crate_is_not_hidden_by_the_beginning_of_its_name() {
        assert_eq!(
            names(&[function("extract", "pdf_text", 1)], &["pdf"]),
            ["extract"]
        );
    }

    #[test]
    fn two_functions_of_one_name_are_refused() {
        let functions = [function("scan", "a::n", 1), function("scan", "a::m", 1)];
        let error = sorted(functions.iter(), &[]).expect_err("the name is taken");
        assert_eq!(
            error.to_string(),
            "two functions are named `scan`, one in `a::m` and one in `a::n`: rename one of them"
        );
    }

    #[test]
    fn a_hidden_function_does_not_take_a_name() {
        assert_eq!(
            names(
                &[function("scan", "a", 1), function("scan", "pdf", 1)],
                &["pdf"]
            ),
            ["scan"]
        );
    }
}
