//! The component's exports: the contract's types on one side, the registry on the other.
//!
//! Only translation happens here. A description that would be ambiguous ends the instance with a
//! message: a component like that is a mistake of its author, and must not be usable in part.

use std::time::Duration;

use crate::bindings::exports::sortie::task::handler;
use crate::failure::{Failure, Retry};
use crate::object::Object;
use crate::prefix::Prefix;
use crate::registry::{self, Argument};
use crate::returned::Returned;
use crate::signature::{Kind, Parameter, Signature};

/// What the component exports.
pub(crate) struct Exports;

impl handler::Guest for Exports {
    #[expect(
        clippy::panic,
        reason = "the host reads the message from the trap's output and refuses the component"
    )]
    fn describe() -> Vec<handler::Signature> {
        match registry::describe() {
            Ok(signatures) => signatures
                .into_iter()
                .map(handler::Signature::from)
                .collect(),
            Err(error) => panic!("{error}"),
        }
    }

    fn call(
        function: String,
        arguments: Vec<handler::Argument>,
    ) -> Result<handler::ResultValue, handler::Failure> {
        crate::logger::install();
        let arguments = arguments.into_iter().map(Argument::from).collect();
        registry::call(&function, arguments)
            .map(handler::ResultValue::from)
            .map_err(handler::Failure::from)
    }
}

impl From<&Signature> for handler::Signature {
    fn from(signature: &Signature) -> Self {
        Self {
            name: signature.name.to_owned(),
            doc: signature.doc.to_owned(),
            parameters: signature
                .parameters
                .iter()
                .map(handler::Parameter::from)
                .collect(),
            returns: signature.returns.to_owned(),
        }
    }
}

impl From<&Parameter> for handler::Parameter {
    fn from(parameter: &Parameter) -> Self {
        let kind = match parameter.kind {
            Kind::Value => handler::Kind::Value,
            Kind::Object => handler::Kind::Object,
            Kind::Prefix => handler::Kind::Prefix,
            Kind::Objects => handler::Kind::Objects,
        };
        Self {
            name: parameter.name.to_owned(),
            kind,
            type_name: parameter.type_name.to_owned(),
        }
    }
}

impl From<handler::Argument> for Argument {
    fn from(argument: handler::Argument) -> Self {
        match argument {
            handler::Argument::Value(encoded) => Self::Value(encoded),
            handler::Argument::Object(handle) => Self::Object(Object::from_handle(handle)),
            handler::Argument::Prefix(handle) => Self::Prefix(Prefix::from_handle(handle)),
            handler::Argument::Objects(handles) => {
                Self::Objects(handles.into_iter().map(Object::from_handle).collect())
            }
        }
    }
}

impl From<Returned> for handler::ResultValue {
    fn from(returned: Returned) -> Self {
        match returned {
            Returned::Value(encoded) => Self::Value(encoded),
            Returned::Object(object) => Self::Object(object.into_handle()),
        }
    }
}

impl From<Failure> for handler::Failure {
    fn from(failure: Failure) -> Self {
        let retry = match failure.retry() {
            Retry::Never => handler::Retry::Never,
            Retry::After(delay) => handler::Retry::After(milliseconds(delay)),
        };
        let (code, message) = failure.into_text();
        Self {
            code,
            message,
            retry,
        }
    }
}

fn milliseconds(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}
