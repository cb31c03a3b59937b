//! `sortie inspect`: what a component is, and which functions it has.

use serde::Serialize;
use sortie::{Component, Signature};

use crate::arguments::{HostOptions, Inspect};
use crate::ending::{Ending, Error};
use crate::environment::Environment;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::session::Session;
use crate::terminal;

/// Run the command.
pub(crate) async fn run(
    arguments: &Inspect,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let host = HostOptions {
        cache: arguments.cache.clone(),
        ..HostOptions::default()
    };
    let session = Session::start(&host, environment)?;
    let component = session.component(&arguments.component, interrupt).await?;
    let mut output = Output::open(None)?;
    let text = if arguments.json {
        json(&component)?
    } else {
        text(&component)
    };
    output.pending().extend_from_slice(text.as_bytes());
    // A reader that went away has seen what it wanted.
    output.flush()?;
    Ok(Ending::Completed)
}

#[derive(Serialize)]
struct Shown<'a> {
    digest: String,
    size: usize,
    imports: &'a [String],
    functions: Vec<ShownFunction<'a>>,
}

#[derive(Serialize)]
struct ShownFunction<'a> {
    name: &'a str,
    doc: &'a str,
    parameters: Vec<ShownParameter<'a>>,
    returns: &'a str,
}

#[derive(Serialize)]
struct ShownParameter<'a> {
    name: &'a str,
    kind: String,
    r#type: &'a str,
}

fn json(component: &Component) -> Result<String, Error> {
    let functions = component
        .signatures()
        .iter()
        .map(|signature| ShownFunction {
            name: &signature.name,
            doc: &signature.doc,
            parameters: signature
                .parameters
                .iter()
                .map(|parameter| ShownParameter {
                    name: &parameter.name,
                    kind: parameter.kind.to_string(),
                    r#type: &parameter.type_name,
                })
                .collect(),
            returns: &signature.returns,
        });
    let shown = Shown {
        digest: component.digest().to_string(),
        size: component.size(),
        imports: component.imports(),
        functions: functions.collect(),
    };
    let text = serde_json::to_string(&shown)
        .map_err(|error| Error::Platform(format!("failed to write JSON: {error}")))?;
    Ok(format!("{text}\n"))
}

fn text(component: &Component) -> String {
    let mut text = format!(
        "digest   {}\nsize     {} bytes\n",
        component.digest(),
        component.size()
    );
    for (i, import) in component.imports().iter().enumerate() {
        text.push_str(&format!(
            "{:<8} {import}\n",
            if i == 0 { "imports" } else { "" }
        ));
    }
    for signature in component.signatures() {
        text.push_str(&function(signature));
    }
    // A component says what it likes about itself.
    terminal::text(&text)
}

fn function(signature: &Signature) -> String {
    let mut text = format!("\n{}\n", terminal::line(&signature.to_string()));
    for line in signature.doc.trim().lines() {
        text.push_str(if line.trim().is_empty() { "\n" } else { "    " });
        text.push_str(line.trim());
        if !line.trim().is_empty() {
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_shown_with_its_documentation_below() {
        let signature = Signature {
            name: "count".into(),
            doc: "Count words.\n\nFails with `empty`.".into(),
            parameters: Vec::new(),
            returns: "u64".into(),
        };
        assert_eq!(
            function(&signature),
            "\ncount() -> u64\n    Count words.\n\n    Fails with `empty`.\n"
        );
    }
}
