//! Asks a component which functions it has, and checks the answer.
//!
//! The component's `describe` runs in an instance of its own, without arguments, objects or grants,
//! within [`limits`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sortie_protocol::{ByteSize, Grants, Kind, Limits, Parameter, Signature};

use super::bindings::handler;
use super::failure::is_shortage;
use super::imports::Makes;
use super::limits::{TaskCancel, Watch};
use super::link::Linked;
use super::run::{Call, new_store};
use crate::engine::Engine;
use crate::engine::compile::one_line;

/// The most functions a component may describe.
pub const FUNCTIONS_MAX: usize = 10_000;

/// Why a component did not describe itself, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct DescribeError {
    text: String,
    /// This machine has too little of something.
    pub(crate) is_shortage: bool,
}

/// The functions of a component.
///
/// # Errors
/// What is wrong with its description, in one line.
pub(crate) async fn describe(
    engine: &Engine,
    linked: &Linked,
) -> Result<Vec<Signature>, DescribeError> {
    let limits = limits();
    let grants = Grants::default();
    let watch = Arc::new(Watch::new(TaskCancel::default(), &limits));
    let call = Call {
        function: "",
        arguments: Vec::new(),
        limits: &limits,
        grants: &grants,
        seed: [0; 32],
        watch: watch.clone(),
        output_store: None,
        makes: Makes::Nothing,
    };
    let mut store = new_store(engine, &call);
    let asking = async {
        let task = linked.pre.instantiate_async(&mut store).await?;
        task.sortie_task_handler().call_describe(&mut store).await
    };
    let described = watch.metered(asking).await.map_err(|error| DescribeError {
        is_shortage: is_shortage(&error),
        text: one_line(&error),
    })?;
    let signatures: Vec<Signature> = described.into_iter().map(signature).collect();
    check(&signatures).map_err(|text| DescribeError {
        text,
        is_shortage: false,
    })?;
    Ok(signatures)
}

/// Enough for a large component to start and to describe [`FUNCTIONS_MAX`] functions; a component
/// that needs more is refused.
fn limits() -> Limits {
    Limits {
        wall_time: Duration::from_secs(10),
        cpu_time: Duration::from_secs(5),
        result: ByteSize::mib(4),
        ..Limits::default()
    }
}

fn check(signatures: &[Signature]) -> Result<(), String> {
    if signatures.len() > FUNCTIONS_MAX {
        return Err(format!(
            "it has {} functions; at most {FUNCTIONS_MAX} are allowed",
            signatures.len()
        ));
    }
    let mut names = BTreeSet::new();
    match signatures
        .iter()
        .find(|signature| !names.insert(&signature.name))
    {
        Some(twice) => Err(format!("it has two functions named `{}`", twice.name)),
        None => Ok(()),
    }
}

fn signature(described: handler::Signature) -> Signature {
    let parameter = |parameter: handler::Parameter| Parameter {
        name: parameter.name,
        kind: match parameter.kind {
            handler::Kind::Value => Kind::Value,
            handler::Kind::Object => Kind::Object,
            handler::Kind::Prefix => Kind::Prefix,
            handler::Kind::Objects => Kind::Objects,
        },
        type_name: parameter.type_name,
    };
    Signature {
        name: described.name,
        doc: described.doc,
        parameters: described.parameters.into_iter().map(parameter).collect(),
        returns: described.returns,
    }
}
