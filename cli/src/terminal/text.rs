//! Writes text to stderr, after removing terminal control characters.
//!
//! Much of the text comes from functions, file names and servers. Only printable text reaches the
//! terminal, so that none of it can move the cursor, recolour the screen or reverse the direction
//! of a line.

use std::io::Write as _;

/// One line of printable text: line breaks become blanks, other control characters and direction
/// marks are dropped.
pub(crate) fn line(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if is_printable(c) => Some(c),
        _ => None,
    };
    text.chars()
        .filter_map(shown)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Printable text of several lines.
pub(crate) fn text(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, '\n' | '\t') || is_printable(*c))
        .collect()
}

/// Print one line to stderr.
pub(crate) fn say(text: &str) {
    write(&format!("{}\n", line(text)));
}

/// Print an error to stderr.
pub(crate) fn error(text: &str) {
    say(&format!("error: {text}"));
}

/// Print a function's log to stderr.
pub(crate) fn log(logged: &str) {
    let shown = text(&sortie_frontend::log::shown(logged));
    let end = if shown.is_empty() || shown.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    write(&format!("{shown}{end}"));
}

fn write(text: &str) {
    // If stderr is closed, the error cannot be reported.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn is_printable(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_is_left() {
        assert_eq!(
            line("a\u{1b}[31mb\u{7}c\nd\u{9b}1me\u{202e}f \n"),
            "a[31mbc d1mef"
        );
        assert_eq!(text("a\nb\u{1b}]0;title\u{7}\tc"), "a\nb]0;title\tc");
        assert_eq!(line("naïve 漢字 עברית"), "naïve 漢字 עברית");
    }
}
