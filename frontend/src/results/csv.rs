//! Rows as CSV, as RFC 4180 has it, with a line feed at the end of a row; and the same with tabs in
//! place of commas.
//!
//! A cell without a value is empty; an empty text is `""`. Texts are written as they are: what is a
//! formula to a spreadsheet stays one.

use super::cells::Cell;

/// What stands between two cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    Comma,
    Tab,
}

impl Separator {
    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Tab => b'\t',
        }
    }
}

/// Append a row.
pub(crate) fn append(cells: &[Cell<'_>], separator: Separator, out: &mut Vec<u8>) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(separator.byte());
        }
        match cell {
            Cell::Null => {}
            Cell::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Cell::Number(value) => append_number(*value, out),
            Cell::Text(text) => append_text(text, separator, out),
            Cell::Nested(json) => append_text(json, separator, out),
        }
    }
    out.push(b'\n');
}

/// The shortest text that reads as the same number, and as one with a fraction.
fn append_number(value: f64, out: &mut Vec<u8>) {
    let text = if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        (if value > 0.0 { "inf" } else { "-inf" }).into()
    } else {
        format!("{value:?}")
    };
    out.extend_from_slice(text.as_bytes());
}

fn append_text(text: &str, separator: Separator, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text
            .bytes()
            .any(|byte| byte == separator.byte() || matches!(byte, b'"' | b'\n' | b'\r'));
    if is_plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for (n, part) in text.split('"').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Cell<'_>]) -> String {
        let mut out = Vec::new();
        append(cells, Separator::Comma, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tabs_between_cells_are_told_from_those_within() {
        let cells = ["a,b", "a\tb", "say \"no\""].map(|text| Cell::Text(text.into()));
        let mut out = Vec::new();
        append(&cells, Separator::Tab, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a,b\t\"a\tb\"\t\"say \"\"no\"\"\"\n"
        );
    }

    #[test]
    fn a_row_has_quotes_only_where_they_are_needed() {
        let texts = [
            "plain é",
            "",
            "a,b",
            "say \"no\"",
            "two\nlines",
            "\r",
            " spaced ",
            "'",
        ]
        .map(|text| Cell::Text(text.into()));
        assert_eq!(
            row(&texts),
            "plain é,\"\",\"a,b\",\"say \"\"no\"\"\",\"two\nlines\",\"\r\",\" spaced \",'\n"
        );
    }

    #[test]
    fn numbers_keep_what_they_are() {
        let cells = [1.0, 0.1, 1e300, 1e-7, f64::NAN, f64::NEG_INFINITY, -0.0].map(Cell::Number);
        assert_eq!(row(&cells), "1.0,0.1,1e300,1e-7,NaN,-inf,-0.0\n");
        assert_eq!(
            row(&[Cell::Integer(i64::MIN), Cell::Bool(true), Cell::Null]),
            "-9223372036854775808,true,\n"
        );
    }
}
