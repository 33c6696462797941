//! Comma-separated values (RFC 4180) that a spreadsheet may open.
//!
//! What a client sent must not become a formula there: a text that begins like one gets an apostrophe in front of it, as
//! OWASP advises ("CSV Injection"). Every text is in quotes, so that an empty one and none differ.

use std::io::Write;

use super::row::{COLUMNS, Cell, Row};

/// What a spreadsheet takes for the beginning of a formula, or skips in front of one.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// The line with the columns' names.
pub(super) fn head(out: &mut Vec<u8>) {
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    out.extend_from_slice(names.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a record.
pub(super) fn push(out: &mut Vec<u8>, row: &Row) {
    for (n, column) in COLUMNS.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        // Writing to a vector cannot fail.
        let _ = match (column.of)(row) {
            Cell::None => Ok(()),
            Cell::Number(number) => write!(out, "{number}"),
            Cell::Flag(flag) => write!(out, "{flag}"),
            Cell::Time(time) => write!(out, "{time}"),
            Cell::Text(text) => quoted(out, &text),
        };
    }
    out.extend_from_slice(b"\r\n");
}

fn quoted(out: &mut Vec<u8>, text: &str) -> std::io::Result<()> {
    let guard = if text.starts_with(FORMULA) { "'" } else { "" };
    write!(out, "\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_client_sent_is_a_formula_or_ends_its_field() {
        let cases = [
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("a\",\"=1", "\"a\"\",\"\"=1\""),
            ("a\r\n=1", "\"a\r\n=1\""),
            ("", "\"\""),
        ];
        for (text, expected) in cases {
            let mut out = Vec::new();
            quoted(&mut out, text).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_has_as_many_fields_as_there_are_names() {
        let row = Row { kind: "gate".to_owned(), seq: 7, ..Row::default() };
        let (mut names, mut fields) = (Vec::new(), Vec::new());
        head(&mut names);
        push(&mut fields, &row);
        let count = |line: &[u8]| memchr::memchr_iter(b',', line).count();
        assert_eq!((count(&names), count(&fields)), (COLUMNS.len() - 1, COLUMNS.len() - 1));
        assert!(fields.starts_with(b"7,,,\"gate\",,"));
    }
}
