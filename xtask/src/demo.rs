//! `demo`: from a fresh clone to the text of real PDFs, in one command.
//!
//! It builds two things, side by side: the program `sortie` and the component `pdf-text`. Tests,
//! measurements and their servers are not compiled. Then it shows the command that a person would
//! type, runs it, and reads the result file back. Some samples cannot give text, on purpose. The
//! demo succeeds when exactly those failed, each with the expected code.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::guests::Builds;
use crate::project::Project;
use crate::toolchain::Toolchain;
use crate::{guests, setup};

const FUNCTION_CRATE: &str = "examples/pdf-text";
const COMPONENT: &str = "target/components/pdf-text.wasm";
const SAMPLES: &str = "examples/pdf-text/samples";
const RESULTS: &str = "target/demo/results.jsonl";

/// What is built of the root workspace. The second package has no code. It makes cargo enable the
/// same features as a build of the whole workspace does, so that a later `cargo xtask test` reuses
/// what the demo compiled.
pub(crate) const PACKAGES: [&str; 2] = ["sortie-cli", "sortie-features"];

/// Samples that must fail, and the code they must fail with.
const FAILURES: [(&str, &str); 3] = [
    ("damaged.pdf", "damaged"),
    ("encrypted.pdf", "encrypted"),
    ("scanned.pdf", "scanned"),
];

/// Characters of text to show for a file: what fits beside its name on a wide line.
const TEXT_CHARS_SHOWN: usize = 100;

/// How one sample ended.
struct Ending {
    file: String,
    outcome: Outcome,
}

enum Outcome {
    Completed { pages: u64, text: String },
    Failed { code: String, message: String },
}

/// Builds, runs and judges the demo.
pub(crate) fn run(project: &Project) -> Result<()> {
    let toolchain = setup::run(project, None)?;
    build(project, toolchain)?;
    let sortie = project.binary("debug", "sortie")?;
    let sortie = project.shown(&sortie).to_string_lossy().into_owned();
    map(project, &sortie)?;
    let endings = read(&project.root().join(RESULTS))?;
    for ending in &endings {
        println!("{}", ending.shown());
    }
    judge(&endings, &samples(project)?)?;
    println!(
        "\n{} files gave text; {} could not, as expected. All results: {RESULTS}",
        endings.len() - FAILURES.len(),
        FAILURES.len()
    );
    println!("\nNext, try:");
    println!("  {sortie} inspect {COMPONENT}");
    println!("  {sortie} map {COMPONENT} extract 'YOUR-FOLDER/*.pdf' -o results.jsonl");
    println!("  {sortie} new my-function");
    Ok(())
}

/// Builds the program and the component at the same time: each has phases that use one core only.
/// Cargo shows the progress of the program; about the component it prints errors only.
fn build(project: &Project, toolchain: Toolchain) -> Result<()> {
    println!("building `sortie` and {COMPONENT}: this takes some minutes the first time");
    let folder = project.root().join(FUNCTION_CRATE);
    thread::scope(|scope| {
        let component = thread::Builder::new()
            .name("component".to_owned())
            .spawn_scoped(scope, || {
                guests::build(project, toolchain, &folder, Builds::BesideAnother)
            })
            .context("failed to start a thread")?;
        let selection = PACKAGES.iter().flat_map(|name| ["--package", name]);
        let program = project.cargo().arg("build").args(selection).run();
        let component = component
            .join()
            .map_err(|_| anyhow!("the build of the component panicked"))?;
        program.and(component)
    })
}

fn map(project: &Project, sortie: &str) -> Result<()> {
    let results = project.root().join(RESULTS);
    results
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .context("failed to make the folder of the demo's results")?;
    let cmd = project.cmd(&project.root().join(sortie).to_string_lossy());
    let cmd = cmd.args([
        "map",
        COMPONENT,
        "extract",
        &format!("{SAMPLES}/*.pdf"),
        "-o",
        RESULTS,
    ]);
    println!("\n$ {}", cmd.shown());
    let status = cmd.status()?;
    println!();
    // 1 says that some tasks failed, and some must.
    if !matches!(status.code(), Some(0 | 1)) {
        bail!("the demo's command failed with {status}");
    }
    Ok(())
}

fn samples(project: &Project) -> Result<Vec<String>> {
    let entries = fs::read_dir(project.root().join(SAMPLES))
        .with_context(|| format!("failed to list `{SAMPLES}`"))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "pdf")
        })
        .collect())
}

fn read(results: &Path) -> Result<Vec<Ending>> {
    let lines = fs::read_to_string(results)
        .with_context(|| format!("failed to read `{}`", results.display()))?;
    let endings: Option<Vec<_>> = lines.lines().map(ending).collect();
    let mut endings = endings
        .with_context(|| format!("`{}` has a line that is no outcome", results.display()))?;
    endings.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(endings)
}

fn ending(line: &str) -> Option<Ending> {
    let line: Value = serde_json::from_str(line).ok()?;
    let file = line.get("input")?.as_str()?.rsplit('/').next()?.to_owned();
    let outcome = match line.get("status")?.as_str()? {
        "completed" => completed(line.get("value")?)?,
        _ => failed(line.get("error")?)?,
    };
    Some(Ending { file, outcome })
}

fn completed(value: &Value) -> Option<Outcome> {
    let text = shortened(value.get("text")?.as_str()?);
    Some(Outcome::Completed {
        pages: value.get("pages")?.as_u64()?,
        text,
    })
}

fn failed(error: &Value) -> Option<Outcome> {
    let text = |name: &str| Some(shortened(error.get(name)?.as_str()?));
    Some(Outcome::Failed {
        code: text("code")?,
        message: text("message")?,
    })
}

/// The start of a text on one line, without what would steer a terminal: it comes from a guest.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_CHARS_SHOWN)
        .collect()
}

impl Ending {
    fn shown(&self) -> String {
        match &self.outcome {
            Outcome::Completed { pages, text } => {
                format!("{:<24} {pages:>3} p.  {text}", self.file)
            }
            Outcome::Failed { code, message } => {
                format!("{:<24} failed  {code}: {message}", self.file)
            }
        }
    }

    /// What is wrong with this ending, if anything is.
    fn surprise(&self) -> Option<String> {
        let expected = FAILURES
            .iter()
            .find(|(file, _)| *file == self.file)
            .map(|(_, code)| *code);
        match (&self.outcome, expected) {
            (Outcome::Completed { .. }, None) => None,
            (Outcome::Completed { .. }, Some(code)) => Some(format!(
                "`{}` gave text, but should have failed with `{code}`",
                self.file
            )),
            (Outcome::Failed { code, .. }, Some(expected)) if code == expected => None,
            (Outcome::Failed { code, .. }, Some(expected)) => Some(format!(
                "`{}` failed with `{code}`, not with `{expected}`",
                self.file
            )),
            (Outcome::Failed { code, .. }, None) => Some(format!(
                "`{}` failed with `{code}`, but should have given text",
                self.file
            )),
        }
    }
}

fn judge(endings: &[Ending], samples: &[String]) -> Result<()> {
    let absent = samples
        .iter()
        .filter(|sample| !endings.iter().any(|ending| ending.file == **sample))
        .map(|sample| format!("`{sample}` has no outcome"));
    let surprises: Vec<_> = endings
        .iter()
        .filter_map(Ending::surprise)
        .chain(absent)
        .collect();
    if !surprises.is_empty() {
        bail!(
            "the demo did not end as it should: {}",
            surprises.join("; ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"index":0,"input":"a/letter.pdf","status":"completed","#,
        r#""value":{"pages":2,"text":"Dear\n  all,\u001b"}}"#,
    );
    const DAMAGED: &str = concat!(
        r#"{"index":1,"input":"a/damaged.pdf","status":"failed","#,
        r#""error":{"code":"damaged","message":"no pages"}}"#,
    );

    #[test]
    fn a_demo_passes_when_exactly_the_expected_files_fail() {
        let endings: Vec<_> = [TEXT, DAMAGED].into_iter().filter_map(ending).collect();
        judge(
            &endings,
            &["letter.pdf".to_owned(), "damaged.pdf".to_owned()],
        )
        .unwrap();
        let error = judge(&endings, &["other.pdf".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the demo did not end as it should: `other.pdf` has no outcome"
        );
    }

    #[test]
    fn a_file_that_fails_unexpectedly_fails_the_demo() {
        let surprise = |line: &str| ending(line).and_then(|ending| ending.surprise());
        assert_eq!(surprise(TEXT), None);
        assert!(surprise(&DAMAGED.replace("damaged.pdf", "letter.pdf")).is_some());
        assert!(surprise(&DAMAGED.replace("\"damaged\"", "\"trap\"")).is_some());
        assert!(surprise(&TEXT.replace("letter.pdf", "damaged.pdf")).is_some());
    }

    #[test]
    fn an_ending_is_shown_on_one_line() {
        let shown = ending(TEXT).unwrap().shown();
        assert_eq!(shown, "letter.pdf                 2 p.  Dear all,");
    }
}
