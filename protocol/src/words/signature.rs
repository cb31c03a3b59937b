//! Function signatures of a component, and the check of a call against them.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::argument::Argument;
use crate::kind::Kind;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Parameter {
    /// Its name in the source.
    #[n(0)]
    pub name: String,
    /// How its argument travels.
    #[n(1)]
    pub kind: Kind,
    /// Its type as written, for people.
    #[n(2)]
    pub type_name: String,
}

/// One function of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Signature {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Its documentation, Markdown; may be empty.
    #[cbor(n(1), skip_if = "String::is_empty")]
    pub doc: String,
    /// Its parameters, in order.
    #[n(2)]
    pub parameters: Vec<Parameter>,
    /// The type of its result as written, for people.
    #[n(3)]
    pub returns: String,
}

/// A call does not fit the signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Too few or too many arguments.
    #[error(
        "`{signature}` takes {expected}, but got {got}",
        expected = arguments(*.expected),
        got = .got
    )]
    Arity {
        /// The function, as a person writes it.
        signature: String,
        /// How many it takes.
        expected: usize,
        /// How many were given.
        got: usize,
    },
    /// An argument of another kind.
    #[error(
        "parameter `{parameter}` of `{signature}` takes {expected}, but got {got}",
        expected = .expected.article(),
        got = .got.article()
    )]
    Kind {
        /// The function, as a person writes it.
        signature: String,
        /// The parameter.
        parameter: String,
        /// What it takes.
        expected: Kind,
        /// What was given.
        got: Kind,
    },
}

fn arguments(n: usize) -> String {
    match n {
        0 => "no arguments".into(),
        1 => "1 argument".into(),
        n => format!("{n} arguments"),
    }
}

impl Signature {
    /// Check the number and the kinds of `arguments`.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, arguments: &[Argument]) -> Result<(), Mismatch> {
        self.check_kinds(arguments.iter().map(|argument| Some(argument.kind())))
    }

    /// Check the number and the kinds of arguments; a kind that is not known yet fits.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check_kinds(
        &self,
        kinds: impl ExactSizeIterator<Item = Option<Kind>>,
    ) -> Result<(), Mismatch> {
        if kinds.len() != self.parameters.len() {
            return Err(Mismatch::Arity {
                signature: self.to_string(),
                expected: self.parameters.len(),
                got: kinds.len(),
            });
        }
        for (parameter, got) in self.parameters.iter().zip(kinds) {
            if let Some(got) = got
                && got != parameter.kind
            {
                let signature = self.to_string();
                return Err(Mismatch::Kind {
                    signature,
                    parameter: parameter.name.clone(),
                    expected: parameter.kind,
                    got,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, parameter) in self.parameters.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {}", parameter.name, parameter.type_name)?;
        }
        write!(f, ") -> {}", self.returns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn scan() -> Signature {
        let parameter = |name: &str, kind, type_name: &str| Parameter {
            name: name.into(),
            kind,
            type_name: type_name.into(),
        };
        Signature {
            name: "scan".into(),
            doc: String::new(),
            parameters: vec![
                parameter("tar", Kind::Object, "Object"),
                parameter("word", Kind::Value, "String"),
            ],
            returns: "Vec<Finding>".into(),
        }
    }

    #[test]
    fn a_wrong_call_is_told_what_the_function_takes() {
        let (object, value) = (
            Argument::Object("/a.tar".parse::<Address>().unwrap().into()),
            Argument::Value(vec![0xf6].into()),
        );
        assert_eq!(scan().check(&[object.clone(), value.clone()]), Ok(()));
        assert_eq!(
            scan()
                .check(std::slice::from_ref(&object))
                .unwrap_err()
                .to_string(),
            "`scan(tar: Object, word: String) -> Vec<Finding>` takes 2 arguments, but got 1"
        );
        assert_eq!(
            scan()
                .check(&[object.clone(), object])
                .unwrap_err()
                .to_string(),
            "parameter `word` of `scan(tar: Object, word: String) -> Vec<Finding>` takes an \
             ordinary value, but got an object"
        );
    }
}
