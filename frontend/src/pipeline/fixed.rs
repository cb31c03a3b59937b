//! Which function an argument belongs to that is the same for all inputs.
//!
//! `NAME` is a parameter of the first function, `FUNCTION.NAME` one of those that take results.

use sortie::Signature;

use crate::error::{Error, Setting};

/// Arguments by the names of their parameters.
type Named = Vec<(String, String)>;

/// Arguments that are the same for all inputs, by function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) first: Named,
    /// In the order of the functions.
    pub(super) others: Vec<Named>,
}

impl Fixed {
    /// Find the function of each argument, and say which have none.
    pub(super) fn split(
        given: &[(String, String)],
        first: &Signature,
        others: &[&Signature],
    ) -> (Self, Vec<Error>) {
        let mut fixed = Self {
            first: Vec::new(),
            others: vec![Vec::new(); others.len()],
        };
        let mut errors = Vec::new();
        for (name, text) in given {
            match name.split_once('.') {
                None => match elsewhere(name, first, others) {
                    Some(other) => errors.push(unknown(
                        name,
                        &format!(
                            "`{first}` has no parameter of this name; that of `{other}` is named \
                             `{other}.{name}`"
                        ),
                    )),
                    None => fixed.first.push((name.clone(), text.clone())),
                },
                Some((function, parameter)) => {
                    let named = (parameter.to_owned(), text.clone());
                    if !fixed.add(function, named, first, others) {
                        let names: Vec<_> = std::iter::once(first)
                            .chain(others.iter().copied())
                            .map(|signature| format!("`{}`", signature.name))
                            .collect();
                        errors.push(unknown(
                            name,
                            &format!(
                                "no function `{function}` is called; there are {}",
                                names.join(", ")
                            ),
                        ));
                    }
                }
            }
        }
        (fixed, errors)
    }

    /// Add an argument to each of the `others` of this name, or else to the first. Whether there
    /// is one.
    fn add(
        &mut self,
        function: &str,
        named: (String, String),
        first: &Signature,
        others: &[&Signature],
    ) -> bool {
        let mut is_called = false;
        for (signature, fixed) in others.iter().zip(&mut self.others) {
            if signature.name == function {
                fixed.push(named.clone());
                is_called = true;
            }
        }
        if !is_called && first.name == function {
            self.first.push(named);
            is_called = true;
        }
        is_called
    }
}

/// The name of another function that has a parameter which the first does not have.
fn elsewhere<'a>(name: &str, first: &Signature, others: &[&'a Signature]) -> Option<&'a str> {
    let has = |signature: &Signature| {
        let mut parameters = signature.parameters.iter();
        parameters.any(|parameter| parameter.name == name)
    };
    if has(first) {
        return None;
    }
    let other = others.iter().find(|signature| has(signature))?;
    Some(&other.name)
}

fn unknown(name: &str, message: &str) -> Error {
    Error::usage(message).about(Setting::Argument(name.into()))
}

#[cfg(test)]
mod tests {
    use sortie::Kind;
    use sortie::protocol::Parameter;

    use super::*;

    fn signature(name: &str, parameters: &[&str]) -> Signature {
        let parameter = |name: &&str| Parameter {
            name: (*name).into(),
            kind: Kind::Value,
            type_name: "u64".into(),
        };
        Signature {
            name: name.into(),
            doc: String::new(),
            parameters: parameters.iter().map(parameter).collect(),
            returns: "u64".into(),
        }
    }

    fn named(name: &str) -> (String, String) {
        (name.into(), "1".into())
    }

    #[test]
    fn an_argument_is_of_the_first_function_or_of_all_others_that_are_named() {
        let (first, again) = (signature("f", &["x", "n"]), signature("g", &["y", "n"]));
        let given = ["n", "g.n", "g.y"].map(named);
        let (fixed, errors) = Fixed::split(&given, &first, &[&again, &first, &again]);
        assert_eq!(errors, []);
        assert_eq!(fixed.first, [named("n")]);
        let of_g = vec![named("n"), named("y")];
        assert_eq!(fixed.others, [of_g.clone(), Vec::new(), of_g]);
        // Where the first is called again, the name with a function is that of the other call.
        let (fixed, _) = Fixed::split(&[named("f.n")], &first, &[&first]);
        assert_eq!(
            (fixed.first, fixed.others),
            (vec![], vec![vec![named("n")]])
        );
        let (fixed, _) = Fixed::split(&[named("f.n")], &first, &[&again]);
        assert_eq!(fixed.first, [named("n")]);
    }

    #[test]
    fn an_argument_of_no_function_is_refused_with_those_there_are() {
        let (first, other) = (signature("f", &["x"]), signature("g", &["y"]));
        let given = ["h.x", "y", "z"].map(named);
        let (fixed, errors) = Fixed::split(&given, &first, &[&other]);
        let said: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "no function `h` is called; there are `f`, `g`",
                "`f(x: u64) -> u64` has no parameter of this name; that of `g` is named `g.y`",
            ]
        );
        assert_eq!(errors[0].setting, Some(Setting::Argument("h.x".into())));
        // Whether the first has a parameter is for its shape to say.
        assert_eq!(fixed.first, [named("z")]);
    }
}
