//! Standard output, as a sink of lines.

use std::io::IsTerminal as _;

use sortie_frontend::results::{Flow, Lines, Writer};

use crate::ending::Error;

/// Standard output. It is not locked, so that progress can be shown meanwhile.
pub(crate) fn lines() -> Lines {
    Lines::to(Box::new(std::io::stdout()), "standard output")
}

/// Write what waits, as the last of it or as a part.
///
/// # Errors
/// When it cannot be written: also when the reader has gone, so that nobody takes a part for all.
pub(crate) fn flush(lines: &mut Lines) -> Result<(), Error> {
    match lines.flush()? {
        Flow::Open => Ok(()),
        Flow::Closed => Err(closed()),
    }
}

/// Whoever read standard output has gone.
pub(crate) fn closed() -> Error {
    Error::Platform("standard output was closed before everything was written to it".into())
}

/// Whether a person sees the results as they are written.
pub(crate) fn is_terminal(writer: &Writer) -> bool {
    match writer.lines() {
        None => false,
        Some(lines) => match lines.file() {
            Some(file) => file.is_terminal(),
            None => std::io::stdout().is_terminal(),
        },
    }
}
