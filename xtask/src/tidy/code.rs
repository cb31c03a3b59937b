//! Splits Rust source into code and the texts of its string literals, line by line; comments are
//! dropped.
//!
//! It knows just enough of the language for that: nested comments, raw strings, and that a quote
//! may start a lifetime. It never fails; text that is not Rust comes out blanked in odd places, and
//! the compiler says so elsewhere.

use std::iter::Peekable;
use std::str::Chars;

/// The text with comments and literals blanked; every line keeps its number.
pub(super) fn only(source: &str) -> String {
    scan(source).kept
}

/// The texts of the string literals; every line keeps its number.
pub(super) fn literals(source: &str) -> String {
    scan(source).literals
}

fn scan(source: &str) -> Scanner<'_> {
    let mut scanner = Scanner {
        rest: source.chars().peekable(),
        kept: String::with_capacity(source.len()),
        literals: String::new(),
        last: ' ',
    };
    while let Some(c) = scanner.rest.next() {
        scanner.take(c);
    }
    scanner
}

struct Scanner<'a> {
    rest: Peekable<Chars<'a>>,
    kept: String,
    literals: String,
    /// The character before, to tell a raw string's `r` from the end of a name.
    last: char,
}

impl Scanner<'_> {
    fn take(&mut self, c: char) {
        match (c, self.rest.peek()) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('r', Some('"' | '#')) if !is_name(self.last) || matches!(self.last, 'b' | 'c') => {
                self.raw_string()
            }
            ('\'', _) => self.quote(),
            ('\n', _) => self.blank(c),
            _ => self.kept.push(c),
        }
        self.last = c;
    }

    fn line_comment(&mut self) {
        while self.rest.next_if(|c| *c != '\n').is_some() {}
    }

    fn block_comment(&mut self) {
        let mut depth = 1_usize;
        let mut before = self.rest.next();
        while depth > 0 {
            let Some(c) = self.rest.next() else { return };
            self.blank(c);
            match (before, c) {
                (Some('/'), '*') => depth += 1,
                (Some('*'), '/') => depth -= 1,
                _ => {
                    before = Some(c);
                    continue;
                }
            }
            // The second half of a mark is not the first half of the next.
            before = None;
        }
    }

    fn string(&mut self) {
        self.kept.push('"');
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => {
                    if let Some(escaped) = self.rest.next() {
                        self.text(escaped);
                    }
                }
                '"' => break,
                _ => self.text(c),
            }
        }
        self.literals.push(' ');
        self.kept.push('"');
    }

    fn raw_string(&mut self) {
        let mut marks = 0;
        while self.rest.next_if_eq(&'#').is_some() {
            marks += 1;
        }
        if self.rest.next_if_eq(&'"').is_none() {
            // A raw name such as `r#type`.
            return;
        }
        let mut closing = None;
        while let Some(c) = self.rest.next() {
            self.text(c);
            closing = match (c, closing) {
                ('"', _) => Some(0),
                ('#', Some(seen)) => Some(seen + 1),
                _ => None,
            };
            if closing == Some(marks) {
                break;
            }
        }
        self.kept.push_str("\"\"");
    }

    /// A character literal, or a lifetime, which has no quote after its first character.
    fn quote(&mut self) {
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('\\'), _) => {
                self.rest.next();
                self.rest.next();
                while self.rest.next().is_some_and(|c| c != '\'') {}
            }
            (Some(_), Some('\'')) => {
                self.rest.next();
                self.rest.next();
            }
            _ => {}
        }
        self.kept.push('\'');
    }

    /// A character of a string literal.
    fn text(&mut self, c: char) {
        if c == '\n' {
            self.blank(c);
        } else {
            self.literals.push(c);
        }
    }

    fn blank(&mut self, c: char) {
        if c == '\n' {
            self.kept.push('\n');
            self.literals.push('\n');
        }
    }
}

/// Whether a character can be part of a name.
pub(super) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{literals, only};

    #[test]
    fn comments_are_dropped_and_lines_keep_their_numbers() {
        assert_eq!(only("a // x\nb /* x\n /* y */ x */ c\n"), "a \nb \n c\n");
        assert_eq!(only("a /**/ b /***/ c"), "a  b  c");
    }

    #[test]
    fn literals_are_emptied() {
        assert_eq!(
            only(r#"f("a \" // b", 'x', '\'', '"') + g"#),
            r#"f("", ', ', ') + g"#
        );
        assert_eq!(
            only("x(r#\"a \" b\n\"#, br\"c\", r#type)"),
            "x(\n\"\", b\"\", type)"
        );
    }

    #[test]
    fn texts_of_literals_keep_their_lines() {
        assert_eq!(
            literals("f(\"a\\\"b\", 1) // \"c\"\ng(r\"d\")\n"),
            "a\"b \nd\"\n"
        );
    }

    #[test]
    fn lifetimes_are_not_literals() {
        assert_eq!(only("fn f<'a>(x: &'a str) // y"), "fn f<'a>(x: &'a str) ");
    }
}
