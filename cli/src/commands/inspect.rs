//! `sortie inspect`: prints a component's metadata and its functions.

use serde::Serialize;
use sortie::{Component, Signature};
use sortie_frontend::session::Session;
use sortie_frontend::settings::{Environment, HostSettings};

use crate::arguments::inspect::Inspect;
use crate::ending::{Ending, Error};
use crate::session::warn_if_nothing_is_kept;
use crate::terminal;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::stdout;

/// Run the command.
pub(crate) async fn run(
    arguments: &Inspect,
    environment: &Environment,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    warn_if_nothing_is_kept(arguments.cache.as_ref(), environment);
    let host = HostSettings {
        cache: arguments.cache.clone(),
        ..HostSettings::default()
    };
    let session = Session::start(&host, environment)?;
    let component = session
        .component(&arguments.component, interrupt.stop())
        .await?;
    let mut output = stdout::lines();
    let text = if arguments.json {
        json(&component)?
    } else {
        text(&component)
    };
    output.pending().extend_from_slice(text.as_bytes());
    stdout::flush(&mut output)?;
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
    // The text comes from the component, so it is not trusted.
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
