//! Prints lists: columns for people, one JSON object per line for programs.

use std::io::IsTerminal as _;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use sortie::protocol::Timestamp;
use sortie_frontend::settings::Terminal;

use super::{stdout, text};
use crate::ending::Error;

/// Write rows of cells as columns under their titles. Control characters in cells are removed.
pub(crate) fn print<const N: usize>(
    titles: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<(), Error> {
    let rows = rows
        .into_iter()
        .map(|row| row.map(|cell| text::line(&cell)));
    let rows: Vec<[String; N]> = std::iter::once(titles.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut output = stdout::lines();
    for row in &rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        output
            .pending()
            .extend_from_slice(cells.collect::<Vec<_>>().join("  ").trim_end().as_bytes());
        output.pending().push(b'\n');
    }
    stdout::flush(&mut output)?;
    Ok(())
}

/// Write JSON lines: one object per line.
pub(crate) fn print_json<T: Serialize>(objects: impl IntoIterator<Item = T>) -> Result<(), Error> {
    let mut output = stdout::lines();
    for object in objects {
        let line = serde_json::to_vec(&object)
            .map_err(|error| Error::Platform(format!("failed to write JSON: {error}")))?;
        output.pending().extend_from_slice(&line);
        output.pending().push(b'\n');
    }
    stdout::flush(&mut output)?;
    Ok(())
}

/// Write one line of printable text.
pub(crate) fn print_line(line: &str) -> Result<(), Error> {
    let mut output = stdout::lines();
    output
        .pending()
        .extend_from_slice(format!("{}\n", text::line(line)).as_bytes());
    stdout::flush(&mut output)
}

/// Make room for what is shown again: clear the terminal, or leave a line free where there is none.
pub(crate) fn clear(kind: Terminal) -> Result<(), Error> {
    let is_cleared = std::io::stdout().is_terminal() && kind != Terminal::Dumb;
    let mut output = stdout::lines();
    output
        .pending()
        .extend_from_slice(if is_cleared { b"\x1b[H\x1b[2J" } else { b"\n" });
    stdout::flush(&mut output)
}

/// A time, as in `2026-01-31T12:00:00Z`.
pub(crate) fn time(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(at.as_nanos())).to_string()
}
