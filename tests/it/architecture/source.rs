//! Reading the sources as text, just well enough for the rules: which lines are code, where functions begin and end,
//! which paths they name.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the repository.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A function's place in a file.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Lines from its signature to its closing brace.
    pub length: usize,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` with this extension, sorted by path.
pub fn files(folder: &str, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), extension, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            found.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

impl Source {
    /// A file that exists only in a test.
    pub fn planted(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// The module of the crate it belongs to: `audit` for `src/audit/writer.rs` and for `src/audit.rs`.
    pub fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split(['/', '.']).next().unwrap_or(inside)
    }

    /// Its lines of code with their numbers: no comments, nothing of the unit tests at its end.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests_begin = if self.path.ends_with("/tests.rs") { Some(0) } else { self.text.find("#[cfg(test)]\nmod ") };
        let end = tests_begin.unwrap_or(self.text.len());
        self.text[..end]
            .lines()
            .enumerate()
            .map(|(n, line)| (n + 1, line.find("// ").map_or(line, |at| &line[..at])))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The lines of code that hold any of these words, with the word.
    pub fn lines_with<'a>(&'a self, words: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
        self.code().flat_map(move |(n, line)| words.iter().filter(|w| has_word(line, w)).map(move |w| (n, *w)))
    }

    /// Modules of this crate that its code names by `crate::…`.
    pub fn crate_paths(&self) -> Vec<(usize, String)> {
        self.code().flat_map(|(n, line)| after_each(line, "crate::").map(move |name| (n, name))).collect()
    }

    /// Crates (or `std::…` modules) that its `use` lines name.
    pub fn uses(&self) -> Vec<(usize, String)> {
        let uses = self.code().filter_map(|(n, line)| {
            let line = line.trim_start();
            let rest = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("use ")?;
            Some((n, identifier(rest.trim_start_matches("::")).to_owned()))
        });
        uses.collect()
    }

    /// Its functions. Relies on rustfmt: the closing brace stands alone under the first letter of the signature.
    pub fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.text.lines().collect();
        let starts = lines.iter().enumerate().filter_map(|(at, line)| Some((at, function_name(line)?)));
        starts.map(|(at, name)| Function { name, line: at + 1, length: function_length(&lines[at..]) }).collect()
    }
}

impl Source {
    /// String literals that functions of this name return: those after `=> ` or alone on their line.
    pub fn returned_by(&self, function: &str) -> Vec<String> {
        let code: Vec<&str> = self.text.lines().collect();
        let functions = self.functions().into_iter().filter(|f| f.name == function);
        let lines = functions.flat_map(|f| code[f.line..f.line - 1 + f.length].to_vec());
        let literal = |line: &str| {
            let text = line.rsplit("=> ").next()?.trim().trim_end_matches(',');
            Some(text.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        };
        lines.filter_map(literal).collect()
    }
}

fn function_name(line: &str) -> Option<String> {
    let mut rest = line.trim_start();
    while !rest.starts_with("fn ") {
        let (word, after) = rest.split_once(' ')?;
        let qualifier = word.starts_with("pub") || ["async", "const", "extern", "\"C\""].contains(&word);
        rest = if qualifier { after } else { return None };
    }
    Some(identifier(&rest[3..]).to_owned())
}

fn function_length(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let head = lines.iter().position(|l| l.ends_with(['{', ';', '}'])).unwrap_or(0);
    if !lines[head].ends_with('{') {
        return head + 1;
    }
    let closing = format!("{}}}", " ".repeat(indent));
    lines.iter().position(|l| *l == closing).map_or(lines.len(), |at| at + 1)
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn after_each<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    line.match_indices(prefix).flat_map(move |(at, _)| {
        let rest = &line[at + prefix.len()..];
        let group = rest.strip_prefix('{').and_then(|r| r.split_once('}')).map_or(rest, |(inside, _)| inside);
        let names: Vec<&str> = if group.len() == rest.len() { vec![rest] } else { group.split(", ").collect() };
        names.into_iter().map(|name| identifier(name).to_owned()).collect::<Vec<_>>()
    })
}

/// Whether `word` stands in `line` with no letter, digit or `_` of another word at its ends.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let edge = |c: Option<char>| part(c);
    line.match_indices(word).any(|(at, _)| {
        let before = part(word.chars().next()) && edge(line[..at].chars().next_back());
        let after = part(word.chars().next_back()) && edge(line[at + word.len()..].chars().next());
        !before && !after
    })
}
