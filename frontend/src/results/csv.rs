//! Rows as CSV, as RFC 4180 has it, with a line feed at the end of a row.
//!
//! A cell without a value is empty; an empty text is `""`. Texts are written as they are: what is a
//! formula to a spreadsheet stays one.

use super::cells::Cell;

/// Append a row.
pub(crate) fn append(cells: &[Cell<'_>], out: &mut Vec<u8>) {
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        match cell {
            Cell::Null => {}
            Cell::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Cell::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Cell::Number(value) => append_number(*value, out),
            Cell::Text(text) => append_text(text, out),
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

fn append_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty()
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text
            .bytes()
            .any(|byte| matches!(byte, b'"' | b',' | b'\n' | b'\r'));
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
        append(cells, &mut out);
        String::from_utf8(out).unwrap()
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
