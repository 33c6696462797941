//! What is wrong with a configuration: every problem at once, each with its place, its cause and its remedy.

use std::fmt;
use std::ops::Range;

/// Why a value was refused, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Wrong {
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Wrong {
    /// Both texts, in this order.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// One problem, with all that is needed to show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file as it was named on the command line, or a profile's file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters are meant; at least 1, never past the line's end.
    pub len: usize,
    /// The line itself; what might be a secret is cut off.
    pub source: String,
    /// The key it is about, dotted: `listen.address`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong: lower case, no full stop.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// Places a problem at a span (bytes) of a text. Spans outside the text are moved to its end.
    pub fn new(file: &str, text: &str, span: Range<usize>, key: &str, wrong: Wrong) -> Self {
        let start = floor_char(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let before = text[line_start..start].chars().count();
        let source = without_secret(line);
        let meant = text.get(start..floor_char(text, span.end)).unwrap_or_default();
        let meant = meant.lines().next().unwrap_or_default().chars().count();
        let room = source.chars().count().saturating_sub(before);
        Self {
            file: file.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: before + 1,
            len: meant.min(room).max(1),
            source,
            key: key.to_owned(),
            what: masked(&wrong.what),
            remedy: wrong.remedy,
        }
    }
}

/// The nearest character border at or before a byte position.
fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Names whose value may be a key that someone wrote into the file by mistake.
const SECRET_NAMES: [&str; 14] = [
    "secret_id",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "x-ce-key",
    "secret",
    "token",
    "password",
    "scoped_key",
    "credential",
    "key_sha256",
    "previous_key_sha256",
    "authorization",
];

/// A line as it may be shown: values that might be secrets (by the key's name, or by their look) are cut off, because
/// problems end up in terminals, logs and tickets.
fn without_secret(line: &str) -> String {
    let named = line.match_indices('=').find_map(|(at, _)| {
        let name = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let start =
            name.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').map_or(0, |before| before + 1);
        let name = name.get(start..)?.to_ascii_lowercase();
        SECRET_NAMES.contains(&&*name).then_some(at + 1)
    });
    let in_url = line.find("://").filter(|at| line[*at..].contains(['@', '?']));
    let by_look = words(line).find(|(_, word)| looks_secret(word)).map(|(at, _)| at);
    match named.into_iter().chain(in_url).chain(by_look).min() {
        Some(at) => format!("{} …", line[..at].trim_end()),
        None => line.to_owned(),
    }
}

/// A message with every word that looks like a secret taken out.
fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for (_, word) in words(text).filter(|(_, word)| looks_secret(word)) {
        masked = masked.replace(word, "…");
    }
    masked
}

/// A scoped key, an age identity, or a long run of hexadecimal digits such as ChannelEngine's keys.
fn looks_secret(word: &str) -> bool {
    word.starts_with("kg_")
        || word.starts_with("AGE-SECRET-KEY")
        || word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Words of letters, digits, `_` and `-`, with their places.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let words = text.split(move |c| !inside(c)).filter(|word| !word.is_empty());
    words.map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

/// Every problem of a configuration, sorted by place. Its `Display` is the whole report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, len, source, what, remedy, .. } = self;
        let gutter = line.to_string().len();
        // Tabs stay tabs, so that the caret stands under what it means.
        let indent: String = source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let indent = format!("{indent:<width$}", width = column - 1);
        writeln!(f, "error: {what}")?;
        writeln!(f, "{:gutter$}--> {file}:{line}:{column}", "")?;
        writeln!(f, "{:gutter$} |", "")?;
        writeln!(f, "{line} | {source}")?;
        writeln!(f, "{:gutter$} | {indent}{}", "", "^".repeat(*len))?;
        writeln!(f, "hint: {remedy}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, span: Range<usize>) -> Problem {
        Problem::new("keygate.toml", text, span, "a.b", Wrong::new("it is wrong", "right it"))
    }

    #[test]
    fn a_problem_shows_its_line_and_points_at_its_place() {
        let expected = "error: it is wrong\n --> keygate.toml:2:5\n  |\n2 | b = \"x\"\n  |     ^^^\nhint: right it\n";
        assert_eq!(at("[a]\nb = \"x\"\n", 8..11).to_string(), expected);
    }

    #[test]
    fn what_might_be_a_secret_is_never_shown() {
        for line in [
            "key_sha256 = \"SECRET\"",
            "a = { \"api_key\" = 'SECRET' }",
            "owner = \"kg_SECRET\"",
            "base_url = \"https://user:SECRET@host/\"",
            "base_url = \"https://host/?apikey=SECRET\"",
            "credential = \"SECRET\"",
            "upstream = \"kg_SECRET\" # why?",
            "x = 1 # AGE-SECRET-KEY-1SECRET",
        ] {
            let shown = at(line, 0..line.len()).to_string();
            assert!(!shown.contains("SECRET"), "{shown}");
        }
        assert!(at("private_key = \"server.key\"", 14..26).to_string().contains("server.key"));
    }

    #[test]
    fn a_message_does_not_repeat_what_looks_like_a_key() {
        let key = "0123456789abcdef0123456789abcdef01234567";
        let wrong = Wrong::new(format!("there is no upstream `{key}` or `kg_abc`"), "");
        let problem = Problem::new("f", &format!("x = \"{key}\""), 0..1, "", wrong);
        assert_eq!((&*problem.what, &*problem.source), ("there is no upstream `…` or `…`", "x = \" …"));
    }

    #[test]
    fn odd_spans_do_no_harm() {
        for (text, span) in [("", 0..9), ("é", 1..2), ("a\nb", 0..3), ("x\n", 2..2), ("\tx", 1..2)] {
            assert!(at(text, span).len >= 1);
        }
    }
}
