//! Runs `extract`, the very function of the component, natively over files: the baseline that the
//! sandboxed run is measured against.
//!
//! `cargo run --release --example native -- [--threads N] FILE...` writes a line of JSON for each
//! file to stdout, in completion order, and a summary to stderr.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use sortie_guest::{Failure, Object};

#[expect(
    clippy::disallowed_methods,
    reason = "measuring time is what this program is for"
)]
fn main() -> ExitCode {
    let Some((threads, files)) = arguments() else {
        eprintln!("usage: native [--threads N] FILE...");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let (tx, rx) = mpsc::channel();
    let mut stdout = std::io::stdout().lock();
    let mut written = Ok(());
    thread::scope(|scope| {
        for _ in 0..threads {
            let (tx, next, files) = (tx.clone(), &next, &files);
            scope.spawn(move || {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if tx.send(line(file)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tx);
        written = rx.iter().try_for_each(|line| writeln!(stdout, "{line}"));
    });
    let seconds = started.elapsed().as_secs_f64();
    let count = files.len();
    eprintln!(
        "{count} files in {seconds:.3} s, {:.1} files/s on {threads} threads",
        files.len() as f64 / seconds
    );
    if written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn arguments() -> Option<(usize, Vec<PathBuf>)> {
    let mut arguments = env::args_os().skip(1).peekable();
    let mut threads = 1;
    if arguments
        .next_if(|argument| argument == "--threads")
        .is_some()
    {
        threads = arguments
            .next()?
            .to_str()?
            .parse()
            .ok()
            .filter(|&threads| threads > 0)?;
    }
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    (!files.is_empty()).then_some((threads, files))
}

fn line(file: &Path) -> String {
    let input = file.display().to_string();
    match Object::open(file)
        .map_err(Failure::from)
        .and_then(pdf_text::extract)
    {
        Ok(value) => serde_json::json!({ "input": input, "value": value }),
        Err(failure) => serde_json::json!({
            "input": input,
            "error": { "code": failure.code(), "message": failure.message() },
        }),
    }
    .to_string()
}
