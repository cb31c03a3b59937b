//! Finds lines of Rust that are wider than rustfmt's default.
//!
//! rustfmt leaves comments, literals and the insides of macros as they are, so a few lines escape
//! it. A line may be wider when only a literal makes it so: some literals cannot be broken, such as
//! a raw string. Code inside macros and comments have to fit.

use super::code;
use super::files::File;
use super::finding::Finding;

/// rustfmt's default.
const WIDTH_MAX: usize = 100;

/// Whether a wide line fails the check. `cargo xtask tidy --pending` lists them in any case.
pub(super) const ENFORCED: bool = true;

/// Every line that is too wide.
pub(super) fn check(file: &File) -> Vec<Finding> {
    if !file.is("rs") {
        return Vec::new();
    }
    let code = code::only(&file.text);
    let lines = file.text.lines().zip(code.lines()).zip(1..);
    lines
        .filter(|((line, code), _)| is_too_wide(line, code))
        .map(|((line, _), number)| {
            let width = line.chars().count();
            let what = format!("the line is {width} wide, more than {WIDTH_MAX}");
            Finding::new(&file.name, number, what, "break it")
        })
        .collect()
}

fn is_too_wide(line: &str, code: &str) -> bool {
    let is_comment = line.trim_start().starts_with("//");
    // A link cannot be broken.
    let can_be_broken = !is_comment || !line.contains("](http");
    let counted = if is_comment { line } else { code };
    counted.chars().count() > WIDTH_MAX && can_be_broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let file = File {
            name: "client/src/a.rs".to_owned(),
            text: text.to_owned(),
        };
        check(&file).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn wide_code_and_comments_are_found_and_wide_literals_are_not() {
        let wide = "x".repeat(101);
        assert_eq!(lines(&format!("a\n{wide}\n    // {wide}\n")), [2, 3]);
        assert_eq!(lines(&format!("const A: &str = r\"{wide}\";\n")), [0; 0]);
        assert_eq!(lines(&"x".repeat(100)), [0; 0]);
    }
}
