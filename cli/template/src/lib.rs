//! Functions for Sortie: one that reads an object and one that takes a value. Replace them with
//! your own.

use std::io::BufRead as _;

use serde::Serialize;
use sortie_guest::{Failure, Object};

/// Counts of a text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines; the last one may lack its line break.
    pub lines: u64,
    /// Words, separated by whitespace.
    pub words: u64,
}

/// Count the lines and words of a text of any length.
///
/// Fails with `empty` if the text has no words.
#[sortie_guest::function]
pub fn count(text: Object) -> Result<Counts, Failure> {
    let mut counts = Counts { lines: 0, words: 0 };
    for line in text.reader().lines() {
        counts.lines += 1;
        counts.words += line?.split_whitespace().count() as u64;
    }
    if counts.words == 0 {
        return Err(Failure::new(
            "empty",
            format!("`{}` has no words", text.name()),
        ));
    }
    Ok(counts)
}

/// Return a greeting for a name.
#[sortie_guest::function]
pub fn greet(name: String) -> String {
    println!("greeting {name}");
    format!("Hello, {name}!")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Object {
        Object::from_bytes("text.txt", text.as_bytes())
    }

    #[test]
    fn lines_and_words_are_counted() {
        assert_eq!(
            count(text("Tyger Tyger,\nburning bright")),
            Ok(Counts { lines: 2, words: 4 })
        );
    }

    #[test]
    fn a_text_without_words_is_a_failure() {
        assert_eq!(count(text(" \n")).unwrap_err().code(), "empty");
    }

    #[test]
    fn everybody_is_greeted() {
        assert_eq!(greet("Ada".into()), "Hello, Ada!");
    }
}
