//! Pipelines over a client in this process, of functions whose component nobody has: every call
//! fails, which needs no component.

use sortie::protocol::{Digest, FunctionRef, Parameter};
use sortie::{Client, Function, Kind, Signature};

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::binding::{Files, InFlight, Inputs, Names, Order, Places, Source};
use crate::settings::Troubles;
use crate::stop::Stop;

/// More inputs than are on their way at once before any ended.
const INPUTS: u64 = 20_000;

fn function(name: &str, takes: &str, returns: &str) -> Function<()> {
    let reference = FunctionRef {
        component: Digest::of(b"nobody has it"),
        name: name.into(),
    };
    let parameter = Parameter {
        name: "x".into(),
        kind: Kind::Value,
        type_name: takes.into(),
    };
    let signature = Signature {
        name: name.into(),
        doc: String::new(),
        parameters: vec![parameter],
        returns: returns.into(),
    };
    Function::new(reference, signature)
}

async fn start(reduce: Option<Function<()>>) -> (Pipeline, Arc<InFlight>) {
    let client = Client::embedded().unwrap();
    let places = Places {
        objects: client.objects().clone(),
        folder: PathBuf::from("/"),
        troubles: Troubles::default(),
        files: Files::Here,
        output: None,
        names: Names::default(),
    };
    let functions = Functions {
        first: function("f", "u64", "u64"),
        then: vec![function("g", "u64", "u64")],
        reduce: reduce.map(|function| (function, FanIn::default())),
    };
    let (plan, shape) = Plan::new(functions, &[], &places).await.unwrap();
    let inputs = Source::Named((0..INPUTS).map(|number| number.to_string()).collect());
    let (_raise, stop) = Stop::new();
    let inputs = Inputs::open(&inputs, shape, &stop).await.unwrap();
    let in_flight = Arc::new(InFlight::new(Order::Completion));
    (
        Pipeline::start(client, plan, inputs, in_flight.clone()),
        in_flight,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_taken_only_as_results_are_read() {
    let (mut pipeline, in_flight) = start(None).await;
    for read in 0..1000 {
        let Some(Step::Ended(entry)) = pipeline.next().await else {
            panic!("it ended after {read}")
        };
        assert_eq!(entry.function.as_deref(), Some("f"));
        assert_eq!(in_flight.end(entry.outcome.index), entry.outcome.index);
        let ahead = in_flight.taken() - read;
        // The window, which grows with what ended, and the input that is being taken.
        assert!(ahead <= 256 + read + 2, "{ahead} ahead of {read}");
    }
    assert!(!pipeline.progress().complete);
    pipeline.cancel();
    while let Some(step) = pipeline.next().await {
        assert!(matches!(step, Step::Ended(_)), "{step:?}");
    }
    assert!(pipeline.progress().cancelled && in_flight.taken() < INPUTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reduction_ends_with_its_first_failure_and_takes_no_further_inputs() {
    let (mut pipeline, in_flight) = start(Some(function("sum", "Vec<u64>", "u64"))).await;
    let Some(Step::Reduced(entry)) = pipeline.next().await else {
        panic!("it does not fail")
    };
    assert_eq!(entry.function.as_deref(), Some("f"));
    let input: u64 = entry.outcome.input.unwrap().as_str().parse().unwrap();
    assert!(input < 1000 && in_flight.taken() < 1000);
    assert!(pipeline.next().await.is_none());
}
