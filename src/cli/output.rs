//! What commands print: results on standard output, everything else on standard error.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use crate::config::nearest;

use super::report::Failure;

/// Prints a result. That the reader has gone (`| head`) is not an error; that the disk is full is one.
pub fn result(text: &str) -> Result<(), Failure> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new("cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

/// Prints what is shown only once: here a reader that has gone is an error too.
pub fn secret(text: &[u8]) -> io::Result<()> {
    write(text)
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new("cannot write JSON").because(error))?;
    result(&(line + "\n"))
}

/// Prints a note for people on standard error.
pub fn note(text: &str) {
    // A note that nobody can read is no reason to fail.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn write(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text)?;
    stdout.flush()
}

/// Lines of columns, two spaces between them, no space at a line's end.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths = (0..columns).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0));
    let widths: Vec<usize> = widths.collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A word as a POSIX shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A path as a POSIX shell reads it back.
pub fn quoted_path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Names in backquotes with commas between them; `nothing` when there are none.
pub fn names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{}`", name.as_ref())).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// The hint for a word that is not known: what was meant, or else what there is.
pub fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is {}", names(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["name", "state"], ["webshop", "active"], ["é", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "name     state\nwebshop  active\né\n");
    }

    #[test]
    fn only_words_that_need_it_are_quoted() {
        assert_eq!(quoted("/srv/gate/keygate.toml"), "/srv/gate/keygate.toml");
        assert_eq!(quoted("POST /v2/shipments"), "'POST /v2/shipments'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
