//! Standard output, as a sink of lines.

use std::io::IsTerminal as _;

use sortie_frontend::results::{Lines, Writer};

/// Standard output. It is not locked, so that progress can be shown meanwhile.
pub(crate) fn lines() -> Lines {
    Lines::to(Box::new(std::io::stdout()), "standard output")
}

/// Whether results are written to a terminal.
pub(crate) fn is_terminal(writer: &Writer) -> bool {
    match writer.lines() {
        None => false,
        Some(lines) => match lines.file() {
            Some(file) => file.is_terminal(),
            None => std::io::stdout().is_terminal(),
        },
    }
}
