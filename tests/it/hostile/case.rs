//! The cases as data: `tests/hostile/*.toml`. `tests/hostile/README.md` explains the fields.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// One case: what is sent, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub shows: String,
    /// HTTP/1: bytes with escapes and names in braces; line ends of the file do not count.
    pub h1: Option<String>,
    /// HTTP/2: one frame after the other, see `h2.rs`.
    pub h2: Option<String>,
    /// What the client gets, in order, each with the code on record behind it.
    pub gets: Vec<String>,
    /// What reaches the upstream: `METHOD target` or `METHOD target body`; `part of …` for a request that was cut.
    #[serde(default)]
    pub upstream: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// What a case may name in braces.
pub struct Names<'a> {
    /// The scoped key.
    pub key: &'a str,
    /// The number of the case, which reaches the upstream as `x-case`.
    pub case: usize,
}

impl Case {
    /// Codes that must be on record, sorted; `allowed` for a call that was let through.
    pub fn codes(&self) -> Vec<String> {
        let mut codes: Vec<_> = self.gets.iter().filter_map(|got| code(got)).collect();
        codes.sort();
        codes
    }

    /// How many of them come before the client says goodbye: all, or those before `bye`.
    pub fn before_goodbye(&self) -> usize {
        let before = self.gets.iter().position(|got| got == "bye").unwrap_or(self.gets.len());
        self.gets[..before].iter().filter(|got| !got.starts_with("- ")).count()
    }

    /// What the client must see: `200`, `400`, `reset PROTOCOL_ERROR`; nothing of what is only on record (`-`).
    pub fn seen(&self) -> Vec<String> {
        let seen = self.gets.iter().map(|got| {
            let mut words = got.split(' ');
            match words.next().unwrap_or_default() {
                "reset" => format!("reset {}", words.next().unwrap_or_default()),
                "goaway" => format!("goaway {}", words.next().unwrap_or_default()),
                first => first.to_owned(),
            }
        });
        seen.filter(|seen| seen != "-" && seen != "bye").collect()
    }
}

/// The last word is the code; a plain `200` is a call that was let through.
fn code(got: &str) -> Option<String> {
    let last = got.rsplit(' ').next().unwrap_or_default();
    match last {
        "200" => Some("allowed".into()),
        "bye" => None,
        // Of several streams reset on one connection, one is on record.
        error if error.starts_with(char::is_uppercase) => None,
        code => Some(code.into()),
    }
}

/// Every case of every file, with the file's name.
pub fn all() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let cases = files.iter().flat_map(|path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.case.into_iter().map(move |case| (name.clone(), case))
    });
    cases.collect()
}

/// Text to bytes: names are filled in, escapes undone, line ends of the file left out.
pub fn bytes(text: &str, names: &Names) -> Vec<u8> {
    unescaped(&filled(&text.replace('\n', ""), names))
}

fn filled(text: &str, names: &Names) -> String {
    let mut text = text
        .replace("{poison}", r"GET /api/v2/products/poison HTTP/1.1\r\n{head}\r\n")
        .replace("{head}", r"Host: localhost\r\nX-CE-KEY: {key}\r\nX-Case: {case}\r\n")
        .replace("{key}", names.key)
        .replace("{case}", &names.case.to_string());
    while let Some(at) = text.find("{times ") {
        let end = at + text[at..].find('}').expect("a brace is closed");
        let (count, what) = text[at + 7..end].split_once(' ').expect("`{times N text}`");
        let many = what.repeat(count.parse().expect("a number"));
        text.replace_range(at..=end, &many);
    }
    text
}

/// `\r`, `\n`, `\t`, `\\`, `\xHH`; every other character stands for itself.
pub fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend(rest[..at].bytes());
        let escape = &rest[at + 1..];
        let (byte, length) = match escape.as_bytes().first() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b't') => (b'\t', 1),
            Some(b'\\') => (b'\\', 1),
            Some(b'x') => (u8::from_str_radix(&escape[1..3], 16).expect("two hex digits"), 3),
            other => panic!("no such escape: {other:?} in `{text}`"),
        };
        out.push(byte);
        rest = &escape[length..];
    }
    out.extend(rest.bytes());
    out
}

#[test]
fn escapes_and_names_become_bytes() {
    let names = Names { key: "kg_1", case: 7 };
    assert_eq!(bytes("a\\r\\n\n\\x00{key} {case}{times 3 ab}", &names), b"a\r\n\0kg_1 7ababab");
}
