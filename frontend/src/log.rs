//! What functions logged, as it is shown.

use std::borrow::Cow;

/// What Rust's standard library adds to a panic's message: advice for somebody who runs the
/// function as a program of their own. Here nobody can follow it.
const NOTES: [&str; 2] = [
    "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
    "note: run with `RUST_BACKTRACE=full` environment variable to display a verbose backtrace",
];

/// The text without lines that advise what nobody can do.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !NOTES.iter().any(|note| text.contains(note)) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n');
    let kept = lines.filter(|line| !NOTES.contains(&line.trim_end()));
    Cow::Owned(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_that_nobody_can_follow_is_left_out() {
        let panic = "panicked at src/lib.rs:1:\nno pages\n\
                     note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
                     more\n";
        assert_eq!(shown(panic), "panicked at src/lib.rs:1:\nno pages\nmore\n");
        for text in ["", "a\nb", "RUST_BACKTRACE=1 is what I print\n"] {
            assert!(matches!(shown(text), Cow::Borrowed(same) if same == text));
        }
    }
}
