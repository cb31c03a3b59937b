//! Whether a function can take what another returns, as far as their signatures say.
//!
//! What kind an argument is, an object or a value, is certain. Types are as their authors wrote
//! them: those that are known here are compared, and others fit until a call shows otherwise.

use std::fmt;

use sortie::protocol::Parameter;
use sortie::{Kind, Signature};

use crate::binding::Type;
use crate::results::makes_object;

/// How long a type is written at most that is compared, in bytes; a longer one fits. Comparing two
/// takes time in proportion to the product of their lengths, and components may say anything.
const COMPARED_BYTES_MAX: usize = 4096;

/// Who gives a function that reduces the rest of what it takes.
const OWN_RESULTS: &str = "it is given its own results as well, and";

/// A function that is given results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taking<'a> {
    pub(super) signature: &'a Signature,
    /// Its parameters that are not fixed.
    pub(super) open: &'a [Parameter],
}

/// What is wrong with giving `taking` what `giving` returns.
///
/// # Errors
/// The first thing, in one line.
pub(super) fn check_chain(giving: &Signature, taking: Taking<'_>) -> Result<(), String> {
    let what = format!("the result of `{}`", giving.name);
    let parameter = taking.only_parameter(&what)?;
    let takes = taking.shown(parameter);
    let returns = &giving.returns;
    match (parameter.kind, makes_object(giving)) {
        (Kind::Prefix, _) => Err(format!("{takes} takes a prefix, which no result is")),
        (Kind::Object, false) => Err(format!(
            "{takes} takes an object, but `{giving}` returns a value"
        )),
        (Kind::Value, true) => Err(format!(
            "{takes} takes an ordinary value, but `{giving}` returns an object"
        )),
        (Kind::Objects, made) => Err(format!(
            "{takes} takes a list of objects, but `{giving}` returns {}",
            if made { "one object" } else { "a value" }
        )),
        (Kind::Object, true) => Ok(()),
        (Kind::Value, false) if takes_some(parameter, returns) => Ok(()),
        (Kind::Value, false) => Err(format!(
            "{takes} takes `{}`, but `{giving}` returns `{returns}`",
            parameter.type_name
        )),
    }
}

/// What is wrong with reducing what `giving` returns by `taking`.
///
/// # Errors
/// All that is, one line each.
pub(super) fn check_reduce(giving: &Signature, taking: Taking<'_>) -> Result<(), Vec<String>> {
    let parameter = taking
        .only_parameter("the results")
        .map_err(|misfit| vec![misfit])?;
    let (takes, type_name) = (taking.shown(parameter), &parameter.type_name);
    if parameter.kind == Kind::Objects {
        return check_reduce_objects(giving, taking, &takes);
    }
    let list = compared(type_name);
    let item = match (parameter.kind, list.item_of_list()) {
        (Kind::Value, Some(item)) => item,
        (kind, _) => {
            let what = match kind {
                Kind::Value => format!("`{type_name}`"),
                Kind::Object | Kind::Prefix | Kind::Objects => kind.article().into(),
            };
            return Err(vec![format!(
                "{takes} takes {what}, but a function that reduces takes a list of results, such \
                 as `Vec<{}>`",
                giving.returns
            )]);
        }
    };
    let misfit = |given: &Signature, who: &str| {
        let returns = &given.returns;
        if makes_object(given) {
            return Some(format!(
                "{takes} takes a list of values, but {who} returns an object"
            ));
        }
        (!item.can_be(&compared(returns)))
            .then(|| format!("{takes} takes `{type_name}`, but {who} returns `{returns}`"))
    };
    all_fit([
        misfit(giving, &format!("`{giving}`")),
        misfit(taking.signature, OWN_RESULTS),
    ])
}

/// What is wrong with reducing what `giving` returns by `taking`, which takes a list of objects.
fn check_reduce_objects(
    giving: &Signature,
    taking: Taking<'_>,
    takes: &str,
) -> Result<(), Vec<String>> {
    let misfit = |given: &Signature, who: &str| {
        let returns = &given.returns;
        (!makes_object(given))
            .then(|| format!("{takes} takes a list of objects, but {who} returns `{returns}`"))
    };
    all_fit([
        misfit(giving, &format!("`{giving}`")),
        misfit(taking.signature, OWN_RESULTS),
    ])
}

fn all_fit(misfits: [Option<String>; 2]) -> Result<(), Vec<String>> {
    let misfits: Vec<_> = misfits.into_iter().flatten().collect();
    if misfits.is_empty() {
        Ok(())
    } else {
        Err(misfits)
    }
}

impl<'a> Taking<'a> {
    /// The parameter that takes `what`.
    fn only_parameter(&self, what: &str) -> Result<&'a Parameter, String> {
        let signature = self.signature;
        match self.open {
            [parameter] => Ok(parameter),
            [] if signature.parameters.is_empty() => {
                Err(format!("`{signature}` has no parameter for {what}"))
            }
            [] => Err(format!(
                "`{signature}` has no parameter left for {what}: all of them are fixed"
            )),
            open => Err(format!(
                "`{signature}` takes {what} as one argument, but {} of its parameters are open: \
                 fix all but one of {}",
                open.len(),
                Listed(&signature.name, open)
            )),
        }
    }

    fn shown(&self, parameter: &Parameter) -> String {
        format!("parameter `{}` of `{}`", parameter.name, self.signature)
    }
}

/// Whether some value of the type that is written so can be the argument.
fn takes_some(parameter: &Parameter, returns: &str) -> bool {
    compared(&parameter.type_name).can_be(&compared(returns))
}

/// The type that is written so, if it is not too long.
fn compared(written: &str) -> Type {
    if written.len() > COMPARED_BYTES_MAX {
        Type::Any
    } else {
        Type::of(written)
    }
}

/// Parameters of a function, as they are named where they are fixed.
struct Listed<'a>(&'a str, &'a [Parameter]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, parameter) in self.1.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}`{}.{}`", self.0, parameter.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f(a: i64, b: Object) -> String`.
    fn signature(written: &str) -> Signature {
        let (name, rest) = written.split_once('(').unwrap();
        let (parameters, returns) = rest.split_once(") -> ").unwrap();
        let parameter = |written: &str| {
            let (name, type_name) = written.split_once(": ").unwrap();
            let kind = match type_name {
                "Object" => Kind::Object,
                "Prefix" => Kind::Prefix,
                "Vec<Object>" => Kind::Objects,
                _ => Kind::Value,
            };
            Parameter {
                name: name.into(),
                kind,
                type_name: type_name.into(),
            }
        };
        Signature {
            name: name.into(),
            doc: String::new(),
            parameters: parameters.split_terminator("; ").map(parameter).collect(),
            returns: returns.into(),
        }
    }

    fn chain(giving: &str, taking: &str) -> Result<(), String> {
        let taking = signature(taking);
        let open = &taking.parameters;
        check_chain(
            &signature(giving),
            Taking {
                signature: &taking,
                open,
            },
        )
    }

    fn reduce(giving: &str, taking: &str) -> Result<(), Vec<String>> {
        let taking = signature(taking);
        let open = &taking.parameters;
        check_reduce(
            &signature(giving),
            Taking {
                signature: &taking,
                open,
            },
        )
    }

    #[test]
    fn a_result_goes_to_the_one_open_parameter_that_can_take_it() {
        for (giving, taking) in [
            ("f(x: Object) -> u64", "g(x: u32) -> String"),
            ("f(x: Object) -> Document", "g(x: Page) -> String"),
            ("f(x: Object) -> OutputObject", "g(x: Object) -> u64"),
            (
                "f(x: Object) -> sortie_guest::OutputObject",
                "g(x: Object) -> u64",
            ),
        ] {
            assert_eq!(chain(giving, taking), Ok(()), "{giving}: {taking}");
        }
        for (giving, taking, misfit) in [
            (
                "f() -> u64",
                "g() -> u64",
                "`g() -> u64` has no parameter for the result of `f`",
            ),
            (
                "f() -> u64",
                "g(a: u64; b: u64) -> u64",
                "`g(a: u64, b: u64) -> u64` takes the result of `f` as one argument, but 2 of its \
                 parameters are open: fix all but one of `g.a`, `g.b`",
            ),
            (
                "f() -> u64",
                "g(a: Prefix) -> u64",
                "parameter `a` of `g(a: Prefix) -> u64` takes a prefix, which no result is",
            ),
            (
                "f() -> OutputObject",
                "g(a: Vec<Object>) -> u64",
                "parameter `a` of `g(a: Vec<Object>) -> u64` takes a list of objects, but \
                 `f() -> OutputObject` returns one object",
            ),
            (
                "f() -> u64",
                "g(a: Object) -> u64",
                "parameter `a` of `g(a: Object) -> u64` takes an object, but `f() -> u64` returns \
                 a value",
            ),
            (
                "f() -> OutputObject",
                "g(a: u64) -> u64",
                "parameter `a` of `g(a: u64) -> u64` takes an ordinary value, but \
                 `f() -> OutputObject` returns an object",
            ),
            (
                "f() -> u64",
                "g(a: String) -> u64",
                "parameter `a` of `g(a: String) -> u64` takes `String`, but `f() -> u64` returns \
                 `u64`",
            ),
        ] {
            assert_eq!(chain(giving, taking), Err(misfit.into()));
        }
    }

    #[test]
    fn types_that_are_very_long_are_not_compared() {
        let numbers = "u8, ".repeat(2_000_000);
        let lists = "Vec<u8>, ".repeat(1_000_000);
        let (giving, taking) = (
            format!("f() -> Vec<({numbers})>"),
            format!("g(x: ({lists})) -> u8"),
        );
        assert_eq!(chain(&giving, &taking), Ok(()));
    }

    #[test]
    fn what_was_fixed_takes_no_result() {
        let taking = signature("g(a: u64; b: u64) -> u64");
        let left = |open| {
            let signature = &taking;
            check_chain(&signature_of_f(), Taking { signature, open })
        };
        assert_eq!(left(&taking.parameters[1..]), Ok(()));
        assert_eq!(
            left(&[]).unwrap_err(),
            "`g(a: u64, b: u64) -> u64` has no parameter left for the result of `f`: all of them \
             are fixed"
        );
    }

    fn signature_of_f() -> Signature {
        signature("f() -> u64")
    }

    #[test]
    fn a_function_that_reduces_takes_a_list_of_results_and_of_its_own() {
        for (giving, taking) in [
            ("f() -> i64", "sum(numbers: Vec<i64>) -> i64"),
            ("f() -> Counts", "merge(all: Vec<Counts>) -> Counts"),
            ("f() -> Counts", "merge(all: AllCounts) -> Counts"),
            (
                "f() -> HashMap<String, u64>",
                "merge(all: Vec<BTreeMap<String, u64>>) -> BTreeMap<String, u64>",
            ),
        ] {
            assert_eq!(reduce(giving, taking), Ok(()), "{giving}: {taking}");
        }
        let takes = "parameter `x` of `r(x: Vec<i64>) -> i64` takes `Vec<i64>`, but";
        for (giving, taking, misfits) in [
            (
                "f() -> i64",
                "r(x: i64) -> i64",
                vec![
                    "parameter `x` of `r(x: i64) -> i64` takes `i64`, but a function that reduces \
                     takes a list of results, such as `Vec<i64>`"
                        .into(),
                ],
            ),
            (
                "f() -> i64",
                "r(x: Object) -> i64",
                vec![
                    "parameter `x` of `r(x: Object) -> i64` takes an object, but a function that \
                     reduces takes a list of results, such as `Vec<i64>`"
                        .into(),
                ],
            ),
            (
                "f() -> String",
                "r(x: Vec<i64>) -> i64",
                vec![format!("{takes} `f() -> String` returns `String`")],
            ),
            (
                "f() -> OutputObject",
                "r(x: Vec<i64>) -> i64",
                vec![
                    "parameter `x` of `r(x: Vec<i64>) -> i64` takes a list of values, but \
                     `f() -> OutputObject` returns an object"
                        .into(),
                ],
            ),
            (
                "f() -> bool",
                "r(x: Vec<i64>) -> String",
                vec![
                    "parameter `x` of `r(x: Vec<i64>) -> String` takes `Vec<i64>`, but \
                     `f() -> bool` returns `bool`"
                        .into(),
                    "parameter `x` of `r(x: Vec<i64>) -> String` takes `Vec<i64>`, but it is given \
                     its own results as well, and returns `String`"
                        .into(),
                ],
            ),
        ] {
            assert_eq!(reduce(giving, taking), Err(misfits), "{giving}: {taking}");
        }
    }

    #[test]
    fn a_function_that_reduces_objects_makes_one() {
        let merge = "merge(all: Vec<Object>) -> OutputObject";
        assert_eq!(reduce("f() -> OutputObject", merge), Ok(()));
        let takes = "parameter `x` of `r(x: Vec<Object>) -> u64` takes a list of objects, but";
        let misfits = vec![
            format!("{takes} `f() -> u64` returns `u64`"),
            format!("{takes} it is given its own results as well, and returns `u64`"),
        ];
        assert_eq!(
            reduce("f() -> u64", "r(x: Vec<Object>) -> u64"),
            Err(misfits)
        );
    }
}
