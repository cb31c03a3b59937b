//! Output.

use std::io::Write as _;

/// Logs one line at each level, and prints one to stdout and one to stderr.
#[sortie_guest::function]
fn logs_a_little() {
    log::error!("an error");
    log::warn!("a warning");
    log::info!("an information, number {}", 3);
    log::debug!("a detail");
    log::trace!("a step");
    println!("a line on stdout");
    eprintln!("a line on stderr");
}

/// Logs `lines` lines of 100 bytes.
#[sortie_guest::function]
fn floods_log(lines: u64) {
    for line in 0..lines {
        log::info!("{line:0100}");
    }
}

/// Prints for ever.
#[sortie_guest::function]
fn floods_stdout() {
    let line = [b'x'; 4096];
    loop {
        // What becomes of a write is the host's business; this goes on.
        let _ = std::io::stdout().write_all(&line);
    }
}
